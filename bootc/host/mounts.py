"""What is mounted where, and the system calls that change it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from bootc.errors import HostError
from bootc.mountinfo import MountPoint, mount_points

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 1, 32, 4096, 16384, 1 << 19


def mount_at(path: Path) -> MountPoint | None:
    """The mount that is seen at exactly this path (the last one covers others)."""
    return next((mount for mount in reversed(mount_points()) if mount.target == path), None)


def mount_containing(path: Path) -> MountPoint | None:
    """The mount on which a path lies."""
    resolved = path.resolve()
    candidates = [mount for mount in mount_points() if resolved.is_relative_to(mount.target)]
    return max(reversed(candidates), key=lambda mount: len(mount.target.parts), default=None)


def unshare_mounts() -> None:
    """A mount namespace of our own. Mounts of the host still arrive here, ours never leave."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise HostError(f"Failed to unshare mount namespace: {os.strerror(ctypes.get_errno())}")
    try:
        mount(None, Path("/"), MS_REC | MS_SLAVE)
    except OSError as error:
        raise HostError(f"Failed to make mounts private: {error.strerror}") from error


def mount(source: str | None, target: Path, flags: int) -> None:
    """mount(2) without type and data. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    origin = os.fsencode(source) if source is not None else None
    if libc.mount(origin, os.fsencode(target), None, ctypes.c_ulong(flags), None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
