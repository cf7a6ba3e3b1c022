"""Images for tests of fetchers, and the shelves they stand on: a registry on loopback, or an OCI layout."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from bootc.image import Digest, ImageReference
from bootc.manifest import OCI_INDEX, OCI_MANIFEST
from bootc.testing.registry import REPOSITORY, FakeRegistry

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_REF_NAME = "org.opencontainers.image.ref.name"


@frozen
class Sample:
    """An image: its documents to the byte, its layers' blobs, and the diffIDs of these."""

    manifest: bytes
    config: bytes
    blobs: tuple[bytes, ...]
    contents: tuple[Digest, ...]

    @property
    def digest(self) -> Digest:
        """The manifest's."""
        return sha256(self.manifest)

    def entry(self, architecture: str, **more: object) -> dict[str, object]:
        """How an index names it."""
        named = descriptor(OCI_MANIFEST, self.manifest)
        return {**named, "platform": {"os": "linux", "architecture": architecture}, **more}


def sha256(data: bytes) -> Digest:
    """Its SHA-256."""
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def descriptor(media_type: str, data: bytes) -> dict[str, object]:
    """How a document names these bytes."""
    return {"mediaType": media_type, "digest": str(sha256(data)), "size": len(data)}


def make_sample(seed: str, architecture: str = "amd64", layers: int = 2, size: int = 150_000) -> Sample:
    """An image whose every byte follows from `seed`: layers of `size` bytes that do not compress.

    Its documents are spelled as no tool would spell them, with keys that nobody knows.
    """
    numbers = random.Random(seed)  # noqa: S311
    tars = [_tar(f"file-{number}", numbers.randbytes(size)) for number in range(layers)]
    blobs = tuple(gzip.compress(tar, mtime=0) for tar in tars)
    contents = tuple(map(sha256, tars))
    rootfs = {"type": "layers", "diff_ids": [str(content) for content in contents]}
    config = _spelled({"seed": seed, "os": "linux", "rootfs": rootfs, "architecture": architecture, "config": {}})
    document = {
        "layers": [descriptor(_LAYER, blob) for blob in blobs],
        "schemaVersion": 2,
        "config": descriptor(_CONFIG, config),
        "mediaType": OCI_MANIFEST,
        "annotations": {"example.seed": seed},
        "example.unknown": [None, True],
    }
    return Sample(_spelled(document), config, blobs, contents)


def make_index(*entries: Mapping[str, object]) -> bytes:
    """An index of these descriptors."""
    return _spelled({"manifests": list(entries), "schemaVersion": 2, "mediaType": OCI_INDEX})


def make_attestation() -> Sample:
    """What builders put into an index beside images: a manifest that is none."""
    statement = b'{"predicateType": "example"}'
    config = b'{"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}}'
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(_CONFIG, config),
        "layers": [descriptor("application/vnd.in-toto+json", statement)],
    }
    return Sample(_spelled(document), config, (statement,), (sha256(statement),))


class Shelf(ABC):
    """Where images stand for a fetcher to find; everything on it can be replaced or removed."""

    transport: str

    def put(self, tag: str, sample: Sample) -> ImageReference:
        """An image under a name."""
        self.add(sample)
        return self.put_document(tag, OCI_MANIFEST, sample.manifest)

    def put_index(self, tag: str, entries: Sequence[tuple[Sample, Mapping[str, object]]]) -> ImageReference:
        """An index under a name: images, and how it names them."""
        for sample, _ in entries:
            self.add(sample)
        return self.put_document(tag, OCI_INDEX, make_index(*(entry for _, entry in entries)))

    def add(self, sample: Sample) -> None:
        """An image without a name."""
        self._keep_document(sha256(sample.manifest), OCI_MANIFEST, sample.manifest)
        for data in (sample.config, *sample.blobs):
            self.keep(sha256(data), data)

    @abstractmethod
    def put_document(self, tag: str, media_type: str, data: bytes) -> ImageReference:
        """Any bytes under a name."""

    @abstractmethod
    def keep(self, digest: Digest, data: bytes | None) -> None:
        """What is served as a blob of this digest, rightly or not; None: nothing."""

    @abstractmethod
    def alter_manifest(self, digest: Digest, data: bytes) -> None:
        """What is served as a manifest of this digest."""

    @abstractmethod
    def missing(self) -> ImageReference:
        """A reference to an image that is not there."""

    @abstractmethod
    def _keep_document(self, digest: Digest, media_type: str, data: bytes) -> None: ...


class RegistryShelf(Shelf):
    """A registry on loopback."""

    transport = "registry"

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry

    def put_document(self, tag: str, media_type: str, data: bytes) -> ImageReference:
        self.registry.add_document(tag, media_type, data)
        return self.reference(tag)

    def reference(self, tag: str) -> ImageReference:
        """A name in the repository that is served."""
        return ImageReference("registry", f"{self.registry.address}/{REPOSITORY}:{tag}")

    def keep(self, digest: Digest, data: bytes | None) -> None:
        if data is None:
            del self.registry.blobs[str(digest)]
        else:
            self.registry.blobs[str(digest)] = data

    def alter_manifest(self, digest: Digest, data: bytes) -> None:
        self.registry.documents[str(digest)] = (OCI_MANIFEST, data)

    def missing(self) -> ImageReference:
        return self.reference("missing")

    def _keep_document(self, digest: Digest, media_type: str, data: bytes) -> None:
        self.registry.documents[str(digest)] = (media_type, data)


class LayoutShelf(Shelf):
    """An OCI layout (OCI image specification, image-layout) in a directory."""

    transport = "oci"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, dict[str, Any]] = {}
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._write_index()

    def put_document(self, tag: str, media_type: str, data: bytes) -> ImageReference:
        self.keep(sha256(data), data)
        self._entries[tag] = {**descriptor(media_type, data), "annotations": {_REF_NAME: tag}}
        self._write_index()
        return ImageReference("oci", f"{self.folder}:{tag}")

    def keep(self, digest: Digest, data: bytes | None) -> None:
        path = self.folder / "blobs" / digest.algorithm / digest.hex
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)

    def alter_manifest(self, digest: Digest, data: bytes) -> None:
        self.keep(digest, data)

    def missing(self) -> ImageReference:
        return ImageReference("oci", f"{self.folder}:missing")

    def _keep_document(self, digest: Digest, media_type: str, data: bytes) -> None:
        self.keep(digest, data)

    def _write_index(self) -> None:
        document = {"schemaVersion": 2, "manifests": list(self._entries.values())}
        (self.folder / "index.json").write_text(json.dumps(document))


def _tar(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o644
        tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _spelled(document: Mapping[str, object]) -> bytes:
    """JSON that nobody would write again the same way."""
    return (json.dumps(document, indent=3, separators=(" ,", " :")) + "\n \n").encode()
