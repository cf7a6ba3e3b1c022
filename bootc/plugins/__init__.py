"""Plugins: discovered, checked, selected and called."""

from bootc.plugins.events import EventHooks
from bootc.plugins.front import Description, Plugins, unavailable
from bootc.plugins.loading import PluginFailure

__all__ = ["Description", "EventHooks", "PluginFailure", "Plugins", "unavailable"]
