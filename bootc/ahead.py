"""Reading ahead: threads take content in and work on it while the caller is busy with what came before."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bootc.errors import CancelledError
from bootc.fetcher import Readable

_PIECE = 1 << 20
_PIECES = 4
"""that lie ready at most, between two threads"""


class Ahead:
    """Threads in a row, each of which reads one stream some MiB ahead of the next.

    What they read must call `check` while it waits: whoever leaves early waits for nobody.
    """

    def __init__(self, check_cancelled: Callable[[], None]) -> None:
        self._check_cancelled = check_cancelled
        self._change = threading.Condition()
        self._is_left = False

    def check(self) -> None:
        """Raise CancelledError if the user asked to stop, or if nobody waits for the content any more."""
        self._check_cancelled()
        if self._is_left:
            raise CancelledError

    @contextmanager
    def reading(self, stream: Readable) -> Iterator[Readable]:
        """The same content. What reading it raises is raised by `read`, after all that came before.

        Several may stand in a row; the inner one is left first.
        """
        pieces = _Pieces(self._change, lambda: self._is_left)
        thread = threading.Thread(target=pieces.fill, args=(stream,), name="read-ahead")
        thread.start()
        try:
            yield pieces
        finally:
            with self._change:
                self._is_left = True
                self._change.notify_all()
            thread.join()


class _Pieces:
    """What one thread has read, and another will."""

    def __init__(self, change: threading.Condition, is_left: Callable[[], bool]) -> None:
        self._change, self._is_left = change, is_left
        self._pieces: deque[bytes] = deque()
        self._rest = memoryview(b"")
        self._is_done = False
        self._error: BaseException | None = None

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

    def fill(self, stream: Readable) -> None:
        """Read the stream to its end; every failure is kept for the reader."""
        error = None
        try:
            while data := stream.read(_PIECE):
                self._put(data)
        except BaseException as failure:
            error = failure
        with self._change:
            self._is_done, self._error = True, error
            self._change.notify_all()

    def _next(self) -> bytes:
        with self._change:
            self._change.wait_for(lambda: self._pieces or self._is_done or self._is_left())
            if self._pieces:
                self._change.notify_all()
                return self._pieces.popleft()
            if self._error is not None:
                raise self._error
            if not self._is_done:
                raise CancelledError
            return b""

    def _put(self, data: bytes) -> None:
        with self._change:
            self._change.wait_for(lambda: len(self._pieces) < _PIECES or self._is_left())
            if self._is_left():
                raise CancelledError
            self._pieces.append(data)
            self._change.notify_all()
