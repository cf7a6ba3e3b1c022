"""The table of what works together: bootloader, kind of menu, firmware, filesystem. Code checks by it, docs show it."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from attrs import frozen

from bootc.errors import UnsupportedPairError
from bootc.machine import Filesystem, Firmware


class Kind(enum.Enum):
    """Who keeps the boot entries."""

    OWN = "written by the bootloader"
    """the menu has entries only"""
    DIRECTORY = "kept by the backend"
    """the menu names a directory that the backend keeps itself (ostree)"""


@frozen
class Combination:
    """One supported row. Without filesystems every one will do: the bootloader does not read the sysroot."""

    bootloader: str
    kind: Kind
    firmware: Firmware
    filesystems: tuple[str, ...]
    way: str
    """how the menu comes to the machine"""


_READ_BY_GRUB = ("ext4", "xfs", "btrfs")
_MIRRORED = "entries and kernels on the ESP"
_FOLLOWED = "a static grub.cfg follows /boot/loader"
_NOTHING = "nothing is installed or written"

SUPPORTED = (
    Combination("systemd-boot", Kind.OWN, Firmware.UEFI, (), _MIRRORED),
    Combination("systemd-boot", Kind.DIRECTORY, Firmware.UEFI, (), _MIRRORED + ", mirrored from the backend's"),
    Combination("grub", Kind.DIRECTORY, Firmware.UEFI, _READ_BY_GRUB, _FOLLOWED),
    Combination("grub", Kind.DIRECTORY, Firmware.BIOS, _READ_BY_GRUB, _FOLLOWED),
    Combination("none", Kind.OWN, Firmware.UEFI, (), _NOTHING),
    Combination("none", Kind.OWN, Firmware.BIOS, (), _NOTHING),
    Combination("none", Kind.DIRECTORY, Firmware.UEFI, (), _NOTHING),
    Combination("none", Kind.DIRECTORY, Firmware.BIOS, (), _NOTHING),
)


def require(
    bootloader: str,
    firmware: Iterable[Firmware],
    filesystem: Filesystem | None,
    kind: Kind | None = None,
) -> None:
    """Raise UnsupportedPairError unless the table has a row for one of the machine's ways of starting, at least.

    `kind` None: not known yet.
    """
    rows = [row for row in SUPPORTED if row.bootloader == bootloader and kind in (None, row.kind)]
    if not rows:
        raise UnsupportedPairError(bootloader, f"does not work with a menu {kind.value if kind else ''}", _HINT)
    ways = set(firmware)
    fitting = [row for row in rows if row.firmware in ways]
    if not fitting:
        names = " or ".join(sorted(way.value.upper() for way in ways)) or "a machine without a boot partition"
        raise UnsupportedPairError(bootloader, f"does not start {names}", _HINT)
    _require_filesystem(bootloader, fitting, filesystem)


def render() -> str:
    """The table in Markdown."""
    lines = ["| bootloader | boot entries | firmware | filesystem of /boot | how |", "|---|---|---|---|---|"]
    for row in SUPPORTED:
        filesystems = ", ".join(row.filesystems) or "any"
        lines.append(
            f"| {row.bootloader} | {row.kind.value} | {row.firmware.value.upper()} | {filesystems} | {row.way} |"
        )
    return "\n".join(lines) + "\n"


_HINT = "docs/bootloaders.md has the table of what works together"


def _require_filesystem(bootloader: str, rows: list[Combination], filesystem: Filesystem | None) -> None:
    wanted = {name for row in rows for name in row.filesystems}
    if not wanted or any(not row.filesystems for row in rows):
        return
    if filesystem is None:
        raise UnsupportedPairError(bootloader, "it is not known which filesystem holds /boot", _HINT)
    if filesystem.type not in wanted:
        raise UnsupportedPairError(bootloader, f"cannot read a /boot on {filesystem.type}", _HINT)
