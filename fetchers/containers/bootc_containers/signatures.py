"""Signatures of images as they are stored: GPG simple signing, and sigstore (containers-signature(5), cosign)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from attrs import field, frozen

from bootc.errors import PolicyError, ProtocolError
from bootc.image import Digest
from bootc.manifest import strict_json

SIGNATURE_LIMIT = 4 << 20
"""bytes of one signature, or of its payload"""
MOST_SIGNATURES = 128
"""of one manifest, in one place"""
COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"

_OPENPGP = frozenset((*range(0xA0, 0xA4), 0xC8, *range(0x90, 0x93), 0xC4, *range(0x88, 0x8C), 0xC2))
"""first bytes of OpenPGP packets that can begin a signed message: compressed, one-pass signature, signature"""


@frozen
class SimpleSignature:
    """An OpenPGP signed message that holds a payload."""

    message: bytes = field(repr=False)


@frozen
class SigstoreSignature:
    """A payload, and annotations that sign it."""

    payload: bytes = field(repr=False)
    annotations: Mapping[str, str]


Signature: TypeAlias = SimpleSignature | SigstoreSignature


class SignatureStore(Protocol):
    """Where the signatures of an image are; each kind of source has its own."""

    def signatures(self, digest: Digest) -> Iterable[Signature]:
        """Those of the manifest with this digest, unverified. Raises FetchError; none is no error."""


class NoSignatures:
    """For places that keep none."""

    def signatures(self, digest: Digest) -> Iterable[Signature]:
        """None."""
        return ()


def parse_stored(data: bytes, source: str) -> Signature:
    """A file with a signature: raw OpenPGP, or NUL, the name of a format, a newline and the signature.

    Raises PolicyError for any other form.
    """
    if data[:1] and data[0] in _OPENPGP:
        return SimpleSignature(data)
    kind, newline, body = data[1:].partition(b"\n")
    if data[:1] == b"\0" and newline:
        if kind == b"simple-signing":
            return SimpleSignature(body)
        if kind == b"sigstore-json":
            return _sigstore(body, source)
    raise PolicyError(source, "a signature has a form that is not known")


def _sigstore(body: bytes, source: str) -> SigstoreSignature:
    try:
        document: Mapping[str, Any] = strict_json(body, source)
        annotations = document.get("annotations", {})
        is_text = isinstance(annotations, dict) and all(isinstance(value, str) for value in annotations.values())
        is_known = document.keys() <= {"mimeType", "payload", "annotations"}
        if is_known and is_text and document.get("mimeType") == COSIGN_LAYER:
            return SigstoreSignature(base64.b64decode(document["payload"], validate=True), annotations)
    except (ProtocolError, binascii.Error, KeyError, TypeError, ValueError) as error:
        raise PolicyError(source, "a sigstore signature cannot be read") from error
    raise PolicyError(source, "a sigstore signature has a form that is not known")
