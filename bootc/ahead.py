"""Reading ahead: a thread takes content in and works on it while the caller is busy with what came before."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bootc.errors import CancelledError
from bootc.fetcher import Readable

_PIECE = 1 << 20
_PIECES = 8
"""that lie ready at most"""


class Ahead:
    """Reads one stream, at most some MiB ahead. Everything below that stream must call `check` while it waits."""

    def __init__(self, check_cancelled: Callable[[], None]) -> None:
        self._check_cancelled = check_cancelled
        self._change = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._rest = memoryview(b"")
        self._is_done = self._is_left = False
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raise CancelledError if the user asked to stop, or if nobody waits for the content any more."""
        self._check_cancelled()
        if self._is_left:
            raise CancelledError

    @contextmanager
    def reading(self, stream: Readable) -> Iterator[Readable]:
        """The same content. What reading it raises is raised by `read`, after all that came before."""
        thread = threading.Thread(target=self._run, args=(stream,), name="read-ahead")
        thread.start()
        try:
            yield self
        finally:
            with self._change:
                self._is_left = True
                self._change.notify_all()
            thread.join()

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; b"" at the end."""
        if not self._rest:
            piece = self._next()
            if not 0 <= size < len(piece):
                return piece
            self._rest = memoryview(piece)
        end = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:end], self._rest[end:]
        return bytes(data)

    def _next(self) -> bytes:
        with self._change:
            self._change.wait_for(lambda: self._pieces or self._is_done)
            if self._pieces:
                self._change.notify_all()
                return self._pieces.popleft()
            if self._error is not None:
                raise self._error
            return b""

    def _run(self, stream: Readable) -> None:
        try:
            while data := stream.read(_PIECE):
                self._put(data)
        except BaseException as error:
            self._error = error
        with self._change:
            self._is_done = True
            self._change.notify_all()

    def _put(self, data: bytes) -> None:
        with self._change:
            self._change.wait_for(lambda: len(self._pieces) < _PIECES or self._is_left)
            if self._is_left:
                raise CancelledError
            self._pieces.append(data)
            self._change.notify_all()
