"""Images on this machine: OCI layouts (specification: image layout), archives of them, and skopeo's `dir:`."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from attrs import frozen
from bootc_containers.signatures import MOST_SIGNATURES, SIGNATURE_LIMIT, Signature, parse_stored
from bootc_containers.verification import Decision

from bootc.errors import IntegrityError, NotFoundError, ProtocolError, UnsupportedError
from bootc.fetcher import Ranges, Readable, Source
from bootc.image import Descriptor, Digest, Image, ImageReference
from bootc.manifest import MANIFEST_LIMIT, Index, IndexEntry, choose, parse, strict_json
from bootc.platform import Platform
from bootc_registry.assemble import Document, assemble, load_verified
from bootc_registry.files import Archive, Directory, Files

_REF_NAME = "org.opencontainers.image.ref.name"


class Layout(ABC):
    """One way to keep an image in files."""

    def __init__(self, files: Files, source: str) -> None:
        self.files, self.source = files, source

    @abstractmethod
    def top(self, platform: Platform) -> Document:
        """The document that the reference names."""

    @abstractmethod
    def peek(self) -> Digest | None:
        """The digest of that document; None if it depends on the platform."""

    @abstractmethod
    def blob_name(self, digest: Digest) -> str:
        """The name of the file that holds a blob."""

    def manifest_name(self, digest: Digest) -> str:
        """The name of the file that holds a manifest other than the first."""
        return self.blob_name(digest)

    def load_manifest(self, descriptor: Descriptor) -> bytes:
        """Not verified yet."""
        return self.files.read(self.manifest_name(descriptor.digest), MANIFEST_LIMIT, self.source)

    def load_blob(self, descriptor: Descriptor) -> bytes:
        """Not verified yet."""
        return self.files.read(self.blob_name(descriptor.digest), MANIFEST_LIMIT, self.source)

    def signatures(self, digest: Digest) -> Iterable[Signature]:
        """Those of the manifest with this digest, unverified. OCI layouts have none."""
        return ()


class OciLayout(Layout):
    """`index.json` and `blobs/`.

    `selector` is the name of an entry, `@N` for the entry at N (from 0), or empty if there is only one.
    """

    def __init__(self, files: Files, source: str, selector: str) -> None:
        super().__init__(files, source)
        self._selector = selector

    def top(self, platform: Platform) -> Document:
        found = choose(Index(self._entries()), platform, self.source) if self.peek() is None else self._only()
        return Document(load_verified(found, self.load_manifest, self.source), found.media_type, found.digest)

    def peek(self) -> Digest | None:
        return self._only().digest if len(self._entries()) == 1 else None

    def blob_name(self, digest: Digest) -> str:
        return f"blobs/{digest.algorithm}/{digest.hex}"

    def _only(self) -> Descriptor:
        return self._entries()[0].descriptor

    def _entries(self) -> tuple[IndexEntry, ...]:
        """The entries that the selector names: several only for a name that stands for several platforms."""
        entries = self._index().entries
        if self._selector.startswith("@"):
            number = self._selector[1:]
            if not number.isdecimal() or int(number) >= len(entries):
                raise NotFoundError(self.source, f"the layout has {len(entries)} images, numbered from @0")
            return (entries[int(number)],)
        if self._selector:
            found = tuple(e for e in entries if e.descriptor.annotations.get(_REF_NAME) == self._selector)
        else:
            found = entries
        if not found or (len(found) > 1 and not self._selector):
            names = sorted(filter(None, (e.descriptor.annotations.get(_REF_NAME) for e in entries)))
            problem = "no image of this name" if self._selector else f"the layout has {len(entries)} images, not one"
            raise NotFoundError(self.source, problem, f"names in it: {', '.join(names) or 'none'}"[:500])
        return found

    def _index(self) -> Index:
        marker = strict_json(self.files.read("oci-layout", MANIFEST_LIMIT, self.source), self.source)
        version = str(marker.get("imageLayoutVersion"))
        if not version.startswith("1."):
            raise UnsupportedError(self.source, f"layout version {version[:50]!r} is not supported")
        index = parse(self.files.read("index.json", MANIFEST_LIMIT, self.source), None, self.source)
        if not isinstance(index, Index):
            raise ProtocolError(self.source, "index.json is not an index")
        return index


class SkopeoDirectory(Layout):
    """The transport `dir:`: `manifest.json`, and blobs named by their digest's digits."""

    def top(self, platform: Platform) -> Document:
        data = self.files.read("manifest.json", MANIFEST_LIMIT, self.source)
        return Document(data, None, Digest("sha256", hashlib.sha256(data).hexdigest()))

    def peek(self) -> Digest | None:
        data = self.files.read("manifest.json", MANIFEST_LIMIT, self.source)
        return Digest("sha256", hashlib.sha256(data).hexdigest())

    def blob_name(self, digest: Digest) -> str:
        return digest.hex if digest.algorithm == "sha256" else f"{digest.algorithm}-{digest.hex}"

    def manifest_name(self, digest: Digest) -> str:
        return f"{self.blob_name(digest)}.manifest.json"

    def signatures(self, digest: Digest) -> Iterable[Signature]:
        """The files `signature-N`, those of other manifests than the first with its digits in front."""
        prefix = "" if digest == self.peek() else f"{self.blob_name(digest)}."
        for number in range(1, MOST_SIGNATURES + 1):
            try:
                data = self.files.read(f"{prefix}signature-{number}", SIGNATURE_LIMIT, self.source)
            except NotFoundError:
                return
            yield parse_stored(data, self.source)


@frozen(slots=False)
class LayoutSource(Source, Ranges):
    """An image whose blobs are files."""

    image: Image
    _layout: Layout
    is_local = True

    @contextmanager
    def open_blob(self, blob: Descriptor, start: int = 0) -> Iterator[Readable]:
        """Read in place."""
        with closing(self._layout.files.open(self._layout.blob_name(blob.digest))) as reader:
            if blob.size is not None and reader.size != blob.size:
                problem = f"blob {blob.digest} has {reader.size} bytes instead of {blob.size}"
                raise IntegrityError(self._layout.source, problem)
            reader.seek(start)
            yield reader

    @contextmanager
    def open_range(self, blob: Descriptor, start: int, size: int) -> Iterator[Readable]:
        """Read in place, too."""
        with self.open_blob(blob, start) as reader:
            yield _Part(reader, size)


class _Part:
    def __init__(self, reader: Readable, size: int) -> None:
        self._reader, self._left = reader, size

    def read(self, size: int = -1, /) -> bytes:
        data = self._reader.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


@contextmanager
def open_layout(reference: ImageReference) -> Iterator[Layout]:
    """The files that a reference of one of the local transports names. Raises FetchError."""
    source = reference.display
    path, _, selector = reference.name.partition(":")
    match reference.transport:
        case "oci":
            layout: Layout = OciLayout(Directory(Path(path), source), source, selector)
        case "oci-archive":
            layout = OciLayout(Archive(Path(path), source), source, selector)
        case "dir":
            layout = SkopeoDirectory(Directory(Path(reference.name), source), source)
        case _:
            raise UnsupportedError(source, f"transport {reference.transport!r} is not one of files")
    with closing(layout.files):
        yield layout


def resolve(layout: Layout, reference: ImageReference, platform: Platform, decision: Decision) -> LayoutSource:
    """Choose the platform's manifest, have the policy accept it, and read the config. Raises FetchError."""
    top = layout.top(platform)
    accept = partial(decision.verify, store=layout)
    image = assemble(reference, top, platform, layout.load_manifest, layout.load_blob, accept)
    return LayoutSource(image, layout)
