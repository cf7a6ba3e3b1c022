"""The configuration of one command: files, command line and defaults, typed, with where each value came from.

Read in this order, later ones winning key by key: `/usr/lib/bootc/config.d/*.toml`, `/etc/bootc/config.toml`,
`/etc/bootc/config.d/*.toml`, `/run/bootc/config.d/*.toml`, command line. Unlike with systemd, a drop-in does not hide
one of the same name in an earlier directory. The image's install configuration (`config.install`) comes before all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from attrs import field, frozen, validators

from bootc import platform
from bootc.config.install import APPENDED, InstallSettings, filtered, read_directories
from bootc.config.tables import KeyPath, Table, Value, dotted, files_in, merge, read
from bootc.config.typed import convert, defaults, is_secret
from bootc.errors import ConfigError

COMMAND_LINE = "command line"
DEFAULT = "default"
HIDDEN = "(hidden)"

_PLUGIN_TABLES = {"backends": "backend", "fetchers": "fetcher", "bootloaders": "bootloader"}
_TABLES = ("bootc", "fetch", "install", "trust", *_PLUGIN_TABLES)

Options_co = TypeVar("Options_co", covariant=True)


class Configurable(Protocol[Options_co]):
    """What the configuration needs to know of a plugin: its kind and name make its table, `[backends.NAME]`."""

    @property
    def kind(self) -> str:
        """`backend`, `fetcher` or `bootloader`."""

    @property
    def name(self) -> str:
        """Unique among its kind."""

    @property
    def options(self) -> type[Options_co]:
        """The attrs class of its options."""


@frozen
class Settings:
    """`[bootc]`: the core's own settings. None: the core chooses."""

    backend: str | None = None
    fetcher: str | None = None
    """preferred wherever it serves the transport"""
    bootloader: str | None = None
    parallel: int = field(default=4, validator=[validators.ge(1), validators.le(99)])
    """layers that are fetched at once"""
    tries: int = field(default=3, validator=[validators.ge(0), validators.le(9)])
    """how often a new deployment may fail to boot before the machine falls back; 0: boots are not counted"""


@frozen
class FetchSettings:
    """`[fetch]`: when layers are pulled in parts (zstd:chunked), and what the link is taken for in that decision."""

    partial: Literal["auto", "always", "never"] = "auto"
    """auto: where it takes less time; always: where it takes fewer bytes"""
    request_time: float = field(default=0.04, validator=validators.ge(0))
    """seconds that a request takes besides its bytes"""
    speed: float = field(default=50.0, validator=validators.gt(0))
    """Mbit/s of all connections together"""


@frozen
class TrustSettings:
    """`[trust]`: what is wanted of images beyond policy.json."""

    downgrade_guard: bool = False
    """refuse an image that is older than the newest one that was accepted of its reference"""
    version_order: Literal["uapi"] | None = None
    """how version labels are compared (UAPI Version Format Specification); None: they are not"""


@frozen
class ConfigValue:
    """One line of `bootc config`. The value of a secret is replaced."""

    key: str
    value: object
    source: str
    """a file, "command line" or "default" """


@frozen
class Section:
    """A plugin's table in some file."""

    kind: str
    name: str
    source: str


@frozen
class Config:
    """All that was configured; parts are typed when they are asked for."""

    table: Table
    settings: Settings
    fetch: FetchSettings
    trust: TrustSettings
    install: InstallSettings
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(
        cls, root: Path = Path("/"), file: Path | None = None, overrides: Mapping[str, object] | None = None
    ) -> Config:
        """Read the files below `root`, or `file` in place of all of them. Raises ConfigError.

        `overrides` are options of the command line by key (`bootc.backend`); None means that one was not given. The
        image's install configuration is read in any case.
        """
        tables = [*read_directories(root), *([read(file)] if file else _read_files(root))]
        merged = Table()
        warnings: list[str] = []
        for table in tables:
            checked = filtered(table, lambda: platform.current().kargs_name)
            _check(checked.table)
            merged = merge(merged, checked.table, APPENDED)
            warnings += checked.warnings
        for key, value in (overrides or {}).items():
            if value is not None:
                merged = merge(merged, _override(key, value))
        return cls._of(merged, tuple(warnings))

    @classmethod
    def _of(cls, table: Table, warnings: tuple[str, ...]) -> Config:
        return cls(table, *_check(table), warnings)

    def options(self, plugin: Configurable[Options_co]) -> Options_co:
        """The plugin's own table as its options class. ConfigError names file and key."""
        path = (f"{plugin.kind}s", plugin.name)
        return convert(plugin.options, self.table.table(*path), path)

    def sections(self) -> tuple[Section, ...]:
        """The tables for plugins that some file has, whether there are such plugins or not."""
        return tuple(
            Section(kind, name, entry.source)
            for table, kind in _PLUGIN_TABLES.items()
            for name, entry in sorted(self.table.table(table).entries.items())
        )

    def values(self, plugins: Iterable[Configurable[object]] = ()) -> tuple[ConfigValue, ...]:
        """Every key in order, defaults of the core and of these plugins included."""
        found = {path: Value(value, DEFAULT) for path, value in _defaults(plugins).items()}
        found.update(self.table.leaves())
        return tuple(
            ConfigValue(dotted(path), HIDDEN if is_secret(path) and entry.value else entry.value, entry.source)
            for path, entry in sorted(found.items())
        )


def _defaults(plugins: Iterable[Configurable[object]]) -> dict[KeyPath, object]:
    found = {
        **defaults(Settings, ("bootc",)),
        **defaults(FetchSettings, ("fetch",)),
        **defaults(TrustSettings, ("trust",)),
        **defaults(InstallSettings, ("install",)),
    }
    for plugin in plugins:
        found |= defaults(plugin.options, (f"{plugin.kind}s", plugin.name))
    return found


def _read_files(root: Path) -> list[Table]:
    main = root / "etc/bootc/config.toml"
    paths = [
        *files_in(root / "usr/lib/bootc/config.d"),
        *([main] if main.exists() or main.is_symlink() else []),
        *files_in(root / "etc/bootc/config.d"),
        *files_in(root / "run/bootc/config.d"),
    ]
    return [read(path) for path in paths]


def _check(table: Table) -> tuple[Settings, FetchSettings, TrustSettings, InstallSettings]:
    for key, entry in table.entries.items():
        if key not in _TABLES:
            raise ConfigError(entry.source, dotted((key,)), "unknown table", f"known: {', '.join(_TABLES)}")
    for name in _PLUGIN_TABLES:
        for key in table.table(name).entries:
            table.table(name, key)
    return (
        convert(Settings, table.table("bootc"), ("bootc",)),
        convert(FetchSettings, table.table("fetch"), ("fetch",)),
        convert(TrustSettings, table.table("trust"), ("trust",)),
        convert(InstallSettings, table.table("install"), ("install",)),
    )


def _override(key: str, value: object) -> Table:
    entry: Value | Table = Value(value, COMMAND_LINE)
    for name in reversed(key.split(".")):
        entry = Table({name: entry}, COMMAND_LINE)
    if isinstance(entry, Value):
        raise ConfigError(COMMAND_LINE, key, "not a key")
    return entry
