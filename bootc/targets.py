"""The directory to install to: whether it is fit, and emptying it."""

from __future__ import annotations

import enum
import os
from collections.abc import Collection
from pathlib import Path

from bootc.durable import explain, release
from bootc.errors import TargetError

FILESYSTEMS = ("ext4", "xfs", "btrfs")


class Replace(enum.Enum):
    """What to do with files that are on the target already."""

    NONE = "none"
    """refuse unless it is empty"""
    WIPE = "wipe"
    ALONGSIDE = "alongside"
    """keep them, beside the new system"""


def require_mount_point(root: Path) -> None:
    """Raise TargetError unless this is a directory on which a writable filesystem is mounted."""
    if not root.is_dir():
        raise TargetError(str(root), "not a directory", "give the directory where the target filesystem is mounted")
    if not os.path.ismount(root):
        raise TargetError(str(root), "Not a mountpoint", "mount the target filesystem there first")
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        raise TargetError(str(root), "read-only file system", f"mount -o remount,rw {root}")


def require_filesystem(root: Path, type: str) -> None:
    """Raise TargetError unless the filesystem is one that a system can live on."""
    if type not in FILESYSTEMS:
        raise TargetError(str(root), f"Unknown filesystem: {type}", f"supported: {', '.join(FILESYSTEMS)}")


def require_backend(target: Path, filesystem: str, backend: str, filesystems: Collection[str]) -> None:
    """Raise TargetError unless a backend that needs one of these filesystems (none: any) can be installed to this."""
    if filesystems and filesystem not in filesystems:
        hint = f"use {' or '.join(filesystems)}, or another backend"
        raise TargetError(str(target), f"backend {backend!r} does not work on {filesystem}", hint)


def require_other_than_host(root: Path, host: Path = Path("/proc/1/root")) -> None:
    """Raise TargetError if this is the filesystem of the host's root: installing would overwrite the running system.

    Where a sandbox keeps even root from looking at that of the first process, our own is taken for it.
    """
    host = host if os.access(host, os.X_OK) else Path("/")
    if os.statvfs(root).f_fsid == os.statvfs(host).f_fsid and os.stat(root).st_dev == os.stat(host).st_dev:
        hint = "give --acknowledge-destructive if you mean it"
        raise TargetError(str(root), "it is the root filesystem of the running system", hint)


def require_empty(root: Path) -> None:
    """Raise TargetError if there is anything but `lost+found` and directories that hold only mount points."""
    for entry in sorted(os.scandir(root), key=lambda found: found.name):
        if entry.name != "lost+found" and not _holds_only_mounts(Path(entry.path)):
            hint = "use --replace wipe to delete everything, or --replace alongside to keep it"
            raise TargetError(str(root), f'Non-empty root filesystem; found "{_shown(entry.name)}"', hint)


def empty(root: Path) -> None:
    """Delete everything below a directory, without crossing into other filesystems; mount points stay."""
    device = os.lstat(root).st_dev
    for name in os.listdir(root):
        _remove(root / name, device)


def listing(root: Path) -> frozenset[Path]:
    """What is at the top of a target, and of the filesystems that are mounted below it."""
    found = frozenset(root.iterdir())
    return found.union(*(listing(path) for path in found if _holds_only_mounts(path)))


def remove_new(root: Path, before: frozenset[Path]) -> None:
    """Delete everything on a target, and on the filesystems mounted below it, that an earlier `listing` has not."""
    device = os.lstat(root).st_dev
    for path in root.iterdir():
        if path not in before:
            _remove(path, device)
        elif path.is_dir() and not path.is_symlink() and _was_entered(path, before):
            remove_new(path, before)


def require_no_mounts(root: Path) -> None:
    """Raise TargetError if another filesystem is mounted below: `wipe` would not reach it."""
    device = os.lstat(root).st_dev
    for directory, names, _ in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if not path.is_symlink() and os.lstat(path).st_dev != device:
                raise TargetError(str(root), f"Found unexpected mount point {_shown(str(path))}", "unmount it first")


def _was_entered(path: Path, before: frozenset[Path]) -> bool:
    return os.path.ismount(path) or any(other.parent == path for other in before)


def _holds_only_mounts(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        return False
    if os.path.ismount(path):
        return True
    children = list(path.iterdir())
    return bool(children) and all(_holds_only_mounts(child) for child in children)


def _remove(path: Path, device: int) -> None:
    found = os.lstat(path)
    if found.st_dev != device or os.path.ismount(path):
        return
    try:
        if not path.is_symlink() and path.is_dir():
            release(path)  # deployments are immutable
            for name in os.listdir(path):
                _remove(path / name, device)
            path.rmdir()
        else:
            _unlink(path)
    except OSError as error:
        if not _holds_only_mounts(path):
            raise explain(error, str(path)) from error


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except PermissionError:
        if not release(path):
            raise
        path.unlink()


def _shown(name: str) -> str:
    return name.encode("unicode_escape").decode()
