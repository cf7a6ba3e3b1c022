"""Subvolumes and snapshots of btrfs, by its ioctls (linux/btrfs.h). Each new one is on disk when the call returns."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bootc.durable import explain

_SYNC, _DESTROY, _SEARCH = 0x9408, 0x5000940F, 0xD0009411
_SNAPSHOT, _CREATE, _INFO = 0x50009417, 0x50009418, 0x81F8943C
_READ_ONLY = 1 << 1
_INFORMATION = struct.Struct("=Q336xQQ144x")
"""of one: its number, and the transactions in which a file in it changed last and in which it was made"""
_ROOTS, _ROOT_ITEM, _LAST = 1, 132, (1 << 64) - 1


def create(path: Path) -> None:
    """An empty one."""
    _change(path.parent, _CREATE, struct.pack("=qQQ32x4040s", 0, 0, 0, os.fsencode(path.name)))


def snapshot(source: Path, path: Path, *, is_read_only: bool) -> None:
    """Another with all that `source` holds, in one step."""
    with _opened(source) as descriptor:
        flags = _READ_ONLY if is_read_only else 0
        _change(path.parent, _SNAPSHOT, struct.pack("=qQQ32x4040s", descriptor, 0, flags, os.fsencode(path.name)))


def delete(path: Path) -> int:
    """Remove one, read-only or not; returns its number. Its room is free when `settle` returns."""
    number, _, _ = _information(path)
    _change(path.parent, _DESTROY, struct.pack("=q4088s", 0, os.fsencode(path.name)))
    return number


def settle(root: Path, deleted: Sequence[int]) -> None:
    """Wait until btrfs, which does that in the background, has given back the room of deleted ones."""
    with _opened(root) as descriptor:
        fcntl.ioctl(descriptor, _SYNC)
        while any(_is_there(descriptor, number) for number in deleted):
            time.sleep(0.01)
        fcntl.ioctl(descriptor, _SYNC)


def is_altered(path: Path) -> bool:
    """Whether something changed in a read-only one since it was made."""
    _, changed, made = _information(path)
    return changed > made


def _information(path: Path) -> tuple[int, int, int]:
    with _opened(path) as descriptor:
        number, changed, made = _INFORMATION.unpack(fcntl.ioctl(descriptor, _INFO, bytes(_INFORMATION.size)))
    return number, changed, made


def _is_there(descriptor: int, number: int) -> bool:
    """Whether the tree of roots still has it."""
    key = struct.pack("=7Q4I", _ROOTS, number, number, 0, _LAST, 0, _LAST, _ROOT_ITEM, _ROOT_ITEM, 1, 0)
    answer = bytearray(key.ljust(4096, b"\0"))
    fcntl.ioctl(descriptor, _SEARCH, answer)
    return answer[64:68] != bytes(4)


def _change(directory: Path, request: int, arguments: bytes) -> None:
    with _opened(directory) as descriptor:
        fcntl.ioctl(descriptor, request, bytearray(arguments))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise explain(error, str(path)) from error
