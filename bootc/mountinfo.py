"""The mount table of this process, as the kernel tells it: /proc/self/mountinfo (proc(5))."""

from __future__ import annotations

import os
import re
from pathlib import Path

from attrs import frozen

_MOUNT_FLAGS = {"nosuid": 2, "nodev": 4, "noexec": 8, "nosymfollow": 256, "noatime": 1024, "nodiratime": 2048}
_MOUNT_FLAGS |= {"relatime": 1 << 21}
_SUPER_FLAGS = {"sync": 16, "dirsync": 128, "lazytime": 1 << 25}
_READ_ONLY_TYPES = frozenset({"iso9660", "squashfs", "erofs", "cramfs", "romfs"})


@frozen
class MountPoint:
    """One mount, as a line of mountinfo has it."""

    target: Path
    device: str
    """major:minor of the filesystem; 0:N for those without one block device"""
    options: frozenset[str]
    """of this mount"""
    type: str
    source: str
    super_options: frozenset[str]
    """of the filesystem, wherever it is mounted"""

    @classmethod
    def parse(cls, line: str) -> MountPoint:
        """Read one line; octal escapes are undone."""
        front, _, back = line.partition(" - ")
        fields, last = front.split(" "), back.split(" ")
        options, super_options = (frozenset(text.split(",")) for text in (fields[5], last[2]))
        return cls(Path(_unescaped(fields[4])), fields[2], options, last[0], _unescaped(last[1]), super_options)

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written here."""
        return "ro" in self.options or "ro" in self.super_options

    @property
    def is_medium_read_only(self) -> bool:
        """Whether no remount can change that: the filesystem's type or its device does not allow writing."""
        return self.type in _READ_ONLY_TYPES or _is_device_read_only(self.device, self.source)

    @property
    def flags(self) -> int:
        """What a remount must repeat, or it would be lost; without read-only."""
        return sum(flag for name, flag in _MOUNT_FLAGS.items() if name in self.options)

    @property
    def super_flags(self) -> int:
        """The same for a remount of the filesystem."""
        return self.flags | sum(flag for name, flag in _SUPER_FLAGS.items() if name in self.super_options)


def mount_points() -> tuple[MountPoint, ...]:
    """All mounts of this process's namespace, in their order."""
    with open("/proc/self/mountinfo", "rb") as lines:  # as bytes: a name may hold whatever else ends a line of text
        return tuple(MountPoint.parse(os.fsdecode(line.removesuffix(b"\n"))) for line in lines)


def _is_device_read_only(device: str, source: str) -> bool:
    if device.startswith("0:"):  # btrfs: the source says which device
        try:
            number = os.stat(source).st_rdev
        except OSError:
            return False
        device = f"{os.major(number)}:{os.minor(number)}"
    try:
        return Path(f"/sys/dev/block/{device}/ro").read_text().strip() == "1"
    except OSError:
        return False


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
