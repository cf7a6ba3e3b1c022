"""What chattr(1) keeps from being removed: immutable and append-only files and directories."""

from __future__ import annotations

import array
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
_FIXED = 0x10 | 0x20
"""FS_IMMUTABLE_FL and FS_APPEND_FL of linux/fs.h"""


def release(path: Path) -> bool:
    """Let a file or directory be removed that is immutable or append-only; whether it was. Links are not followed."""
    with suppress(OSError):  # not every filesystem has such attributes, and who removes it tells what is wrong
        if not (stat.S_ISREG(mode := path.lstat().st_mode) or stat.S_ISDIR(mode)):
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            flags = array.array("L", [0])
            fcntl.ioctl(descriptor, _GET_FLAGS, flags)
            if flags[0] & _FIXED:
                flags[0] &= ~_FIXED
                fcntl.ioctl(descriptor, _SET_FLAGS, flags)
                return True
        finally:
            os.close(descriptor)
    return False


def release_tree(path: Path) -> bool:
    """The same for a directory and all below it, of the same filesystem; whether anything was."""
    released = [found for found in _below(path) if release(found)]
    return bool(released)


def _below(path: Path) -> Iterator[Path]:
    device, waiting = path.lstat().st_dev, [path]
    while waiting:
        here = waiting.pop()
        with suppress(OSError):
            status = here.lstat()
            if status.st_dev == device:
                yield here
                waiting += here.iterdir() if stat.S_ISDIR(status.st_mode) else ()
