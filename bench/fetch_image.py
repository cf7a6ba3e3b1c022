"""Images for benchmarks of fetching: this machine's own files in layers, and a version in which one package changed."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from bootc.image import Descriptor, Digest, Image, Layer
from tests.blobs import TAR_GZIP, image_of, layer_of
from tests.chunked import chunked_layer
from tests.integration.sysroots import Layout
from tests.ostree_images import base_layer

SHARES = (0.5, 0.2, 0.12, 0.1, 0.05, 0.03)
"""of the content in each layer"""
CHANGED = 0.01
"""of the content"""
_SOURCE = Path("/usr")
_STEP = 16 << 10
"""bytes: in each such piece of a file that changed, some are others"""
_GZIP_LEVEL = 6
_TIMES = (1_700_000_000, 1_760_000_000)


@frozen
class Contents:
    """Which files lie in which layer, and which of them are the package."""

    layers: tuple[tuple[Path, ...], ...]
    package: frozenset[Path]
    size: int
    """bytes, uncompressed"""


def choose(size: int) -> Contents:
    """Whole directories of /usr, picked as if by chance, but the same each time."""
    folders = _folders()
    layers = [tuple(_take(folders, int(share * size))) for share in SHARES]
    total = sum(map(_size, layers))
    package, room = list[Path](), int(CHANGED * total)
    for path in layers[0]:
        if path.stat().st_size <= room:
            package.append(path)
            room -= path.stat().st_size
    return Contents(tuple(layers), frozenset(package), total)


def _take(folders: Iterator[list[Path]], size: int) -> Iterator[Path]:
    while size > 0:
        paths = next(folders)
        size -= _size(paths)
        yield from paths


def _folders() -> Iterator[list[Path]]:
    found = [Path(folder) for folder, _, _ in os.walk(_SOURCE)]
    for folder in sorted(found, key=lambda path: hashlib.sha256(os.fsencode(path)).digest()):
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]
        if files:
            yield files


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def add_images(layout: Layout, contents: Contents) -> dict[str, Image]:
    """`gzip` is the first version as most images are; `v1` and `v2` are in the form zstd:chunked."""
    layers: dict[str, list[Layer]] = {"gzip": [], "v1": [], "v2": []}
    tar = layout.folder / "tar"
    for paths in contents.layers:
        _write_tar(tar, paths, frozenset())
        layers["gzip"].append(_gzip_layer(layout, tar))
        layers["v1"].append(_chunked_layer(layout, tar))
        is_changed = not contents.package.isdisjoint(paths)
        if is_changed:
            _write_tar(tar, paths, contents.package)
        layers["v2"].append(_chunked_layer(layout, tar) if is_changed else layers["v1"][-1])
    tar.unlink()
    base, blob = layer_of(base_layer().data)
    layout.blob(base.descriptor.digest).write_bytes(blob)
    return {
        tag: layout.add_documents(tag, image_of([base, *found], f"{layout.folder}:{tag}"))
        for tag, found in layers.items()
    }


def _write_tar(target: Path, paths: Sequence[Path], changed: frozenset[Path]) -> None:
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in paths:
            member = tarfile.TarInfo(str(path.relative_to("/")))
            member.size, member.mode = path.stat().st_size, path.stat().st_mode & 0o7777
            member.mtime = _TIMES[path in changed]
            with path.open("rb") as file:
                tar.addfile(member, _Changed(path) if path in changed else file)


class _Changed:
    """A file as a new version has it: a little is different everywhere."""

    def __init__(self, path: Path) -> None:
        self._file, self._chance = path.open("rb"), random.Random(str(path))

    def read(self, size: int = -1) -> bytes:
        data = bytearray(self._file.read(size))
        for start in range(0, len(data), _STEP):
            data[start : start + 8] = self._chance.randbytes(min(8, len(data) - start))
        return bytes(data)


def _gzip_layer(layout: Layout, tar: Path) -> Layer:
    unnamed = layout.folder / "unnamed"
    with tar.open("rb") as source, gzip.GzipFile(unnamed, "wb", _GZIP_LEVEL, mtime=0) as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    with tar.open("rb") as file:
        diff_id = Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())
    with unnamed.open("rb") as file:
        digest = Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())
    descriptor = Descriptor(TAR_GZIP, digest, unnamed.stat().st_size)
    unnamed.rename(layout.blob(digest))
    return Layer(descriptor, diff_id, descriptor)


def _chunked_layer(layout: Layout, tar: Path) -> Layer:
    unnamed = layout.folder / "unnamed"
    layer = chunked_layer(tar, unnamed)
    unnamed.rename(layout.blob(layer.descriptor.digest))
    return layer
