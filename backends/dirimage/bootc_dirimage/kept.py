"""Layers that are kept: tar archives as they were verified, compressed with zstd, named by diffID.

They are what an interrupted import goes on from, and what makes an update fetch only the layers that are new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any

from bootc.decompress import decompressed
from bootc.durable import DirectoryVolume
from bootc.errors import IntegrityError, LayerError, StoreError
from bootc.fetcher import Readable
from bootc.image import Digest, Layer
from bootc.roots import build_at
from bootc.storage import LayerStreams
from bootc_dirimage.layout import LAYERS

_SUFFIX = ".tar.zst"
_CHUNK = 1 << 20
_LEVEL = 1


class KeptLayers:
    """The layers of one sysroot."""

    def __init__(self, volume: DirectoryVolume) -> None:
        self._volume = volume

    def has(self, layer: Layer) -> bool:
        """Whether it is there; what it holds is verified whenever it is read."""
        return bool(self._volume.size(_path(layer.diff_id)))

    def fetch(self, layer: Layer, streams: LayerStreams) -> None:
        """Bring a layer in: it gets its name when all of it proved right."""
        path = _path(layer.diff_id)
        partial = build_at(path)
        self._volume.make_directories(LAYERS)
        with streams.open(layer) as stream:
            self._volume.replace(partial, _compressed(stream))
        self._volume.rename(partial, path)

    @contextmanager
    def open(self, layer: Layer) -> Iterator[Readable]:
        """The tar archive. Its digest is checked when the `with` block ends: a damaged one is removed, StoreError."""
        path = _path(layer.diff_id)
        with self._volume.open(path) as file:
            content, failure = _Measured(decompressed(file, str(path)), layer.diff_id.algorithm), None
            try:
                yield content
            except (IntegrityError, LayerError) as error:
                failure = error
            is_whole = content.drained() == layer.diff_id.hex
        if not is_whole:
            self._volume.remove(path)
            hint = "run the command again: it is fetched anew"
            raise StoreError(str(path), "is damaged, and was removed", hint) from failure
        if failure:
            raise failure

    def prune(self, keep: Collection[Digest]) -> None:
        """Remove all layers but these."""
        wanted = {_path(digest).name for digest in keep}
        for name in self._volume.names(LAYERS):
            if name not in wanted:
                self._volume.remove(LAYERS / name)


def _path(diff_id: Digest) -> PurePosixPath:
    return LAYERS / f"{diff_id.hex}{_SUFFIX}"


def _compressed(stream: Readable) -> Iterator[bytes]:
    import zstandard

    compressor: Any = zstandard.ZstdCompressor(level=_LEVEL, threads=-1).compressobj()
    while piece := stream.read(_CHUNK):
        if data := compressor.compress(piece):
            yield data
    yield compressor.flush()


class _Measured:
    """A stream whose digest is taken while it is read."""

    def __init__(self, stream: Readable, algorithm: str) -> None:
        self._stream, self._hash = stream, hashlib.new(algorithm)

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    def drained(self) -> str:
        """The digest of all of it, in hex; of what can be read of a damaged one."""
        with suppress(IntegrityError):
            while self.read(_CHUNK):
                pass
        return self._hash.hexdigest()
