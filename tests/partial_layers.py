"""Layers in the form zstd:chunked, and stores that have some of their files, for tests of partial pulls."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import zstandard
from attrs import define, field, frozen

from bootc.errors import NetworkError
from bootc.fetcher import Ranges, Readable
from bootc.image import Descriptor, Image, ImportedImage, Layer
from bootc.storage import Finding, ImageStore, LayerStreams, Tree
from tests.blobs import BytesSource, digest_of, image_of
from tests.chunked import PREFIX, TAR_ZSTD, chunked_layer


@frozen
class Chunked:
    """A layer, its tar and its blob."""

    layer: Layer
    tar: bytes
    blob: bytes

    @classmethod
    def of(cls, tar: bytes, directory: Path, *, chunk: int = 4096) -> Chunked:
        """The blob of a tar, made in `directory`."""
        source, blob = directory / "layer.tar", directory / "layer.blob"
        source.write_bytes(tar)
        layer = chunked_layer(source, blob, chunk=chunk)
        return cls(layer, tar, blob.read_bytes())

    def with_table(self, change: Callable[[dict[str, Any]], None]) -> Chunked:
        """The same tar in a blob whose table of contents was changed, as by who made the image."""
        annotations = self.layer.descriptor.annotations
        offset, length = map(int, annotations[f"{PREFIX}manifest-position"].split(":")[:2])
        table = json.loads(zstandard.decompress(self.blob[offset : offset + length]))
        change(table)
        raw = json.dumps(table).encode()
        packed = zstandard.compress(raw)
        end = int(annotations[f"{PREFIX}tarsplit-position"].split(":")[0]) - 8
        blob = self.blob[:end] + struct.pack("<II", 0x184D2A50, len(packed)) + packed
        named = {
            f"{PREFIX}manifest-position": f"{end + 8}:{len(packed)}:{len(raw)}:1",
            f"{PREFIX}manifest-checksum": str(digest_of(packed)),
        }
        descriptor = Descriptor(TAR_ZSTD, digest_of(blob), len(blob), named)
        return Chunked(Layer(descriptor, self.layer.diff_id, descriptor), self.tar, blob)

    @property
    def source(self) -> RangesSource:
        """A registry that has an image of this layer only."""
        return RangesSource(image_of([self.layer]), {self.layer.blob.digest: self.blob})

    @property
    def files(self) -> dict[str, bytes]:
        """The contents of its regular files."""
        with tarfile.open(fileobj=io.BytesIO(self.tar)) as tar:
            return {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}  # type: ignore[union-attr]


def tar_of(files: Mapping[str, bytes], uname: str = "", mtime: int = 0) -> bytes:
    """A tar with each file's own directory before it, and a link behind it. A table of contents tells of an owner's
    number, not of his name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            parent = tarfile.TarInfo(str(PurePosixPath(name).parent))
            parent.type, parent.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(parent)
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uname, member.mtime = len(data), 0o644, uname, mtime
            member.pax_headers = {"SCHILY.xattr.user.name": name}
            tar.addfile(member, io.BytesIO(data))
            link = tarfile.TarInfo(f"{name}.link")
            link.type, link.linkname = tarfile.SYMTYPE, name
            tar.addfile(link)
    return buffer.getvalue()


@define(eq=False, slots=False)
class RangesSource(BytesSource, Ranges):
    """Remembers what was asked for."""

    ranges: list[tuple[int, int]] = field(factory=list)
    whole: int = 0
    refuse_after: int | None = None
    """ranges after which none is served any more"""

    @contextmanager
    def open_range(self, blob: Descriptor, start: int, size: int) -> Iterator[Readable]:
        if self.refuse_after is not None and len(self.ranges) >= self.refuse_after:
            raise NetworkError("test", "no ranges any more")
        self.ranges.append((start, size))
        yield io.BytesIO(self.blobs[blob.digest][start : start + size])

    @contextmanager
    def open_blob(self, blob: Descriptor, start: int = 0) -> Iterator[Readable]:
        self.whole += 1
        with super().open_blob(blob, start) as stream:
            yield stream

    @property
    def fetched(self) -> int:
        """Bytes of all ranges."""
        return sum(size for _, size in self.ranges)


@frozen
class FilesTree(Tree):
    """Files in memory."""

    files: Mapping[str, bytes]
    is_seekable: bool = True

    def open(self, path: PurePosixPath) -> BinaryIO:
        if str(path) not in self.files:
            raise FileNotFoundError(str(path))
        return (io.BytesIO if self.is_seekable else _Forward)(self.files[str(path)])

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        raise NotImplementedError

    def directory(self) -> AbstractContextManager[Path]:
        raise NotImplementedError


class _Forward(io.BytesIO):
    """A file that can only be read from its beginning to its end, a little at a time."""

    def seekable(self) -> bool:
        return False

    def seek(self, *position: int) -> int:
        raise io.UnsupportedOperation("seek")

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if size is None or size < 0 else min(size, 1000))


@define
class FilesStore(ImageStore):
    """A store of one image, of which only the files are there."""

    files: dict[str, bytes]
    is_seekable: bool = True

    @contextmanager
    def open_tree(self, image: ImportedImage) -> Iterator[Tree]:
        yield FilesTree(self.files, self.is_seekable)

    def find(self, image: Image) -> ImportedImage | None:
        raise NotImplementedError

    def missing(self, image: Image) -> tuple[Layer, ...]:
        raise NotImplementedError

    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        raise NotImplementedError

    def prune(self, keep: Collection[ImportedImage]) -> int:
        raise NotImplementedError

    def check(self) -> Iterator[Finding]:
        raise NotImplementedError


def imported(layers: Sequence[Layer]) -> ImportedImage:
    """The image of these layers, as a store names it."""
    image = image_of(layers)
    return ImportedImage(image.digest, image.manifest, image.config, key="1")
