"""What a layer holds, without the contents: kept beside the tree that it was laid into.

With it, and with the files of that tree, the layer can be laid again without being fetched again. The form is the layer
itself as tar, in which each file has, in the place of its content, the SHA-256 of it (32 bytes) and its size (8 bytes,
big-endian); compressed with zstd, after the SHA-256 of the compressed bytes. Whoever lays it again compares every file
with its digest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from attrs import evolve

from bootc.decompress import decompressed
from bootc.durable import DirectoryVolume, explain
from bootc.errors import IntegrityError
from bootc.image import Digest
from bootc.layers import END_OF_ARCHIVE, Entry, padding, read_layer, write_entry
from bootc.roots.trees import NOTHING
from bootc_dirimage.layout import LAYERS

_DIGEST, _SIZE = 32, 8
_STUB = _DIGEST + _SIZE


class IndexWriter:
    """Takes the entries of one layer, in their order."""

    def __init__(self) -> None:
        import zstandard

        self._compressor: Any = zstandard.ZstdCompressor(level=1).compressobj()
        self._pieces: list[bytes] = []

    def add(self, entry: Entry, digest: bytes) -> None:
        """An entry; of a file, the SHA-256 of its content."""
        if entry.is_implied:
            return
        if entry.size:
            stub = digest + entry.size.to_bytes(_SIZE, "big")
            self._take(write_entry(evolve(entry, size=_STUB)) + stub + padding(_STUB))
        else:
            self._take(write_entry(entry))

    def write(self, volume: DirectoryVolume, slot: PurePosixPath, diff_id: Digest) -> None:
        """Put the index of the layer into a slot that is being built. It proves by itself that it is whole, so it
        reaches the disk when all of the slot does."""
        self._take(END_OF_ARCHIVE)
        data = b"".join((*self._pieces, self._compressor.flush()))
        _write(volume, _path(slot, diff_id), hashlib.sha256(data).digest() + data)

    def _take(self, data: bytes) -> None:
        if piece := self._compressor.compress(data):
            self._pieces.append(piece)


def read_index(volume: DirectoryVolume, slot: PurePosixPath, diff_id: Digest) -> Iterator[tuple[Entry, bytes]]:
    """The entries of a layer, each with the SHA-256 of its content. Raises IntegrityError, LayerError."""
    path = _path(slot, diff_id)
    data = volume.read(path)
    if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
        raise IntegrityError(str(path), "damaged")
    for entry, content in read_layer(decompressed(BytesIO(data[_DIGEST:]), str(path))):
        stub = content.read()
        if stub:
            yield evolve(entry, size=int.from_bytes(stub[_DIGEST:], "big")), stub[:_DIGEST]
        else:
            yield entry, NOTHING


def copy_index(volume: DirectoryVolume, old: PurePosixPath, slot: PurePosixPath, diff_id: Digest) -> None:
    """Put the index of a layer, as another slot has it, into one that is being built."""
    _write(volume, _path(slot, diff_id), volume.read(_path(old, diff_id)))


def _path(slot: PurePosixPath, diff_id: Digest) -> PurePosixPath:
    return slot / LAYERS / diff_id.hex


def _write(volume: DirectoryVolume, path: PurePosixPath, data: bytes) -> None:
    """It needs no sync of its own: what is not whole says so itself."""
    where = volume.path(path)
    if where.exists():  # an image may have the same layer twice
        return
    try:
        volume.announce("create", path, data=b"600")
        descriptor = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            volume.announce("write", path, data=data)
            file.write(data)
    except OSError as error:
        raise explain(error, str(where)) from error
