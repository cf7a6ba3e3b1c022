"""Configuration: TOML files, typed, with where each value came from."""

from bootc.config.configuration import (
    Config,
    Configurable,
    ConfigValue,
    FetchSettings,
    Section,
    Settings,
    TrustSettings,
)
from bootc.config.install import InstallSettings

__all__ = [
    "Config",
    "ConfigValue",
    "Configurable",
    "FetchSettings",
    "InstallSettings",
    "Section",
    "Settings",
    "TrustSettings",
]
