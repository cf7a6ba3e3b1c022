"""From a table of contents (zstd:chunked, version 1) to the pieces of the layer's tar, in the order of the archive.

A blob of this form has frames of its own for the contents of files, cut into chunks; between them lie frames with the
headers and the padding of the archive, here called gaps. Joined, the contents of all frames are the tar. The table
gives place and digest of each content, and of the headers only what is in them, so a gap is recognised by its `key`: by
the metadata of the entries whose headers it holds, and by how much padding comes before. That two gaps with one key are
equal is likely, not certain; the digest of the whole tar decides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from attrs import frozen

from bootc.layers import Limits
from bootc.partial.annotations import TableLocation
from bootc.partial.entries import Unusable

KEY_SIZE = 16
ENTRIES_LIMIT = 1_000_000
_BLOCK = 512
_PLACES = frozenset({"digest", "offset", "endOffset", "chunkSize", "chunkOffset", "chunkDigest", "chunkType"})
"""what an entry says of contents, and not of the header"""
_LIMITS = Limits()
_SHA256 = "sha256:"


@frozen
class Gap:
    """Headers and padding; `start` and `end` are offsets in the blob. The last one of an archive has no key."""

    start: int
    end: int
    key: bytes | None


@frozen
class Content:
    """A file's content, or a chunk of it. `size` is that of the content, decompressed."""

    start: int
    end: int
    size: int
    digest: bytes
    """SHA-256 of the content"""
    is_zeros: bool
    path: str
    offset: int
    """in the file"""
    file_size: int
    file_digest: bytes


Piece: TypeAlias = Gap | Content


def pieces(entries: Iterable[dict[str, Any]], location: TableLocation) -> Iterator[Piece]:
    """All that the tar consists of. Raises Unusable for a table that contradicts itself or the blob's size.

    Names are not looked at, beyond type and length: a wrong one leads to no other tar.
    """
    reader = _Reader(location)
    for entry in entries:
        yield from reader.take(entry)
    yield from reader.end()


class _Reader:
    def __init__(self, location: TableLocation) -> None:
        self._location = location
        self._headers = hashlib.sha256(b"0\n")
        self._position = self._count = self._total = self._file_end = 0
        self._pending: Content | None = None
        """its end is where the next chunk begins, or the end of the file's frames"""

    def take(self, entry: dict[str, Any]) -> Iterator[Piece]:
        self._count += 1
        if self._count > ENTRIES_LIMIT:
            raise Unusable("its table of contents has too many entries")
        if entry.get("type") == "chunk":
            chunk = self._next_chunk(entry)
            yield self._finished(chunk.start)
            self._pending = chunk
            return
        if self._pending:
            yield self._last_chunk()
        known = {key: value for key, value in entry.items() if key not in _PLACES}
        self._headers.update(json.dumps(known, sort_keys=True).encode() + b"\n")
        if entry.get("type") == "reg" and _number(entry, "size"):
            content = self._first_chunk(entry)
            yield self._gap(content.start)
            self._pending = content

    def end(self) -> Iterator[Piece]:
        if self._pending:
            yield self._last_chunk()
        if self._position >= self._location.content_end:
            raise _contradiction()
        yield Gap(self._position, self._location.content_end, None)

    def _gap(self, end: int) -> Gap:
        if not self._position < end < self._location.content_end:
            raise _contradiction()
        start, self._position = self._position, end
        return Gap(start, end, self._headers.digest()[:KEY_SIZE])

    def _first_chunk(self, entry: dict[str, Any]) -> Content:
        size, path, whole = _number(entry, "size"), entry.get("name"), _digest(entry, "digest")
        chunk_size = _number(entry, "chunkSize") or size
        digest = _digest(entry, "chunkDigest") if entry.get("chunkDigest") else whole
        self._total += size
        if size > _LIMITS.file or self._total > _LIMITS.total or chunk_size > size or _number(entry, "chunkOffset"):
            raise _contradiction()
        if not isinstance(path, str) or len(path) > _LIMITS.path:
            raise _contradiction()
        self._file_end = _number(entry, "endOffset")
        return Content(_number(entry, "offset"), 0, chunk_size, digest, _is_zeros(entry), path, 0, size, whole)

    def _next_chunk(self, entry: dict[str, Any]) -> Content:
        before = self._pending
        if before is None or entry.get("name") != before.path:
            raise _contradiction()
        offset = before.offset + before.size
        size = _number(entry, "chunkSize") or before.file_size - offset
        if _number(entry, "chunkOffset") != offset or not 0 < size <= before.file_size - offset:
            raise _contradiction()
        start, digest, is_zeros = _number(entry, "offset"), _digest(entry, "chunkDigest"), _is_zeros(entry)
        return Content(start, 0, size, digest, is_zeros, before.path, offset, before.file_size, before.file_digest)

    def _last_chunk(self) -> Content:
        last = self._finished(self._file_end)
        if last.offset + last.size != last.file_size:
            raise _contradiction()
        self._pending = None
        self._headers = hashlib.sha256(b"%d\n" % (last.file_size % _BLOCK))
        return last

    def _finished(self, end: int) -> Content:
        content = self._pending
        if content is None or content.start != self._position or not self._position < end < self._location.content_end:
            raise _contradiction()
        self._position = end
        c = content
        return Content(c.start, end, c.size, c.digest, c.is_zeros, c.path, c.offset, c.file_size, c.file_digest)


def _contradiction() -> Unusable:
    return Unusable("its table of contents contradicts itself")


def _number(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key, 0)
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise Unusable(f"its table of contents has a {key} that is no offset or size")
    return value


def _digest(entry: dict[str, Any], key: str) -> bytes:
    value = entry.get(key)
    try:
        digest = bytes.fromhex(value[len(_SHA256) :]) if isinstance(value, str) else b""
    except ValueError:
        digest = b""
    if len(digest) != 32 or not str(value).startswith(_SHA256):
        raise Unusable(f"its table of contents has a {key} that is none of SHA-256")
    return digest


def _is_zeros(entry: dict[str, Any]) -> bool:
    kind = entry.get("chunkType", "")
    if kind not in ("", "zeros"):
        raise Unusable("its table of contents has a chunk of an unknown kind")
    return bool(kind)
