"""The EFI system partition as a volume to write to: mounted, or through mtools; repaired first if that is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bootc.blockdev import EspLocation, loop_device, mount_of
from bootc.durable import Observer, Volume
from bootc.errors import MissingProgramError, ProgramError
from bootc.esp.volumes import MountedFatVolume, MtoolsVolume
from bootc.machine import Command

ESP_MOUNT = Path("/run/bootc/esp")
"""where an EFI system partition is mounted while we write to it"""

_OPTIONS = "umask=0077,noexec,nosuid,nodev"
_SECTOR = 512


@contextmanager
def open_esp(
    location: EspLocation, mount_at: Path | None = ESP_MOUNT, observer: Observer | None = None
) -> Iterator[Volume]:
    """The EFI system partition as a volume: where it is mounted, else mounted at `mount_at`, else through mtools.

    A partition that is mounted read-only is writable inside. mtools is used where the kernel has no vfat, and if
    `mount_at` is None. One that nobody has mounted is repaired first if it was not unmounted in order.
    """
    if location.mounted:
        with _writable(location.mounted):
            yield MountedFatVolume(location.mounted, "esp", observer)
        return
    repair(location)
    if mount_at and _kernel_mounts_vfat():
        with _mounted(location, mount_at):
            yield MountedFatVolume(mount_at, "esp", observer)
    else:
        yield MtoolsVolume(location.device, location.offset, "esp", observer)


def repair(location: EspLocation) -> None:
    """Have fsck.vfat(8) mend a volume that was not unmounted in order, as systemd does for those that it mounts.

    What a power cut left of a file is a name whose clusters are free: they would be given to a new file, and taken from
    it when the old name is removed; and Linux makes a volume read-only that it finds so. Nothing happens to a volume
    that was unmounted, to one that somebody has mounted where we do not see it (another mount namespace), nor where the
    program is missing or fails: whoever writes will see.
    """
    if not is_dirty(location.device, location.offset):
        return
    with suppress(MissingProgramError, ProgramError, OSError), ExitStack() as stack:
        device = location.device
        if location.offset or not device.is_block_device():
            device = stack.enter_context(loop_device(device, location.offset, location.size))
        stack.enter_context(_claimed(device))
        Command(("fsck.vfat", "-a", str(device)), "repair the EFI partition", frozenset({0, 1})).run()


def is_dirty(device: Path, offset: int) -> bool:
    """Whether the mark that Linux sets while a volume is mounted is still there (Microsoft's FAT specification)."""
    with device.open("rb") as file:
        file.seek(offset)
        sector = file.read(_SECTOR)
    is_fat32 = sector[22:24] == bytes(2)
    return len(sector) == _SECTOR and bool(sector[65 if is_fat32 else 37] & 1)


@contextmanager
def _claimed(device: Path) -> Iterator[None]:
    """Nobody can mount it inside. Raises OSError if somebody has."""
    descriptor = os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _mounted(location: EspLocation, at: Path) -> Iterator[None]:
    at.mkdir(parents=True, exist_ok=True)
    options = _OPTIONS
    if not location.device.is_block_device() or location.offset:
        options += f",loop,offset={location.offset},sizelimit={location.size}"
    Command(("mount", "-t", "vfat", "-o", options, str(location.device), str(at)), "mount the EFI partition").run()
    try:
        yield
    finally:
        Command(("umount", str(at)), "unmount the EFI partition").run()


@contextmanager
def _writable(mounted: Path) -> Iterator[None]:
    if not mount_of(mounted).is_read_only:
        yield
        return
    Command(("mount", "-o", "remount,rw", str(mounted)), "write to the EFI partition").run()
    try:
        yield
    finally:
        Command(("mount", "-o", "remount,ro", str(mounted)), "make the EFI partition read-only again").run()


def _kernel_mounts_vfat() -> bool:
    if _knows_vfat():
        return True
    try:
        Command(("modprobe", "-q", "vfat"), "load the vfat module", frozenset({0, 1})).run()
    except MissingProgramError:
        return False
    return _knows_vfat()


def _knows_vfat() -> bool:
    return "vfat" in Path("/proc/filesystems").read_text().split()
