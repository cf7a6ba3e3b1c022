"""Reading frames of zstd that come from outside: bounded in memory, every damage told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bootc.fetcher import Readable
from bootc.partial.entries import Unusable

CHUNK = 256 << 10
_WINDOW = 32 << 20
"""bytes; containers/storage compresses tables with as much"""


class Section:
    """Bytes `start` up to `end` of something that is read at offsets."""

    def __init__(self, read_at: Callable[[int, int], bytes], start: int, end: int) -> None:
        self._read_at, self._position, self._end = read_at, start, end

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._end - self._position
        data = self._read_at(self._position, wanted if size < 0 else min(size, wanted))
        self._position += len(data)
        return data


class Decompressor:
    """Opens one stream after the other."""

    def __init__(self) -> None:
        import zstandard

        self._decompressor: Any = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        self._failure: type[Exception] = zstandard.ZstdError

    def open(self, stream: Readable, limit: int) -> Readable:
        """The content of the frames in a stream (RFC 8878), until the next is opened. Raises Unusable for what is
        damaged, or longer than `limit`. Input that ends too early gives less content and no error."""
        reader = self._decompressor.stream_reader(stream, read_size=CHUNK, read_across_frames=True)
        return _Frames(reader, self._failure, limit)


class _Frames:
    def __init__(self, reader: Any, failure: type[Exception], limit: int) -> None:
        self._reader, self._failure, self._left = reader, failure, limit

    def read(self, size: int = -1, /) -> bytes:
        try:
            data = bytes(self._reader.read(CHUNK if size < 0 else size))
        except self._failure as error:
            raise Unusable(f"damaged zstd data: {error}") from error
        self._left -= len(data)
        if self._left < 0:
            raise Unusable("a frame holds more than it should")
        return data


def compressed(data: bytes | bytearray) -> bytes:
    """One frame with this content."""
    import zstandard

    return bytes(zstandard.ZstdCompressor().compress(data))
