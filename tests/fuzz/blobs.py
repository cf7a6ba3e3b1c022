"""Blobs of layers: compressed streams, tables of contents of zstd:chunked, and what is recorded of them."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import zstandard
from attrs import frozen

from bootc.decompress import decompressed
from bootc.errors import IntegrityError, UnsupportedError
from bootc.image import Layer
from bootc.partial.annotations import TableLocation, locate
from bootc.partial.entries import Unusable, entries
from bootc.partial.frames import Decompressor
from bootc.partial.known import Nothing
from bootc.partial.plan import plan
from bootc.partial.rebuild import note
from bootc.partial.recording import record_whole
from bootc.partial.rule import Rule
from bootc.partial.table import Content, pieces
from bootc.partial.tables import Table
from bootc.state.contents import ContentsWriter, LayerContents
from tests.chunked import chunked_layer
from tests.unit.layer_samples import OddStream

_MOST = 1 << 22
"""bytes that are read of a stream"""
_PIECE = 1 << 16
_LONGEST_MESSAGE = 300
_FILES = {"usr/a": b"a" * 700, "usr/b\xe4": bytes(range(256)) * 40, "usr/zeros": bytes(9300), "usr/empty": b""}


@frozen
class _Sample:
    """A layer of this form, and its parts."""

    layer: Layer
    blob: bytes

    @property
    def location(self) -> TableLocation:
        """Where its table of contents is."""
        found = locate(self.layer)
        assert found
        return found

    @property
    def table(self) -> bytes:
        """The table's JSON."""
        where = self.location
        return zstandard.decompress(self.blob[where.offset : where.end])

    @property
    def record(self) -> bytes:
        """What is kept of it after an import."""
        table = Table(self.location, lambda offset, size: self.blob[offset : offset + size])
        return b"".join(record_whole(table).encoded())


@cache
def sample() -> _Sample:
    """Small, with everything that the form knows."""
    with tempfile.TemporaryDirectory() as name:
        source, blob = Path(name, "tar"), Path(name, "blob")
        with tarfile.open(source, "w", format=tarfile.PAX_FORMAT) as tar:
            for path, data in _FILES.items():
                member = tarfile.TarInfo(path)
                member.size, member.pax_headers = len(data), {"SCHILY.xattr.user.a": "1"}
                tar.addfile(member, io.BytesIO(data))
            link = tarfile.TarInfo("usr/link")
            link.type, link.linkname = tarfile.SYMTYPE, "a"
            tar.addfile(link)
        return _Sample(chunked_layer(source, blob, chunk=4096), blob.read_bytes())


def check_table(data: bytes) -> None:
    """What is accepted is the whole tar, piece by piece, and the same however it arrives."""
    location = sample().location
    try:
        found = list(pieces(entries(OddStream(data)), location))
    except Unusable as error:
        _require_plain(str(error))
        return
    assert found == list(pieces(entries(io.BytesIO(data)), location))
    assert [piece.start for piece in found] == [0, *(piece.end for piece in found[:-1])]
    assert found[-1].end == location.content_end
    assert all(piece.start < piece.end for piece in found)
    writer = ContentsWriter()
    for content in (piece for piece in found if isinstance(piece, Content)):
        assert 0 <= content.offset < content.offset + content.size <= content.file_size
        assert len(content.digest) == len(content.file_digest) == 32
        note(writer, content)
    assert b"".join(writer.encoded())
    assert plan(found, Nothing(), Rule()).size <= location.content_end


def _require_plain(message: str) -> None:
    assert message.isprintable()
    assert len(message) < _LONGEST_MESSAGE


def check_record(data: bytes) -> None:
    """Whatever lies in its place, it is a record or none, and leads to no other file than one of the image."""
    descriptor = os.memfd_create("record")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    try:
        record = LayerContents(descriptor)
    except ValueError:
        os.close(descriptor)
        return
    for start in range(0, min(len(data), 4096), 4):
        key = data[start : start + 32]
        for size in (700, 4096, 1 << 40):
            place = record.place(key, size)
            assert place is None or (place.path and place.offset >= 0)
        frame = record.gap(key[:16])
        assert frame is None or len(frame) <= len(data)
    record.close()


def check_stream(data: bytes) -> None:
    """Frames and members, whole or damaged: an error, or the same bytes in whatever pieces they arrive."""
    for read in (_decompressed, _frames):
        assert read(data, is_odd=False) == read(data, is_odd=True)


def _decompressed(data: bytes, *, is_odd: bool) -> bytes | None:
    try:
        stream = decompressed(OddStream(data) if is_odd else io.BytesIO(data), "f")
        return _drained(stream.read)
    except (IntegrityError, UnsupportedError):
        return None


def _frames(data: bytes, *, is_odd: bool) -> bytes | None:
    try:
        return _drained(Decompressor().open(OddStream(data) if is_odd else io.BytesIO(data), _MOST).read)
    except Unusable:
        return None


def _drained(read: Callable[[int], bytes]) -> bytes:
    found = b""
    while len(found) < _MOST and (data := read(_PIECE)):
        found += data
    return found[:_MOST]


def streams() -> tuple[bytes, ...]:
    """One of each kind, and some with several parts."""
    data = b"some data, and some more; " * 40
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(data)
    skippable = b"\x50\x2a\x4d\x18\4\0\0\0abcd"
    member = gzip.compress(data, mtime=0)
    return (frame, frame + skippable + frame, member, member + member + bytes(20), data, sample().blob)
