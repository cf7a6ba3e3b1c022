"""The spool: blobs on their way to the store, kept on the sysroot so that a cut download is continued.

A file named by the digest's hex digits is whole and was verified; `HEX.partial` is the beginning of a blob.
Nothing here is trusted on the next run: every byte is hashed again before it counts.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bootc.durable import explain
from bootc.errors import CancelledError, IntegrityError
from bootc.events import LayerFetched, LayerProgress, Report
from bootc.fetcher import Readable, Source
from bootc.image import Descriptor

CHUNK = 1 << 20
_REPORT_EVERY = 0.1
_POLL = 0.25
_LAST_WORDS = 5.0
"""seconds that a download gets for saying why its file is gone"""


class Hash(Protocol):
    """A hashlib object."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""


class Download:
    """One blob on its way into the spool; it can be read while it arrives."""

    def __init__(self, source: Source, blob: Descriptor, spool: Path, report: Report, stop: threading.Event) -> None:
        self._source, self._blob, self._report, self._stop = source, blob, report, stop
        self._complete = spool / blob.digest.hex
        self._partial = spool / f"{blob.digest.hex}.partial"
        self._change = threading.Condition()
        self._readable = self._fetched = 0
        self._is_done = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Fetch the blob; meant for a thread: every failure is kept for the reader."""
        try:
            self._run()
        except OSError as error:
            self._end(explain(error, str(self._partial)))
        except BaseException as error:
            self._end(error)
        else:
            self._end(None)

    def forget(self) -> None:
        """Remove the blob from the spool: the store has it."""
        self._complete.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what there is of the blob. The download must have ended."""
        self.forget()
        self._partial.unlink(missing_ok=True)

    @contextmanager
    def reader(self, check_cancelled: Callable[[], None]) -> Iterator[Readable]:
        """Read the blob from its beginning, waiting for what has not arrived yet."""
        self.wait_beyond(0, check_cancelled)
        descriptor = self._open()
        try:
            yield _Reader(self, descriptor, check_cancelled)
        finally:
            os.close(descriptor)

    def wait_beyond(self, position: int, check_cancelled: Callable[[], None]) -> int:
        """How many bytes can be read now: more than `position`, or all there are. Raises what ended the download."""
        with self._change:
            while self._readable <= position and not self._is_done:
                self._change.wait(_POLL)
                check_cancelled()
            if self._error and self._readable <= position:
                raise self._error
            return self._readable

    def _run(self) -> None:
        started = time.monotonic()
        self._partial.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._complete.exists():
            os.replace(self._complete, self._partial)
        with self._partial.open("r+b" if self._partial.exists() else "w+b", buffering=0) as file:
            if not self._continue(file.fileno()):
                os.ftruncate(file.fileno(), 0)
                self._fetch(file.fileno(), hashlib.new(self._blob.digest.algorithm), 0)
        os.replace(self._partial, self._complete)
        size = self._readable
        reused, seconds = max(size - self._fetched, 0), time.monotonic() - started
        self._report(LayerFetched(str(self._blob.digest), size, self._fetched, reused, seconds))

    def _continue(self, file: int) -> bool:
        """Use what an earlier run left; its bytes are shown to nobody before the whole blob proved right."""
        size = os.fstat(file).st_size
        if size == 0 or self._blob.size is None or size > self._blob.size:
            return False
        digest: Hash = hashlib.new(self._blob.digest.algorithm)
        position = 0
        while data := os.pread(file, CHUNK, position):
            digest.update(data)
            position += len(data)
        try:
            self._fetch(file, digest, position)
        except IntegrityError:
            return False
        return True

    def _fetch(self, file: int, digest: Hash, start: int) -> None:
        position, reported = start, 0.0
        if self._blob.size is None or start < self._blob.size:
            with self._source.open_blob(self._blob, start) as stream:
                while data := stream.read(CHUNK):
                    if self._stop.is_set():
                        raise CancelledError
                    digest.update(data)
                    self._fetched += len(data)
                    position = self._append(file, data, position)
                    if start == 0:
                        self._show(position)
                    if time.monotonic() - reported > _REPORT_EVERY:
                        reported = time.monotonic()
                        self._report(LayerProgress(str(self._blob.digest), position, self._blob.size, start))
        self._require(digest, position)
        self._show(position)

    def _append(self, file: int, data: bytes, position: int) -> int:
        end = position + len(data)
        if self._blob.size is not None and end > self._blob.size:
            raise self._wrong(f"is longer than {self._blob.size} bytes")
        view = memoryview(data)
        while view:
            written = os.pwrite(file, view, position)
            view, position = view[written:], position + written
        return position

    def _require(self, digest: Hash, size: int) -> None:
        if self._blob.size is not None and size != self._blob.size:
            raise self._wrong(f"has {size} bytes instead of {self._blob.size}")
        if digest.hexdigest() != self._blob.digest.hex:
            raise self._wrong("does not have the digest by which it is named")

    def _wrong(self, problem: str) -> IntegrityError:
        return IntegrityError(str(self._source.image.reference), f"blob {self._blob.digest} {problem}")

    def _open(self) -> int:
        for path in (self._complete, self._partial, self._complete):
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
        raise self._ended_with() or self._wrong("vanished from the spool")

    def _ended_with(self) -> BaseException | None:
        """What ended the download; it removes what proved wrong before it says so."""
        with self._change:
            self._change.wait_for(lambda: self._is_done, _LAST_WORDS)
            return self._error

    def _show(self, position: int) -> None:
        with self._change:
            self._readable = position
            self._change.notify_all()

    def _end(self, error: BaseException | None) -> None:
        if isinstance(error, IntegrityError):
            self._partial.unlink(missing_ok=True)
        with self._change:
            self._is_done, self._error = True, error
            self._change.notify_all()


class _Reader:
    def __init__(self, download: Download, file: int, check_cancelled: Callable[[], None]) -> None:
        self._download, self._file, self._check_cancelled = download, file, check_cancelled
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        end = self._download.wait_beyond(self._position, self._check_cancelled)
        limit = CHUNK if size < 0 else size
        data = os.pread(self._file, min(limit, end - self._position), self._position)
        self._position += len(data)
        return data


def prune(spool: Path, max_age: float = 0.0) -> int:
    """Remove what has lain in the spool for more than `max_age` seconds; returns the bytes freed."""
    freed = 0
    for path in spool.iterdir() if spool.is_dir() else ():
        found = path.lstat()
        if time.time() - found.st_mtime >= max_age:
            path.unlink(missing_ok=True)
            freed += found.st_size
    return freed
