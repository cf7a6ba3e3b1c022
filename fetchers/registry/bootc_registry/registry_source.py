"""Images in a registry, by the OCI distribution specification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TypeVar

from attrs import frozen
from bootc_containers.names import RegistryName

from bootc.errors import FetchError, NetworkError, PolicyError, ProtocolError, ReferenceError
from bootc.fetcher import Ranges, Readable, Source
from bootc.image import Descriptor, Digest, Image, ImageReference
from bootc.manifest import ACCEPTED, MANIFEST_LIMIT
from bootc.platform import Platform
from bootc_registry.answer import Answer
from bootc_registry.assemble import Accept, Document, assemble, require_digest
from bootc_registry.blobs import BlobReader, FailoverReader
from bootc_registry.client import RegistryClient
from bootc_registry.failures import failure
from bootc_registry.ranges import FailoverRangeReader

_ACCEPT = {"Accept": ", ".join(ACCEPTED)}
T = TypeVar("T")


@frozen
class Place:
    """A server, and the image's name there."""

    client: RegistryClient
    name: RegistryName


class RegistrySource(Source, Ranges):
    """An image whose blobs are fetched one by one. `clients` are asked in turn; a mirror that does not answer any more,
    or has no ranges, not again for each of them."""

    def __init__(self, clients: Sequence[RegistryClient], image: Image) -> None:
        self._clients, self.image = clients, image
        self._silent: set[RegistryClient] = set()
        self._without_ranges: set[RegistryClient] = set()

    @contextmanager
    def open_blob(self, blob: Descriptor, start: int = 0) -> Iterator[Readable]:
        """The first request is made by the first `read`."""
        size = _size(blob, self._clients[0].source)
        clients = [client for client in self._clients if client not in self._silent]
        with closing(FailoverReader(clients, blob, size, start, self._note)) as reader:
            yield reader

    @contextmanager
    def open_range(self, blob: Descriptor, start: int, size: int) -> Iterator[Readable]:
        """One request; a server that answers with the whole blob does not serve ranges."""
        whole = _size(blob, self._clients[0].source)
        clients = [client for client in self._clients if client not in self._silent | self._without_ranges]
        with closing(FailoverRangeReader(clients, blob, whole, start, start + size, self._note_range)) as reader:
            yield reader

    def _note(self, client: RegistryClient, error: FetchError) -> None:
        if isinstance(error, NetworkError):
            self._silent.add(client)

    def _note_range(self, client: RegistryClient, error: FetchError) -> None:
        self._note(client, error)
        if isinstance(error, ProtocolError):
            self._without_ranges.add(client)


def resolve(
    places: Sequence[Place],
    reference: ImageReference,
    platform: Platform,
    accept: Callable[[Place], Accept],
) -> RegistrySource:
    """From the first place that has it: one request for the manifest, one more for that of the platform if it was an
    index, one for the config. What the policy does not accept there is not looked for elsewhere. Raises FetchError."""

    def attempt(place: Place) -> RegistrySource:
        image = _resolve(place, reference, platform, accept(place))
        return RegistrySource([other.client for other in places[places.index(place) :]], image)

    return _first(places, attempt)


def peek(places: Sequence[Place]) -> Digest:
    """What the name points to: one HEAD, and a GET only where the answer to it does not say. Raises FetchError."""
    digest = places[0].name.digest
    return digest or _first(places, _peek)


def _first(places: Sequence[Place], attempt: Callable[[Place], T]) -> T:
    """Ask one place after the other. The last one is the image's own registry: its error is the one that counts."""
    problems: list[str] = []
    for place in places[:-1]:
        try:
            return attempt(place)
        except PolicyError:
            raise
        except FetchError as error:
            problems.append(f"{place.client.endpoint.authority}: {error.problem}")
            place.client.warn(f"mirror {problems[-1]}")
    try:
        return attempt(places[-1])
    except FetchError as error:
        if not problems:
            raise
        raise type(error)(error.reference, "; mirror ".join((error.problem, *problems)), error.hint) from error


def _resolve(place: Place, reference: ImageReference, platform: Platform, accept: Accept) -> Image:
    client, name = place.client, place.name

    def load_manifest(descriptor: Descriptor) -> bytes:
        return _fetch(client, str(descriptor.digest)).data

    def load_blob(descriptor: Descriptor) -> bytes:
        with closing(BlobReader(client, descriptor, _size(descriptor, client.source))) as reader:
            return reader.read()

    top = _fetch(client, name.selector)
    if name.digest is not None:
        require_digest(top.data, name.digest, client.source)
        top = Document(top.data, top.media_type, name.digest)
    return assemble(reference, top, platform, load_manifest, load_blob, accept)


def _peek(place: Place) -> Digest:
    tries = place.client.tries()
    while True:
        with tries.one():
            return _stated(place.client, place.name.selector) or _fetch(place.client, place.name.selector).digest


def _size(blob: Descriptor, source: str) -> int:
    if blob.size is None:
        raise ProtocolError(source, f"blob {blob.digest} has no size")
    return blob.size


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
