"""Decompression of layer blobs, chosen by their first bytes: media types are known to lie."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from bootc.errors import IntegrityError, UnsupportedError
from bootc.fetcher import Readable

_CHUNK = 256 << 10
_MAX_WINDOW = 128 << 20
_REFUSED = {b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x04\x22\x4d\x18": "lz4"}


def decompressed(blob: Readable, name: str) -> Readable:
    """The blob's content: gzip (RFC 1952, several members), zstd (RFC 8878, several frames), or as it is.

    `name` is for errors. Truncated or damaged input is an IntegrityError, xz, bzip2 and lz4 an UnsupportedError.
    """
    head = b""
    while len(head) < 6 and (more := blob.read(6 - len(head))):
        head += more
    joined = _Joined(head, blob)
    for magic, form in _REFUSED.items():
        if head.startswith(magic):
            raise UnsupportedError(name, f"compressed with {form}, which image layers may not be")
    if head.startswith(b"\x1f\x8b"):
        return _Pieces(_gunzip(joined, name))
    if head.startswith(b"\x28\xb5\x2f\xfd") or (len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18"):
        return _zstd(joined, name)
    return joined


class _Joined:
    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1, /) -> bytes:
        if self._head:
            head = self._head if size < 0 else self._head[:size]
            self._head = self._head[len(head) :]
            return head
        return self._rest.read(size)


class _Pieces:
    """A readable over an iterator of chunks."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._piece = pieces, memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        while not self._piece:
            following = next(self._pieces, None)
            if following is None:
                return b""
            if following and not 0 <= size < len(following):
                return following
            self._piece = memoryview(following)
        end = len(self._piece) if size < 0 else size
        data, self._piece = self._piece[:end], self._piece[end:]
        return bytes(data)


def _gunzip(blob: Readable, name: str) -> Iterator[bytes]:
    decompressor = _new_gunzip()
    pending = b""
    try:
        while data := pending or blob.read(_CHUNK):
            if decompressor.eof:
                if not data.strip(b"\0"):
                    pending = b""
                    continue
                decompressor = _new_gunzip()
            yield decompressor.decompress(data, _CHUNK * 4)
            pending = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
    except _gunzip_errors() as error:
        raise IntegrityError(name, f"damaged gzip data: {error}") from error
    if not decompressor.eof:
        raise IntegrityError(name, "gzip data ends too early")


def _new_gunzip() -> Any:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.decompressobj(31)
    return isal_zlib.decompressobj(31)


def _gunzip_errors() -> tuple[type[Exception], ...]:
    try:
        from isal import isal_zlib
    except ImportError:
        return (zlib.error,)
    isal_error: Any = isal_zlib.error
    return (zlib.error, isal_error)


def _zstd(blob: Readable, name: str) -> Readable:
    import zstandard

    decompressor: Any = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    reader = decompressor.stream_reader(blob, read_size=_CHUNK, read_across_frames=True)
    return _Zstd(reader, name, zstandard.ZstdError)


class _Zstd:
    def __init__(self, reader: Any, name: str, failure: type[Exception]) -> None:
        self._reader, self._name, self._failure = reader, name, failure

    def read(self, size: int = -1, /) -> bytes:
        try:
            data = self._reader.read(_CHUNK if size < 0 else size)
        except self._failure as error:
            raise IntegrityError(self._name, f"damaged zstd data: {error}") from error
        return bytes(data)
