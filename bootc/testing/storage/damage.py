"""Damage that a disk, or a careless administrator, does to what a backend keeps."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GET_FLAGS, _SET_FLAGS = 0x80089419, 0x4008941A
_READ_ONLY = 1 << 1
_SUBVOLUME_INODE = 256
"""of the top directory of each subvolume of btrfs"""


def files_with(root: Path, content: bytes) -> Iterator[Path]:
    """Regular files below a directory with this content."""
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if not path.is_symlink() and path.stat().st_size == len(content) and path.read_bytes() == content:
                yield path


def replace(path: Path, content: bytes) -> None:
    """Another file in place of one, with the same metadata: as damage on the disk shows."""
    _unprotect(path)
    copy = path.with_name(f"{path.name}.damaged")
    copy.write_bytes(content)
    shutil.copystat(path, copy)
    os.chown(copy, path.stat().st_uid, path.stat().st_gid)
    copy.rename(path)


def remove(path: Path) -> None:
    """A file that is gone."""
    _unprotect(path)
    path.unlink()


def _unprotect(path: Path) -> None:
    """Damage does not stop at a subvolume that is read-only."""
    for directory in path.parents:
        if directory.stat().st_ino == _SUBVOLUME_INODE:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):  # on other filesystems it is a number like any
                flags = int.from_bytes(fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8)), sys.byteorder)
                fcntl.ioctl(descriptor, _SET_FLAGS, (flags & ~_READ_ONLY).to_bytes(8, sys.byteorder))
            os.close(descriptor)
