"""A blob of which only parts are here: a sparse file in the spool, and beside it a record of what was written.

`HEX.parts` holds bytes of the blob at their own offsets, `HEX.spans` one line `START END` for each span that was
synced to the disk. What the record says is taken as a hint after a restart, as everything in the spool.
"""

from __future__ import annotations

import os
import re
import threading
from bisect import bisect_right
from pathlib import Path

from bootc.durable import explain
from bootc.image import Digest
from bootc.partial.entries import Unusable
from bootc.partial.plan import Span

_RECORD_EVERY = 1 << 20
"""bytes after which what was written is synced and recorded"""
_RECORD_LIMIT = 16 << 20
_LINE = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18})\n")


class PartialBlob:
    """Parts of one blob. For several threads, which write different spans."""

    def __init__(self, spool: Path, digest: Digest, size: int) -> None:
        """Opens what an earlier run left. Raises FileSystemError, NoSpaceError."""
        self._data, self._record = _files(spool, digest)
        self._size = size
        self._lock = threading.Lock()
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._unrecorded: list[Span] = []
        self._unsynced = 0
        try:
            spool.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._data, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise explain(error, str(self._data)) from error
        for span in self._recorded():
            self._add(span)

    def has(self, span: Span) -> bool:
        """Whether all of it was written."""
        with self._lock:
            index = bisect_right(self._starts, span.start) - 1
            return index >= 0 and span.end <= self._ends[index]

    def missing(self, span: Span) -> list[Span]:
        """What is not here of a span."""
        found, position = [], span.start
        with self._lock:
            index = max(bisect_right(self._starts, span.start) - 1, 0)
            while index < len(self._starts) and self._starts[index] < span.end:
                if self._starts[index] > position:
                    found.append(Span(position, self._starts[index]))
                position = max(position, self._ends[index])
                index += 1
        return [*found, Span(position, span.end)] if position < span.end else found

    def read(self, start: int, size: int) -> bytes:
        """What the file has there. Raises Unusable if the disk does not give it."""
        try:
            return os.pread(self._file, size, start)
        except OSError as error:
            raise Unusable(f"{self._data}: {error.strerror}") from error

    def write(self, start: int, data: bytes) -> None:
        """Put bytes of the blob where they belong. Raises FileSystemError, NoSpaceError."""
        view, position = memoryview(data), start
        try:
            while view:
                written = os.pwrite(self._file, view, position)
                view, position = view[written:], position + written
            with self._lock:
                self._add(Span(start, start + len(data)))
                self._unrecorded.append(Span(start, start + len(data)))
                self._unsynced += len(data)
                if self._unsynced >= _RECORD_EVERY:
                    self._write_record()
        except OSError as error:
            raise explain(error, str(self._data)) from error

    def record(self) -> None:
        """Have all that was written survive a power cut."""
        try:
            with self._lock:
                if self._unrecorded:
                    self._write_record()
        except OSError as error:
            raise explain(error, str(self._data)) from error

    def close(self) -> None:
        """Close the file, keeping it for another run."""
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _recorded(self) -> list[Span]:
        """The spans of an earlier run, without those that the file cannot hold."""
        whole = os.fstat(self._file).st_size
        try:
            with self._record.open("rb") as file:
                text = file.read(_RECORD_LIMIT)
        except OSError:
            return []
        spans = [Span(int(start), int(end)) for start, end in _LINE.findall(text)]
        return [span for span in spans if span.start < span.end <= min(whole, self._size)]

    def _write_record(self) -> None:
        os.fdatasync(self._file)
        with self._record.open("ab", buffering=0) as file:
            file.write(b"".join(b"%d %d\n" % (span.start, span.end) for span in self._unrecorded))
        self._unrecorded.clear()
        self._unsynced = 0

    def _add(self, span: Span) -> None:
        """Merge with those that it touches."""
        first = bisect_right(self._starts, span.start)
        if first and self._ends[first - 1] >= span.start:
            first -= 1
        last = bisect_right(self._starts, span.end)
        start = min([span.start, *self._starts[first:last][:1]])
        end = max([span.end, *self._ends[first:last]])
        self._starts[first:last], self._ends[first:last] = [start], [end]


def discard(spool: Path, digest: Digest) -> None:
    """Remove the parts of a blob."""
    data, record = _files(spool, digest)
    record.unlink(missing_ok=True)
    data.unlink(missing_ok=True)


def _files(spool: Path, digest: Digest) -> tuple[Path, Path]:
    return spool / f"{digest.hex}.parts", spool / f"{digest.hex}.spans"
