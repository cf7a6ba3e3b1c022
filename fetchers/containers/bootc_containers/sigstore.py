"""Signatures by cosign, with keys or certificates; the library `cryptography` must be installed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bootc.errors import PolicyError, ProtocolError
from bootc.manifest import strict_json
from bootc_containers import certificates
from bootc_containers.certificates import Authority
from bootc_containers.keys import encoded, is_signed, load_keys
from bootc_containers.payload import Unacceptable
from bootc_containers.signatures import SigstoreSignature

_SIGNATURE = "dev.cosignproject.cosign/signature"
_CERTIFICATE, _CHAIN = "dev.sigstore.cosign/certificate", "dev.sigstore.cosign/chain"
_BUNDLE = "dev.sigstore.cosign/bundle"


def verify(signature: SigstoreSignature, keys: Sequence[Any], rekor_keys: Sequence[Any]) -> str:
    """Which key signed the payload: `SHA256:` and the hex digest of its SubjectPublicKeyInfo (RFC 5280) in DER.

    Raises Unacceptable unless one of the keys did, and (with Rekor's keys) the log knows of it.
    """
    value = _decoded(signature.annotations.get(_SIGNATURE))
    for key in keys:
        if is_signed(key, value, signature.payload):
            if rekor_keys:
                _require_logged(signature, value, partial(_is_key, key), rekor_keys)
            return f"SHA256:{hashlib.sha256(encoded(key)).hexdigest()}"
    raise Unacceptable("it was not made by a key of the policy")


def verify_certified(signature: SigstoreSignature, authority: Authority, rekor_keys: Sequence[Any]) -> str:
    """Whom the signer's certificate names. With Rekor's keys, it must have been valid when the log took the signature
    in; without, it must be valid now. Raises Unacceptable."""
    value = _decoded(signature.annotations.get(_SIGNATURE))
    signer, *_ = certificates.load(signature.annotations.get(_CERTIFICATE, "").encode())
    chain = signature.annotations.get(_CHAIN, "").encode()
    others = certificates.load(chain) if chain else ()
    moment = datetime.now(UTC)
    if rekor_keys:
        moment = _require_logged(signature, value, lambda text: certificates.load(text) == (signer,), rekor_keys)
    maker = authority.require(signer, others, moment)
    if not is_signed(signer.public_key(), value, signature.payload):
        raise Unacceptable("it was not made by the key of its certificate")
    return maker


def _require_logged(
    signature: SigstoreSignature, value: bytes, is_maker: Callable[[bytes], bool], rekor_keys: Sequence[Any]
) -> datetime:
    """The promise of a transparency log (Rekor's signed entry timestamp) over an entry for this very signature.

    `is_maker` compares a key or a certificate in PEM form. Returns when the log took it in.
    """
    bundle = _object(signature.annotations.get(_BUNDLE), {"SignedEntryTimestamp", "Payload"})
    entry = bundle["Payload"]
    if not isinstance(entry, dict) or entry.keys() != {"body", "integratedTime", "logIndex", "logID"}:
        raise Unacceptable("its log entry has other members than it may have")
    # RFC 8785 for an object of texts and integers.
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    promise = _decoded(bundle["SignedEntryTimestamp"])
    if not any(is_signed(rekor, promise, canonical) for rekor in rekor_keys):
        raise Unacceptable("its log entry is not signed by the log of the policy")
    body = _object(_decoded(entry["body"]), {"apiVersion", "kind", "spec"})
    if (body["apiVersion"], body["kind"]) != ("0.0.1", "hashedrekord"):
        raise Unacceptable("its log entry is of a kind that is not known")
    _require_entry(body["spec"], signature.payload, value, is_maker)
    return _moment(entry["integratedTime"])


def _moment(seconds: object) -> datetime:
    try:
        if type(seconds) is int:
            return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise Unacceptable("its log entry is of no time") from error
    raise Unacceptable("its log entry is of no time")


def _is_key(key: Any, text: bytes) -> bool:
    return encoded(load_keys((text,), "")[0]) == encoded(key)


def _require_entry(spec: Any, payload: bytes, value: bytes, is_maker: Callable[[bytes], bool]) -> None:
    try:
        hashed, signed = spec["data"]["hash"], spec["signature"]
        is_this = (
            spec.keys() == {"data", "signature"}
            and hashed["algorithm"] == "sha256"
            and hashed["value"] == hashlib.sha256(payload).hexdigest()
            and _decoded(signed["content"]) == value
            and is_maker(_decoded(signed["publicKey"]["content"]))
        )
    except (KeyError, TypeError, AttributeError, PolicyError) as error:
        raise Unacceptable("its log entry has other members than it may have") from error
    if not is_this:
        raise Unacceptable("its log entry is for another signature")


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise Unacceptable("a part of it is missing")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unacceptable("a part of it is not valid base64") from error


def _object(data: bytes | str | None, members: set[str]) -> Mapping[str, Any]:
    try:
        found = strict_json(data.encode() if isinstance(data, str) else data or b"", "")
    except ProtocolError as error:
        raise Unacceptable(f"its log entry is {error.problem}") from error
    if found.keys() != members:
        raise Unacceptable("its log entry has other members than it may have")
    return found
