"""Commands that plugins offer; plugins are loaded only for a name that is none of ours."""

from __future__ import annotations

import click

from bootc.errors import PluginError
from bootc.plugins import Plugins


def find_command(name: str) -> click.Command | None:
    """The command of this name, if a plugin offers it. Raises PluginError if it cannot be loaded."""
    offer = Plugins.load().commands().get(name)
    if offer is None:
        return None
    try:
        command = offer.load()
    except Exception as error:
        raise PluginError(name, f"its command could not be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(command, click.Command):
        raise PluginError(name, f"its command is a {type(command).__name__}, not a click.Command")
    return command
