"""Signatures of images in registries: a lookaside, the registry's own extension, and cosign's attachments."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import frozen
from bootc_containers.lookaside import SignatureConfiguration, is_local, is_remote, local_path, shown
from bootc_containers.names import RegistryName
from bootc_containers.places import read_bounded
from bootc_containers.signatures import (
    COSIGN_LAYER,
    MOST_SIGNATURES,
    SIGNATURE_LIMIT,
    Signature,
    SigstoreSignature,
    SimpleSignature,
    parse_stored,
)

from bootc.errors import AuthenticationError, ConfigError, ProtocolError, ReferenceError
from bootc.image import Descriptor, Digest
from bootc.manifest import MANIFEST_LIMIT, OCI_MANIFEST, strict_json
from bootc_registry.addresses import authority, redirected
from bootc_registry.answer import Answer
from bootc_registry.assemble import load_verified
from bootc_registry.blobs import BlobReader
from bootc_registry.client import RegistryClient
from bootc_registry.exchange import Http
from bootc_registry.failures import failure

_HOPS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_EXTENSION_LIMIT = 4 << 20


@frozen
class RegistrySignatures:
    """Those of one repository at one server. They are looked up by the name there, whatever name they were made for."""

    client: RegistryClient
    name: RegistryName
    http: Http
    configuration: SignatureConfiguration

    def signatures(self, digest: Digest) -> Iterable[Signature]:
        """Those of the manifest with this digest, unverified. Raises FetchError; none is no error."""
        if self.client.offers_signatures():
            yield from self._from_extension(digest)
        else:
            yield from self._from_lookaside(self.configuration.lookaside(self.name, digest))
        if self.configuration.uses_attachments(self.name):
            yield from self._from_attachments(digest)

    def _from_lookaside(self, base: str) -> Iterator[Signature]:
        for number in range(1, MOST_SIGNATURES + 1):
            data = self._stored(f"{base}/signature-{number}")
            if data is None:
                return
            yield parse_stored(data, self.client.source)

    def _stored(self, url: str) -> bytes | None:
        if is_local(url):
            try:
                return read_bounded(Path(local_path(url)))
            except FileNotFoundError:
                return None
        if not is_remote(url):
            raise ConfigError("registries.d", "lookaside", f"{shown(url)} is no address of a lookaside")
        tries = self.client.tries()
        while True:
            with tries.one():
                return self._downloaded(url)

    def _downloaded(self, url: str) -> bytes | None:
        """Without credentials: a lookaside is a plain web server. None for a 404."""
        for _ in range(_HOPS):
            answer = self.http.exchange("GET", url, {}, source=self.client.source)
            try:
                if answer.status not in _REDIRECTS:
                    return self._content(answer)
                target = redirected(url, answer.headers.get("Location", ""))
            finally:
                self.http.done(answer)
            if target is None or (url.startswith("https:") and target.scheme != "https"):
                raise ProtocolError(
                    self.client.source, f"{answer.host} redirects to an address that cannot be followed"
                )
            url = target.geturl()
        raise ProtocolError(self.client.source, f"{authority(url)} redirects more than {_HOPS} times")

    def _content(self, answer: Answer) -> bytes | None:
        if answer.status == 404:
            answer.discard()
            return None
        if answer.status in (401, 403):
            problem = f"access denied: {answer.host} answered {answer.status} for a signature"
            hint = "a lookaside gets no credentials; where there is no signature, it must answer 404"
            raise AuthenticationError(self.client.source, problem, hint)
        if answer.status != 200:
            raise failure(answer, self.client.source, "signature")
        return answer.read_all(SIGNATURE_LIMIT, self.client.source)

    def _from_extension(self, digest: Digest) -> Iterator[Signature]:
        """The API of OpenShift's registry: a list with all signatures in it."""
        path = f"/extensions/v2/{self.name.repository.path}/signatures/{digest}"
        document = self._json(path, _EXTENSION_LIMIT) or {}
        for entry in _list(document.get("signatures"), self.client.source):
            if entry.get("schemaVersion") == 2 and entry.get("type") == "atomic":
                try:
                    yield SimpleSignature(base64.b64decode(entry["content"], validate=True))
                except (KeyError, TypeError, ValueError, binascii.Error) as error:
                    raise ProtocolError(self.client.source, "a signature in the registry is not valid") from error

    def _from_attachments(self, digest: Digest) -> Iterator[Signature]:
        """An image that cosign keeps under the tag `ALGORITHM-HEX.sig`; each layer is a payload."""
        manifest = self._json(f"manifests/{digest.algorithm}-{digest.hex}.sig", MANIFEST_LIMIT)
        for layer in _list(manifest.get("layers"), self.client.source) if manifest else ():
            if layer.get("mediaType") == COSIGN_LAYER:
                yield SigstoreSignature(self._payload(layer), _annotations(layer.get("annotations")))

    def _payload(self, layer: Mapping[str, Any]) -> bytes:
        size = layer.get("size")
        if not isinstance(size, int) or not 0 <= size <= SIGNATURE_LIMIT or not isinstance(layer.get("digest"), str):
            raise ProtocolError(self.client.source, "the image with the signatures is not valid")
        try:
            blob = Descriptor(COSIGN_LAYER, Digest.parse(layer["digest"]), size)
        except ReferenceError as error:
            raise ProtocolError(self.client.source, "the image with the signatures is not valid") from error

        def load(descriptor: Descriptor) -> bytes:
            with closing(BlobReader(self.client, descriptor, size)) as reader:
                return reader.read()

        return load_verified(blob, load, self.client.source)

    def _json(self, path: str, limit: int) -> Mapping[str, Any] | None:
        tries = self.client.tries()
        while True:
            with tries.one(), self.client.request("GET", path, {"Accept": OCI_MANIFEST}) as answer:
                if answer.status == 404:
                    return None
                if answer.status != 200:
                    raise failure(answer, self.client.source, "signature")
                return strict_json(answer.read_all(limit, self.client.source), self.client.source)


def _list(value: object, source: str) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MOST_SIGNATURES or not all(isinstance(item, dict) for item in value):
        raise ProtocolError(source, "the registry's list of signatures is not valid")
    return value


def _annotations(value: object) -> Mapping[str, str]:
    return {str(key): text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
