"""What an image says of how to install it: `[install]`, in upstream's files and in ours.

Upstream's directories have their own rule: of files with one name the one in the higher directory counts, and what
remains is read in order of file names. `kargs` and `karg-deletes` of all files are put together; of other keys the last
one counts. A file whose `match-architectures` lacks this machine's is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
from attrs import field, frozen

from bootc.config.tables import Table, Value, dotted, files_in, read
from bootc.config.typed import convert
from bootc.errors import ConfigError

DIRECTORIES = ("usr/lib/bootc/install", "usr/local/lib/bootc/install", "etc/bootc/install", "run/bootc/install")
"""from the lowest to the highest"""
APPENDED = frozenset({("install", "kargs"), ("install", "karg-deletes")})

FilesystemType: TypeAlias = Literal["xfs", "ext4", "btrfs"]


def _arguments(_instance: object, _attribute: attrs.Attribute[Any], values: tuple[str, ...]) -> None:
    for value in values:
        if not value or not value.isprintable() or value.count('"') % 2:
            raise ValueError("a kernel argument is empty, has an open quote or characters that cannot be part of one")


def _plain_name(_instance: object, _attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and (not value.isprintable() or "/" in value or value.startswith((".", "-")) or not value):
        raise ValueError("must be a plain name")


@frozen
class RootFilesystem:
    """`[install.filesystem.root]`."""

    type: FilesystemType | None = None


@frozen
class FilesystemSettings:
    """`[install.filesystem]`."""

    root: RootFilesystem = RootFilesystem()


@frozen
class OstreeSettings:
    """`[install.ostree]`; unknown keys here are only warned of, as upstream does."""

    bls_append_except_default: str | None = None


@frozen
class BootupdSettings:
    """`[install.bootupd]`."""

    skip_boot_uuid: bool = False


@frozen
class InstallSettings:
    """`[install]`, with upstream's keys."""

    root_fs_type: FilesystemType | None = None
    """older spelling of `filesystem.root.type`, which wins"""
    filesystem: FilesystemSettings = FilesystemSettings()
    block: tuple[Literal["direct", "tpm2-luks"], ...] = ("direct",)
    """which ways to set up the disk are allowed, the default first"""
    kargs: tuple[str, ...] = field(default=(), validator=_arguments)
    karg_deletes: tuple[str, ...] = field(default=(), validator=_arguments)
    match_architectures: tuple[str, ...] | None = None
    stateroot: str | None = field(default=None, validator=_plain_name)
    root_mount_spec: str | None = None
    """what `root=` names; empty: no such argument"""
    boot_mount_spec: str | None = None
    bootloader: str | None = None
    discoverable_partitions: bool = False
    enforce_container_sigpolicy: bool = False
    ostree: OstreeSettings = OstreeSettings()
    bootupd: BootupdSettings = BootupdSettings()

    @property
    def root_filesystem(self) -> FilesystemType | None:
        """The type of the root filesystem, in whichever way it was given."""
        return self.filesystem.root.type or self.root_fs_type


@frozen
class Filtered:
    """One file's table after the checks, without what does not count."""

    table: Table
    warnings: tuple[str, ...] = ()


def read_directories(root: Path) -> tuple[Table, ...]:
    """The files of upstream's directories, in the order in which they are merged."""
    chosen = {path.name: path for directory in DIRECTORIES for path in files_in(root / directory)}
    tables = [read(chosen[name]) for name in sorted(chosen)]
    for table in tables:
        for key, entry in table.entries.items():
            if key != "install":
                raise ConfigError(entry.source, dotted((key,)), "unknown table", "here only [install] counts")
    return tuple(tables)


def filtered(table: Table, architecture: Callable[[], str]) -> Filtered:
    """Check `[install]` of one file; drop it if it is for other machines, and unknown keys of `[install.ostree]`."""
    install = table.table("install")
    warnings = []
    for key, entry in install.table("ostree").entries.items():
        if key.replace("-", "_") not in attrs.fields_dict(OstreeSettings) or "_" in key:
            warnings.append(f"{entry.source}: Unknown key {dotted(('install', 'ostree', key))}")
            table = table.without("install", "ostree", key)
    settings = convert(InstallSettings, table.table("install"), ("install",))
    match = settings.match_architectures
    if match is not None and architecture() not in match:
        return Filtered(table.without("install"))
    if isinstance(install.entries.get("match-architectures"), Value):
        table = table.without("install", "match-architectures")
    return Filtered(table, tuple(warnings))
