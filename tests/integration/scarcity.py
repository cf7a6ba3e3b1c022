"""Filesystems without room, in bytes or in inodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.sysroots import MIB

ADVICE = "(free some space, then try again)"
_FILLERS = "fillers"


def free(root: Path) -> int:
    """Bytes that can be written."""
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize


@contextmanager
def filled(root: Path, left: int) -> Iterator[None]:
    """All but about `left` bytes of a filesystem are taken by a file; it is removed at the end."""
    gap, filler = root / "gap", root / "filler"
    gap.write_bytes(bytes(left))
    with filler.open("wb", buffering=0) as file:
        size = MIB
        while size >= 1024:
            try:
                file.write(bytes(size))
                os.fsync(file.fileno())
            except OSError:
                size //= 4
    gap.unlink()
    os.sync()
    yield
    filler.unlink()


def crowd(root: Path) -> None:
    """Put empty files in place of all free inodes."""
    (root / _FILLERS).mkdir()
    for number in range(os.statvfs(root).f_favail):
        (root / _FILLERS / str(number)).touch()


def uncrowd(root: Path, count: int | None = None) -> None:
    """Free so many of these inodes; None: all that are still taken."""
    fillers = sorted((root / _FILLERS).iterdir())
    for filler in fillers[:count]:
        filler.unlink()
