"""What must hold before a command changes the system, checked and arranged in upstream's order.

This runs before threads and libraries start: a mount namespace is one of the calling thread's things.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from bootc.errors import HostError
from bootc.host import mounts
from bootc.host.sysroot import Location, locate
from bootc.mountinfo import MountPoint

_CAP_SYS_ADMIN = 21


def prepare(sysroot: Path | None = None) -> Location:
    """Everything before a changing command, in order; returns where the system lies. Raises HostError, TargetError.

    An explicit sysroot may be changed from inside a container, the running system may not. On the running system
    /sysroot and /boot become writable, in a mount namespace that ends with this process.
    """
    if sysroot is None:
        require_no_container()
    require_root()
    enter_private_namespace()
    location = locate(sysroot)
    if location.is_booted:
        make_writable((location.root, Path("/boot")))
    if is_medium_read_only(location.root):
        raise _read_only(location.root)
    return location


def require_no_container(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> None:
    """Raise HostError in a container."""
    if is_container(root, environment):
        raise HostError("Detected container; this command requires a booted host system.")


def is_container(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a container, by the signs that podman, docker and systemd-nspawn leave."""
    files = (root / "run/.containerenv", root / ".dockerenv")
    return "container" in environment or any(file.exists() for file in files)


def require_root() -> None:
    """Raise HostError without uid 0, or where CAP_SYS_ADMIN can never be had."""
    if os.geteuid() != 0:
        raise HostError("This command must be executed as the root user")
    if not _bounding_set() >> _CAP_SYS_ADMIN & 1:
        raise HostError("This command requires full root privileges (CAP_SYS_ADMIN)")


def enter_private_namespace() -> None:
    """Mounts from here on are seen by this process and its children only. Raises HostError if threads run already."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise HostError(f"Failed to unshare mount namespace: {threads} threads run already")
    mounts.unshare_mounts()


def make_writable(paths: Iterable[Path]) -> None:
    """Remount these mount points writable in this namespace. What is no mount point, or writable, stays as it is.

    Where only the mount is read-only, only that changes; a read-only filesystem becomes writable as a whole, but
    other mounts of it stay read-only. Raises HostError.
    """
    for path in paths:
        mount = mounts.mount_at(path)
        if mount is not None and mount.is_read_only:
            if mount.is_medium_read_only:
                raise _read_only(path)
            _remount(mount)


def is_medium_read_only(root: Path) -> bool:
    """Whether a directory lies on a filesystem that can never be written, as on a live ISO."""
    mount = mounts.mount_containing(root)
    return mount is not None and mount.is_medium_read_only


def _remount(mount: MountPoint) -> None:
    flags = mounts.MS_REMOUNT | mount.super_flags
    if "ro" not in mount.super_options:
        flags = mounts.MS_REMOUNT | mounts.MS_BIND | mount.flags
    try:
        mounts.mount(None, mount.target, flags)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES):
            raise _read_only(mount.target) from error
        raise HostError(f"Failed to remount {mount.target} writable: {error.strerror}") from error


def _read_only(path: Path) -> HostError:
    return HostError(
        f"Cannot perform this operation: {path} is on a read-only block device (e.g. a live ISO)",
        "make the device writable, or start the system from one that is",
    )


def _bounding_set() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return 0
