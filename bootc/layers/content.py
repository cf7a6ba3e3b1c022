"""The byte stream below a layer, and the content of one file in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from bootc.errors import LayerError
from bootc.layers.entry import refusal

BLOCK = 512
STEP = 1 << 18
_ZEROS = memoryview(bytes(1 << 16))
_NO_SPANS: Iterator[tuple[int, int]] = iter(())


class Readable(Protocol):
    """A binary stream: `read(n)` gives at most n bytes, and none only at the end."""

    def read(self, size: int, /) -> bytes: ...


class Source:
    """Takes a stream in large steps and hands it out in blocks and pieces; the pieces are not copied."""

    __slots__ = ("_before", "_buffer", "_position", "_stream", "subject")

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._buffer = b""
        self._position = 0
        self._before = 0
        self.subject = b""
        """The entry that is blamed when the stream ends too early."""

    @property
    def offset(self) -> int:
        """How many bytes were handed out or skipped."""
        return self._before + self._position

    def block(self) -> bytes:
        """The next 512 bytes; fewer only when the stream ends."""
        start = self._position
        block = self._buffer[start : start + BLOCK]
        self._position = start + len(block)
        while len(block) < BLOCK and self._refill():
            self._position = min(BLOCK - len(block), len(self._buffer))
            block += self._buffer[: self._position]
        return block

    def piece(self, limit: int) -> memoryview:
        """Between one and `limit` bytes, as many as are at hand. Raises LayerError at the end of the stream."""
        if self._position == len(self._buffer) and not self._refill():
            raise self._cut()
        piece = memoryview(self._buffer)[self._position : self._position + limit]
        self._position += len(piece)
        return piece

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes, in memory. Raises LayerError at the end of the stream."""
        start = self._position
        if start + count <= len(self._buffer):
            self._position = start + count
            return self._buffer[start : self._position]
        pieces = []
        while count:
            pieces.append(self.piece(count))
            count -= len(pieces[-1])
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        """Read and drop `count` bytes. Raises LayerError at the end of the stream."""
        position = self._position + count
        while position > len(self._buffer):
            position -= len(self._buffer)
            if not self._refill():
                raise self._cut()
        self._position = position

    def remainder(self) -> Iterator[memoryview]:
        """All pieces up to the end of the stream."""
        while self._position < len(self._buffer) or self._refill():
            yield self.piece(STEP)

    def _refill(self) -> bool:
        """Take the next step of the stream in place of the buffer, which must be used up."""
        self._before += len(self._buffer)
        self._buffer = self._stream.read(STEP)
        self._position = 0
        return bool(self._buffer)

    def _cut(self) -> LayerError:
        return refusal(self.subject, "the archive ends in the middle of this entry")


class Content:
    """The bytes of one file, readable once and only until the next entry is asked for; what is left is skipped.

    Both ways to read raise LayerError where the archive ends too early, and ValueError when they come too late.
    """

    __slots__ = ("_data", "_hole", "_is_open", "_padding", "_source", "_spans", "remaining")

    def __init__(self, source: Source, size: int, padding: int, spans: Iterator[tuple[int, int]] | None = None) -> None:
        """`padding` bytes follow in the source. `spans` are a sparse file's holes and the data after each, in bytes."""
        self._source = source
        self._hole = 0
        self._data = size if spans is None else 0
        self._padding = padding
        self._spans = _NO_SPANS if spans is None else spans
        self._is_open = True
        self.remaining = size
        """Bytes not yet read."""

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer at the end; all that remain without a size."""
        wanted = self.remaining if size < 0 else min(size, self.remaining)
        pieces = []
        while wanted:
            pieces.append(self._piece(wanted))
            wanted -= len(pieces[-1])
        return b"".join(pieces)

    def copy_to(self, write: Callable[[memoryview], object]) -> int:
        """Hand all that remains to `write` in pieces of up to 256 KiB; returns the count of bytes.

        The pieces are read-only and stay valid. `write` must take each one whole, as buffered files and hashes do.
        """
        count = self.remaining
        while self.remaining:
            write(self._piece(self.remaining))
        return count

    def close(self) -> None:
        """Skip what was not read; later reads are refused. The reader of the layer calls this."""
        if self._is_open:
            self._is_open = False
            self._source.skip(self._data + sum(data for _, data in self._spans) + self._padding)

    def _piece(self, wanted: int) -> memoryview:
        """Between one and `wanted` bytes, of which there must be some."""
        if not self._is_open:
            raise ValueError("the content of a layer entry can be read only until the next entry is asked for")
        while not (self._hole or self._data):
            self._hole, self._data = next(self._spans)
        if self._hole:
            piece = _ZEROS[: min(wanted, self._hole)]
            self._hole -= len(piece)
        else:
            piece = self._source.piece(min(wanted, self._data))
            self._data -= len(piece)
        self.remaining -= len(piece)
        return piece
