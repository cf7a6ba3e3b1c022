"""The disk or image file to install to: whether it is fit. Nothing is written here."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bootc import blockdev
from bootc.errors import TargetError
from bootc.machine import Command

FILESYSTEMS = ("ext4", "xfs", "btrfs")

_MIB = 1 << 20


def require_fit(target: Path, filesystem: str, is_file: bool, wipe: bool, required: int) -> Path:
    """The target's real path, if it is fit: of the right kind, unused, writable, large enough (`required` bytes) and,
    without `wipe`, blank. Raises TargetError."""
    if filesystem not in FILESYSTEMS:
        raise TargetError(str(target), f"unknown filesystem: {filesystem}", f"supported: {', '.join(FILESYSTEMS)}")
    _require_kind(target, is_file)
    target = target.resolve()
    _require_unused(target, is_file)
    _require_writable(target)
    _require_room(target, required)
    if not wipe:
        _require_blank(target)
    return target


def _require_kind(target: Path, is_file: bool) -> None:
    try:
        mode = target.stat().st_mode
    except OSError as error:
        raise TargetError(str(target), error.strerror or str(error)) from error
    if is_file and not stat.S_ISREG(mode):
        raise TargetError(str(target), "Not a regular file (to be used via loopback)", "leave out --via-loopback")
    if not is_file and not stat.S_ISBLK(mode):
        raise TargetError(str(target), "Not a block device", "use --via-loopback for an image file")
    if not is_file and Path("/sys/class/block", target.resolve().name, "partition").exists():
        raise TargetError(str(target), "is a partition", "give the whole disk, or use install to-filesystem")


def _require_unused(target: Path, is_file: bool) -> None:
    if is_file:
        loops = Command(("losetup", "-n", "-O", "NAME", "-j", str(target)), "find loop devices").run().text.split()
        if loops:
            raise TargetError(str(target), f"in use by {', '.join(loops)}", f"losetup -d {loops[0]}")
        return
    argv = ("lsblk", "-n", "-r", "-o", "PATH,MOUNTPOINT", str(target))
    for line in Command(argv, "list the disk's partitions").run().text.splitlines():
        device, _, mounted = line.partition(" ")
        if mounted:
            raise TargetError(str(target), f"Device {device} is mounted", f"it is mounted at {mounted}; unmount it")
    try:  # the kernel knows of mounts in other namespaces, of swap, LVM and RAID
        os.close(os.open(target, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        raise TargetError(str(target), f"the device is in use ({error.strerror})") from error


def _require_writable(target: Path) -> None:
    flag = Path("/sys/class/block", target.name, "ro")
    if flag.exists() and flag.read_text().strip() != "0":
        raise TargetError(str(target), "the device is read-only", f"blockdev --setrw {target}")
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise TargetError(str(target), f"not writable: {error.strerror}") from error


def _require_room(target: Path, required: int) -> None:
    size = _size(target)
    if size < required:
        raise TargetError(
            str(target),
            f"too small: it has {size // _MIB} MiB, {-(-required // _MIB)} MiB are needed",
            "use a larger disk, or a smaller --root-size",
        )


def _require_blank(target: Path) -> None:
    hint = "use e.g. `wipefs` or --wipe if you intend to overwrite"
    table = blockdev.read_table(target)
    if table and table.partitions:
        raise TargetError(str(target), "Detected existing partitions", hint)
    found = blockdev.filesystem_type(target)
    if found:
        raise TargetError(str(target), f"Detected an existing filesystem ({found})", hint)


def _size(target: Path) -> int:
    with target.open("rb") as file:
        return file.seek(0, os.SEEK_END)
