"""Fetching spans of a blob, several at a time, into the file that holds its parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, Executor, wait

from attrs import frozen

from bootc.errors import CancelledError, IntegrityError
from bootc.events import LayerFetched, LayerProgress, Report
from bootc.fetcher import Ranges
from bootc.image import Descriptor
from bootc.partial.parts import PartialBlob
from bootc.partial.plan import Span

_CHUNK = 256 << 10
_REPORT_EVERY = 0.1


@frozen
class Link:
    """How parts of the blobs of one image are fetched."""

    source: Ranges
    reference: str
    """the image's name, for errors"""
    executor: Executor
    """has a thread for each range that is to be fetched at once"""
    stop: threading.Event
    report: Report


class Transfer:
    """What came of one blob in this run, counted and reported."""

    def __init__(self, link: Link, blob: Descriptor, size: int, parts: PartialBlob) -> None:
        self.parts = parts
        self.fetched = 0
        """bytes, also those that came twice or in vain"""
        self._link, self._blob, self._size = link, blob, size
        self._lock = threading.Lock()
        self._awaited = 0
        self._started = self._ended = time.monotonic()
        self._reported = 0.0

    def fetch(self, spans: Iterable[Span]) -> None:
        """Have these bytes here; what was here before is not fetched again. Raises the first failure, a FetchError."""
        missing = [part for span in spans for part in self.parts.missing(span)]
        self._awaited = sum(part.size for part in missing)
        futures = [self._link.executor.submit(self.fetch_again, part) for part in missing]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        finally:
            for future in futures:
                future.cancel()
            wait(futures)
            self.parts.record()

    def fetch_again(self, span: Span) -> None:
        """Fetch one span in this thread, also if it is here. Raises FetchError."""
        position = span.start
        self._check()
        with self._link.source.open_range(self._blob, span.start, span.size) as stream:
            while data := stream.read(_CHUNK):
                self._check()
                if len(data) > span.end - position:
                    break
                self.parts.write(position, data)
                position += len(data)
                self._count(len(data))
        if position != span.end or data:
            raise IntegrityError(self._link.reference, f"a range of blob {self._blob.digest} has another size")

    def end(self) -> None:
        """Report that nothing more will come."""
        seconds = self._ended - self._started
        reused = max(self._size - self.fetched, 0)
        self._link.report(LayerFetched(str(self._blob.digest), self._size, self.fetched, reused, seconds))

    def _check(self) -> None:
        if self._link.stop.is_set():
            raise CancelledError

    def _count(self, size: int) -> None:
        with self._lock:
            self.fetched += size
            self._awaited = max(self._awaited - size, 0)
            self._ended = time.monotonic()
            if self._ended - self._reported < _REPORT_EVERY:
                return
            self._reported = self._ended
            done = self._size - self._awaited
        self._link.report(LayerProgress(str(self._blob.digest), done, self._size, max(done - self.fetched, 0)))
