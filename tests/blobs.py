"""Layers, blobs and sources made in memory, for tests that need an image without a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from attrs import define, field

from bootc import platform
from bootc.fetcher import Readable, Source
from bootc.image import Descriptor, Digest, Image, ImageReference, Layer

TAR_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> Digest:
    """Its SHA-256."""
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def layer_of(content: bytes, compress: Callable[[bytes], bytes] = gzip.compress) -> tuple[Layer, bytes]:
    """A layer with this tar content, and its blob."""
    blob = compress(content)
    descriptor = Descriptor(TAR_GZIP, digest_of(blob), len(blob))
    return Layer(descriptor, digest_of(content), descriptor), blob


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar stream with these regular files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def image_of(
    layers: Sequence[Layer], name: str = "host.example/os:latest", labels: dict[str, str] | None = None
) -> Image:
    """An image of these layers, bootable unless `labels` say otherwise."""
    config = json.dumps(
        {
            "architecture": platform.current().architecture,
            "os": "linux",
            "config": {"Labels": {"containers.bootc": "1"} if labels is None else labels},
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": str(digest_of(config)),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": layer.descriptor.media_type,
                    "digest": str(layer.descriptor.digest),
                    "size": layer.descriptor.size,
                    **({"annotations": dict(layer.descriptor.annotations)} if layer.descriptor.annotations else {}),
                }
                for layer in layers
            ],
        }
    ).encode()
    return Image(
        digest_of(manifest),
        manifest,
        config,
        reference=ImageReference("registry", name),
        top_digest=digest_of(manifest),
        layers=tuple(layers),
        verdict="accepted by the test",
    )


@define
class BytesSource(Source):
    """Serves blobs from memory; `served` lists what was asked for: digest and offset."""

    image: Image
    blobs: dict[Digest, bytes]
    is_local: bool = False
    served: list[tuple[Digest, int]] = field(factory=list)
    chunk: int = 7000

    @contextmanager
    def open_blob(self, blob: Descriptor, start: int = 0) -> Iterator[Readable]:
        self.served.append((blob.digest, start))
        yield _Dripping(self.blobs[blob.digest][start:], self.chunk)


class _Dripping:
    """Gives at most `chunk` bytes a read, as a network does."""

    def __init__(self, data: bytes, chunk: int) -> None:
        self._stream, self._chunk = io.BytesIO(data), chunk

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(self._chunk if size < 0 else min(size, self._chunk))
