"""Configuration: TOML files, typed, with where each value came from."""

from bootc.config.configuration import Config, Configurable, ConfigValue, Section, Settings, TrustSettings
from bootc.config.install import InstallSettings

__all__ = ["Config", "ConfigValue", "Configurable", "InstallSettings", "Section", "Settings", "TrustSettings"]
