"""A tar stream that begins with pieces put together here and, should they fail, goes on with the whole layer's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

from bootc.errors import FetchError
from bootc.fetcher import Readable
from bootc.partial.entries import Unusable

_CHUNK = 256 << 10


class JoinedTar:
    """Not for several threads. `whole` opens the layer's tar from its beginning; it is closed by `stack`."""

    def __init__(
        self, pieces: Iterator[bytes], whole: Callable[[Exception], AbstractContextManager[Readable]], stack: ExitStack
    ) -> None:
        self._pieces, self._whole, self._stack = pieces, whole, stack
        self._rest: Readable | None = None
        self._data = memoryview(b"")
        self._position = 0
        """of what was taken from the pieces"""

    @property
    def is_rebuilt(self) -> bool:
        """Whether all of it was put together here."""
        return self._rest is None

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; b"" at the end. Raises what the whole layer's stream raises."""
        wanted = _CHUNK if size < 0 else min(size, _CHUNK)
        if not self._data and self._rest is None:
            self._data = memoryview(self._gather(wanted))
        if self._data or self._rest is None or not wanted:
            data, self._data = self._data[:wanted], self._data[wanted:]
            return bytes(data)
        return self._rest.read(size)

    def _gather(self, wanted: int) -> bytes:
        """Small pieces together: most headers have 512 bytes."""
        found, length = [], 0
        try:
            while length < wanted and (piece := next(self._pieces, b"")):
                found.append(piece)
                length += len(piece)
        except (Unusable, FetchError) as error:
            self._position += length
            self._rest = self._stack.enter_context(self._whole(error))
            self._skip(self._rest, self._position)
        else:
            self._position += length
        return b"".join(found)

    def _skip(self, stream: Readable, size: int) -> None:
        while size and (data := stream.read(min(size, _CHUNK))):
            size -= len(data)
