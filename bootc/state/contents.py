"""`contents/`: for each layer in the form zstd:chunked that is in the store, where its contents lie in an image's tree.

One file for each layer, named by its diffID, written whole and never changed. Nothing in it is trusted: what is found
by it is compared with its digest before use, and a file that is damaged in any way is as good as none.

All numbers are big-endian. The file begins with a magic, and the sizes in bytes of the five tables that follow:

* contents, sorted: SHA-256 of a file or of a part of one, its size, its offset in the file, the number of the file;
* gaps, sorted: the key of what stands between two contents in the layer's tar, and where its frame is;
* the ends of the paths in the next table, by the number of the file;
* paths, in UTF-8, relative to the image's root;
* the frames of the gaps, as they are in the layer's blob.
"""

from __future__ import annotations

import os
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import define, field, frozen

from bootc.durable import DirectoryVolume
from bootc.image import Digest

DIRECTORY = "contents"
TABLES_LIMIT = 128 << 20
"""bytes of the sorted tables of one layer"""

_MAGIC = b"bootc contents 1\n"
_HEAD = struct.Struct(">17s5Q")
_CONTENT = struct.Struct(">32sQQL")
_GAP = struct.Struct(">16sQL")
_END = struct.Struct(">L")
_FILE_LIMIT = 2 << 30
_RECORDS, _BYTES = 300_000, 24 << 20
"""records of each kind, and bytes of paths and of frames, that are kept of a layer"""
_BATCH, _PIECE = 10_000, 1 << 20
"""records, and bytes, that are written at once"""


@frozen
class Place:
    """Where a content should be: a file of the image, and the offset in it."""

    path: str
    offset: int


class LayerContents:
    """What is known of one layer. Open until `close`; for several threads."""

    def __init__(self, descriptor: int) -> None:
        """Owns the descriptor, unless it raises ValueError: the file is not of this form."""
        self._descriptor = descriptor
        magic, *sizes = _HEAD.unpack(os.pread(descriptor, _HEAD.size, 0).ljust(_HEAD.size, b"\0"))
        whole = os.fstat(descriptor).st_size
        if magic != _MAGIC or _HEAD.size + sum(sizes) != whole or whole > _FILE_LIMIT or sum(sizes[:2]) > TABLES_LIMIT:
            raise ValueError("not an index of contents")
        starts = [_HEAD.size]
        for size in sizes:
            starts.append(starts[-1] + size)
        self._contents = _Sorted(_CONTENT, os.pread(descriptor, sizes[0], starts[0]))
        self._gaps = _Sorted(_GAP, os.pread(descriptor, sizes[1], starts[1]))
        self._ends, self._paths, self._frames, self._end = starts[2:]

    @property
    def tables_size(self) -> int:
        """Bytes that are held in memory."""
        return self._contents.size + self._gaps.size

    def place(self, digest: bytes, size: int) -> Place | None:
        """Where this content was when the layer was imported."""
        found = self._contents.find(digest)
        path = self._path(found[3]) if found and found[1] == size else None
        return Place(path, found[2]) if found and path else None

    def has_content(self, digest: bytes, size: int) -> bool:
        """Whether the layer had this content."""
        found = self._contents.find(digest)
        return found is not None and found[1] == size

    def has_gap(self, key: bytes) -> bool:
        """Whether the layer has a gap with this key."""
        return self._gaps.find(key) is not None

    def gap(self, key: bytes) -> bytes | None:
        """The gap's frame, compressed."""
        found = self._gaps.find(key)
        if found is None:
            return None
        start, size = self._frames + found[1], found[2]
        data = self._read(start, size) if start + size <= self._end else b""
        return data if len(data) == size else None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _path(self, number: int) -> str | None:
        first, width = max(number - 1, 0), 2 if number else 1
        at = self._ends + first * _END.size
        ends = self._read(at, width * _END.size)
        if at + width * _END.size > self._paths or len(ends) < width * _END.size:
            return None
        start, end = (0 if width == 1 else _END.unpack_from(ends)[0]), _END.unpack_from(ends, len(ends) - _END.size)[0]
        if not start < end <= self._frames - self._paths:
            return None
        try:
            return self._read(self._paths + start, end - start).decode() or None
        except UnicodeDecodeError:
            return None

    def _read(self, start: int, size: int) -> bytes:
        """What the file has there; nothing where the disk does not give it."""
        try:
            return os.pread(self._descriptor, size, start)
        except OSError:
            return b""


class _Sorted:
    """Records in the order of the keys that they begin with."""

    def __init__(self, record: struct.Struct, table: bytes) -> None:
        self._record, self._table = record, table
        width, first = record.size, struct.Struct(f">Q{record.size - 8}x")
        self._firsts = array("Q", (number for (number,) in first.iter_unpack(table[: len(table) // width * width])))
        self.size = len(table) + 8 * len(self._firsts)

    def find(self, key: bytes) -> tuple[Any, ...] | None:
        """The first record with this key."""
        first = int.from_bytes(key[:8], "big")
        low = bisect_left(self._firsts, first)
        high = bisect_right(self._firsts, first, low)
        low += bisect_left(range(low, high), key, key=lambda number: self._at(number)[0])
        found = self._at(low) if low < high else None
        return found if found and found[0] == key else None

    def _at(self, number: int) -> tuple[Any, ...]:
        return self._record.unpack_from(self._table, number * self._record.size)


@define
class ContentsWriter:
    """Collects what is known of one layer, as far as it fits into a bounded memory: the rest will be fetched."""

    _contents: list[bytes] = field(factory=list, init=False)
    _gaps: list[bytes] = field(factory=list, init=False)
    _ends: bytearray = field(factory=bytearray, init=False)
    _paths: bytearray = field(factory=bytearray, init=False)
    _frames: bytearray = field(factory=bytearray, init=False)
    _last: str = field(default="", init=False)

    def add_content(self, path: str, offset: int, size: int, digest: bytes) -> None:
        """A file of the layer, or a part of it. Parts of one file come one after the other."""
        if len(self._contents) >= _RECORDS or len(self._paths) + len(path) > _BYTES:
            return
        if path != self._last:
            self._last = path
            self._paths += path.encode()
            self._ends += _END.pack(len(self._paths))
        number = len(self._ends) // _END.size - 1
        self._contents.append(_CONTENT.pack(digest, size, offset, number))

    def add_gap(self, key: bytes, frame: bytes) -> None:
        """What stands between two contents, compressed as in the blob."""
        if len(self._gaps) >= _RECORDS or len(self._frames) + len(frame) > _BYTES:
            return
        self._gaps.append(_GAP.pack(key, len(self._frames), len(frame)))
        self._frames += frame

    def encoded(self) -> Iterator[bytes]:
        """The file, in pieces."""
        self._contents.sort()
        self._gaps.sort()
        contents, gaps = len(self._contents) * _CONTENT.size, len(self._gaps) * _GAP.size
        rest = (self._ends, self._paths, self._frames)
        yield _HEAD.pack(_MAGIC, contents, gaps, *map(len, rest))
        for records in (self._contents, self._gaps):
            for start in range(0, len(records), _BATCH):
                yield b"".join(records[start : start + _BATCH])
        for table in rest:
            for start in range(0, len(table), _PIECE):
                yield bytes(table[start : start + _PIECE])


@frozen
class Contents:
    """The directory of these files on one sysroot."""

    volume: DirectoryVolume
    directory: PurePosixPath
    check_writable: Callable[[], None]

    def open(self, diff_id: Digest) -> LayerContents | None:
        """What is known of a layer; None if nothing is, or the file is damaged."""
        try:
            descriptor = os.open(self._path(diff_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return LayerContents(descriptor)
        except (ValueError, OSError):
            os.close(descriptor)
            return None

    def write(self, diff_id: Digest, writer: ContentsWriter) -> None:
        """Keep what is known of a layer, in place of what was known before."""
        self.check_writable()
        self.volume.make_directories(self.directory)
        self.volume.sweep(self.directory)
        self.volume.replace(self.directory / _name(diff_id), writer.encoded())

    def retain(self, diff_ids: Collection[Digest]) -> None:
        """Forget all layers but these."""
        keep = {_name(diff_id) for diff_id in diff_ids}
        for name in self.volume.names(self.directory):
            if name not in keep:
                self.volume.remove(self.directory / name)

    def _path(self, diff_id: Digest) -> Path:
        return self.volume.path(self.directory / _name(diff_id))


def _name(diff_id: Digest) -> str:
    return f"{diff_id.algorithm}-{diff_id.hex}"
