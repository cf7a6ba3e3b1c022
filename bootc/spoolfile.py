"""One blob's file in the spool: its bytes, and behind them marks that tell how much of it is known to be right.

The blob's bytes are at their places. From the blob's size, rounded up to 4096, follows a table with one place of 64
bytes (128 for sha512) for each quarter of a MiB of the blob; the hole before it takes no room. A mark is the end of a
beginning (8 bytes, big endian) and the digest of that beginning. One fdatasync writes bytes and marks; which of them
reaches the disk first does not matter: a mark counts only if the bytes before it have its digest. What a kill, a power
cut or a bad disk leaves behind the last good mark is fetched again, and what is before it never.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bootc.image import Descriptor

PIECE = 256 << 10
"""bytes that are written at once; after as many there is a mark"""
AHEAD = 6 * PIECE
"""bytes that may have been marked and not yet be known to be on the disk: with what follows until the next mark, a
power cut costs 2 MiB at most"""
_ALIGN = 4096


class Hash(Protocol):
    """A hashlib object."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""

    def digest(self) -> bytes:
        """The digest of all bytes so far."""

    def hexdigest(self) -> str:
        """The same in hex."""


class SpoolFile:
    """An open file for one blob. `known` bytes of it are right, and `digest` has taken them in.

    For one thread that writes; others may read what was written. Where the blob's size is not known there are no marks,
    and what an earlier run left does not count. OSError passes everywhere.
    """

    def __init__(self, descriptor: int, blob: Descriptor, check: Callable[[], None]) -> None:
        self.descriptor, self._blob, self._check = descriptor, blob, check
        self._table = _Table(descriptor, blob)
        self.digest, self.known = self._recognize()
        self._marked = self.known
        self._syncing = _Syncing(descriptor, self.known)

    @classmethod
    @contextmanager
    def open(cls, path: Path, blob: Descriptor, check: Callable[[], None]) -> Iterator[SpoolFile]:
        """The file, new or as an earlier run left it. `check` raises when the work is to end."""
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if is_new:
                _sync_directory(path.parent)
            file = cls(descriptor, blob, check)
            try:
                yield file
            finally:
                file._syncing.close()
        finally:
            os.close(descriptor)

    def restart(self) -> None:
        """Forget all that is known."""
        self._syncing.restart()
        os.ftruncate(self.descriptor, 0)
        self.digest, self.known, self._marked = hashlib.new(self._blob.digest.algorithm), 0, 0

    def append(self, data: bytes, position: int) -> int:
        """Write the next bytes; returns where they end. After a failure, it is as if they had not come."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self.descriptor, view, position)
            view, position = view[written:], position + written
        self.digest.update(data)
        if position - self._marked >= PIECE:
            self.mark(position)
        return position

    def mark(self, end: int) -> None:
        """Note that the blob is right up to here, as far as one can know; waits while the disk is far behind."""
        if self._blob.size is not None and end > self._marked:
            self._table.write(end, self.digest.digest())
            self._marked = end
            self._syncing.request(end)

    def finish(self) -> None:
        """Wait until all that was marked is on the disk."""
        self._syncing.finish()

    def _recognize(self) -> tuple[Hash, int]:
        """The longest beginning that a mark vouches for."""
        digest = hashlib.new(self._blob.digest.algorithm)
        known, end, position = digest.copy(), 0, 0
        marks = self._table.read()
        for mark in sorted(marks):
            while position < mark and (data := os.pread(self.descriptor, min(PIECE, mark - position), position)):
                self._check()
                digest.update(data)
                position += len(data)
            if position == mark and digest.digest() == marks[mark]:
                known, end = digest.copy(), mark
        return known, end


class _Table:
    """The marks behind a blob."""

    def __init__(self, descriptor: int, blob: Descriptor) -> None:
        self._descriptor, self._blob = descriptor, blob
        self._length = len(blob.digest.hex) // 2
        self._width = 64 if 8 + self._length <= 64 else 128
        size = blob.size or 0
        self._start = -(-size // _ALIGN) * _ALIGN
        self._bytes = (size // PIECE + 1) * self._width

    def write(self, end: int, digest: bytes) -> None:
        """Each part of the blob has one place, never across a disk's blocks: it is written whole or not at all."""
        os.pwrite(self._descriptor, end.to_bytes(8, "big") + digest, self._start + end // PIECE * self._width)

    def read(self) -> dict[int, bytes]:
        """Ends and digests of beginnings, the whole blob's with them. Anything may stand in the file: it is compared
        with the bytes, not believed."""
        if self._blob.size is None:
            return {}
        there = max(os.fstat(self._descriptor).st_size - self._start, 0)
        table = os.pread(self._descriptor, min(self._bytes, there), self._start)
        records = [table[start : start + 8 + self._length] for start in range(0, len(table), self._width)]
        found = {int.from_bytes(record[:8], "big"): record[8:] for record in records}
        marks = {end: digest for end, digest in found.items() if 0 < end < self._blob.size}
        return {**marks, self._blob.size: bytes.fromhex(self._blob.digest.hex)}


class _Syncing:
    """Brings a file to the disk while more of it is written, in a thread that begins with the first request."""

    def __init__(self, descriptor: int, done: int) -> None:
        self._descriptor = descriptor
        self._change = threading.Condition()
        self._wanted = self._done = done
        self._is_closed = False
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def request(self, end: int) -> None:
        """Everything before `end` is to be on the disk; returns when not much of it is missing there."""
        with self._change:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="spool-sync")
                self._thread.start()
            self._wanted = end
            self._change.notify_all()
            self._await(end - AHEAD)

    def finish(self) -> None:
        """Wait until all that was asked for is there."""
        with self._change:
            self._await(self._wanted)

    def restart(self) -> None:
        """Count from the beginning again."""
        with self._change:
            self._await(self._wanted)
            self._wanted = self._done = 0

    def close(self) -> None:
        """End the thread, after what it was asked for."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _await(self, end: int) -> None:
        self._change.wait_for(lambda: self._done >= end or self._error is not None)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (end := self._next()) is not None:
            error = None
            try:
                os.fdatasync(self._descriptor)
            except OSError as failure:
                error = failure
            with self._change:
                self._done, self._error = end, error
                self._change.notify_all()

    def _next(self) -> int | None:
        with self._change:
            self._change.wait_for(lambda: self._wanted > self._done or self._is_closed)
            return self._wanted if self._wanted > self._done and self._error is None else None


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
