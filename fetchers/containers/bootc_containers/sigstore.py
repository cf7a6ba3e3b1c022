"""Signatures by cosign, with keys: verified by the library `cryptography`, where it is installed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bootc.errors import PolicyError, ProtocolError
from bootc.manifest import strict_json
from bootc_containers.payload import Unacceptable
from bootc_containers.signatures import SigstoreSignature

_SIGNATURE = "dev.cosignproject.cosign/signature"
_ASYMMETRIC = "cryptography.hazmat.primitives.asymmetric"
_BUNDLE = "dev.sigstore.cosign/bundle"


def load_keys(texts: Sequence[bytes], source: str) -> tuple[Any, ...]:
    """Public keys in PEM form. Raises PolicyError if one of them is none, or if the library is missing."""
    try:
        serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
        unsupported = importlib.import_module("cryptography.exceptions").UnsupportedAlgorithm
    except ImportError as error:
        hint = "install the Python library `cryptography`"
        raise PolicyError(source, "signatures by sigstore cannot be verified on this machine", hint) from error
    try:
        return tuple(serialization.load_pem_public_key(text) for text in texts)
    except (ValueError, TypeError, unsupported) as error:
        raise PolicyError(source, "a key of the policy is not a public key in PEM form") from error


def verify(signature: SigstoreSignature, keys: Sequence[Any], rekor_keys: Sequence[Any]) -> str:
    """Which key signed the payload: `SHA256:` and the hex digest of its SubjectPublicKeyInfo (RFC 5280) in DER.

    Raises Unacceptable unless one of the keys did, and (with Rekor's keys) the log knows of it.
    """
    value = _decoded(signature.annotations.get(_SIGNATURE))
    for key in keys:
        if _is_signed(key, value, signature.payload):
            if rekor_keys:
                _require_logged(signature, value, key, rekor_keys)
            return f"SHA256:{hashlib.sha256(_encoded(key)).hexdigest()}"
    raise Unacceptable("it was not made by a key of the policy")


def _is_signed(key: Any, value: bytes, data: bytes) -> bool:
    """ECDSA and RSA (PKCS #1 v1.5) with SHA-256, or Ed25519; any other key signs nothing."""
    library = importlib.import_module("cryptography.hazmat.primitives.hashes")
    names = ("ec", "rsa", "ed25519", "padding")
    ec, rsa, ed25519, padding = (importlib.import_module(f"{_ASYMMETRIC}.{name}") for name in names)
    sha256 = library.SHA256()
    invalid = importlib.import_module("cryptography.exceptions").InvalidSignature
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(value, data, ec.ECDSA(sha256))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(value, data, padding.PKCS1v15(), sha256)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(value, data)
        else:
            return False
    except invalid:
        return False
    return True


def _require_logged(signature: SigstoreSignature, value: bytes, key: Any, rekor_keys: Sequence[Any]) -> None:
    """The promise of a transparency log (Rekor's signed entry timestamp) over an entry for this very signature."""
    bundle = _object(signature.annotations.get(_BUNDLE), {"SignedEntryTimestamp", "Payload"})
    entry = bundle["Payload"]
    if not isinstance(entry, dict) or entry.keys() != {"body", "integratedTime", "logIndex", "logID"}:
        raise Unacceptable("its log entry has other members than it may have")
    # RFC 8785 for an object of texts and integers.
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    promise = _decoded(bundle["SignedEntryTimestamp"])
    if not any(_is_signed(rekor, promise, canonical) for rekor in rekor_keys):
        raise Unacceptable("its log entry is not signed by the log of the policy")
    body = _object(_decoded(entry["body"]), {"apiVersion", "kind", "spec"})
    if (body["apiVersion"], body["kind"]) != ("0.0.1", "hashedrekord"):
        raise Unacceptable("its log entry is of a kind that is not known")
    _require_entry(body["spec"], signature.payload, value, key)


def _require_entry(spec: Any, payload: bytes, value: bytes, key: Any) -> None:
    try:
        hashed, signed = spec["data"]["hash"], spec["signature"]
        is_this = (
            spec.keys() == {"data", "signature"}
            and hashed["algorithm"] == "sha256"
            and hashed["value"] == hashlib.sha256(payload).hexdigest()
            and _decoded(signed["content"]) == value
            and _encoded(load_keys((_decoded(signed["publicKey"]["content"]),), "")[0]) == _encoded(key)
        )
    except (KeyError, TypeError, AttributeError, PolicyError) as error:
        raise Unacceptable("its log entry has other members than it may have") from error
    if not is_this:
        raise Unacceptable("its log entry is for another signature")


def _encoded(key: Any) -> bytes:
    serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, form)
    return encoded


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
