"""Images in a registry, by the OCI distribution specification."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bootc_containers.names import RegistryName

from bootc.errors import ProtocolError, ReferenceError
from bootc.fetcher import Readable, Source
from bootc.image import Descriptor, Digest, Image, ImageReference
from bootc.manifest import ACCEPTED, MANIFEST_LIMIT
from bootc.platform import Platform
from bootc_registry.assemble import Document, assemble, require_digest
from bootc_registry.blobs import BlobReader
from bootc_registry.client import RegistryClient
from bootc_registry.exchange import Answer
from bootc_registry.failures import failure

_ACCEPT = {"Accept": ", ".join(ACCEPTED)}


class RegistrySource(Source):
    """An image whose blobs are fetched one by one."""

    def __init__(self, client: RegistryClient, image: Image) -> None:
        self._client, self.image = client, image

    @contextmanager
    def open_blob(self, blob: Descriptor, start: int = 0) -> Iterator[Readable]:
        """The first request is made by the first `read`."""
        with closing(_reader(self._client, blob, start)) as reader:
            yield reader


def resolve(
    client: RegistryClient, reference: ImageReference, name: RegistryName, platform: Platform, verdict: str
) -> RegistrySource:
    """One request for the manifest, one more for that of the platform if it was an index, one for the config."""

    def load_manifest(descriptor: Descriptor) -> bytes:
        return _fetch(client, str(descriptor.digest)).data

    def load_blob(descriptor: Descriptor) -> bytes:
        with closing(_reader(client, descriptor)) as reader:
            return reader.read()

    top = _fetch(client, name.selector)
    if name.digest is not None:
        require_digest(top.data, name.digest, client.source)
        top = Document(top.data, top.media_type, name.digest)
    return RegistrySource(client, assemble(reference, top, platform, load_manifest, load_blob, verdict))


def peek(client: RegistryClient, name: RegistryName) -> Digest:
    """What the name points to: one HEAD, and a GET only where the answer to it does not say. Raises FetchError."""
    if name.digest is not None:
        return name.digest
    tries = client.tries()
    while True:
        with tries.one():
            return _stated(client, name.selector) or _fetch(client, name.selector).digest


def _reader(client: RegistryClient, blob: Descriptor, start: int = 0) -> BlobReader:
    if blob.size is None:
        raise ProtocolError(client.source, f"blob {blob.digest} has no size")
    return BlobReader(client, blob, blob.size, start)


def _stated(client: RegistryClient, selector: str) -> Digest | None:
    with client.request("HEAD", f"manifests/{selector}", _ACCEPT) as answer:
        if answer.status in (400, 405, 501):
            return None  # Some proxies know only GET.
        if answer.status != 200:
            raise failure(answer, client.source, "image")
        return _content_digest(answer, client.source)


def _fetch(client: RegistryClient, selector: str) -> Document:
    tries = client.tries()
    while True:
        with tries.one(), client.request("GET", f"manifests/{selector}", _ACCEPT) as answer:
            return _read(answer, client.source)


def _read(answer: Answer, source: str) -> Document:
    if answer.status != 200:
        raise failure(answer, source, "image")
    if answer.is_encoded:
        raise ProtocolError(source, f"{answer.host} compresses manifests although asked not to")
    data = answer.read_all(MANIFEST_LIMIT, source)
    stated = _content_digest(answer, source)
    if stated is not None:
        require_digest(data, stated, source)
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip() or None
    return Document(data, media_type, stated or Digest("sha256", hashlib.sha256(data).hexdigest()))


def _content_digest(answer: Answer, source: str) -> Digest | None:
    text = answer.headers.get("Docker-Content-Digest")
    try:
        return Digest.parse(text.strip()) if text else None
    except ReferenceError as error:
        raise ProtocolError(source, f"{answer.host} states a digest that is none") from error
