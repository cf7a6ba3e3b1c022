"""Public keys and what they signed, by the library `cryptography`, which is imported where it is used."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from bootc.errors import PolicyError

_PRIMITIVES = "cryptography.hazmat.primitives"


def load_keys(texts: Sequence[bytes], source: str) -> tuple[Any, ...]:
    """Public keys in PEM form. Raises PolicyError if one of them is none, or if the library is missing."""
    try:
        serialization = importlib.import_module(f"{_PRIMITIVES}.serialization")
        unsupported = importlib.import_module("cryptography.exceptions").UnsupportedAlgorithm
    except ImportError as error:
        hint = "install the Python library `cryptography`"
        raise PolicyError(source, "signatures by sigstore cannot be verified on this machine", hint) from error
    try:
        return tuple(serialization.load_pem_public_key(text) for text in texts)
    except (ValueError, TypeError, unsupported) as error:
        raise PolicyError(source, "a key of the policy is not a public key in PEM form") from error


def is_signed(key: Any, value: bytes, data: bytes, digest: str = "sha256") -> bool:
    """ECDSA and RSA (PKCS #1 v1.5) with SHA-256, -384 or -512, or Ed25519; any other key signs nothing."""
    library = importlib.import_module(f"{_PRIMITIVES}.hashes")
    names = ("ec", "rsa", "ed25519", "padding")
    ec, rsa, ed25519, padding = (importlib.import_module(f"{_PRIMITIVES}.asymmetric.{name}") for name in names)
    algorithm = {"sha256": library.SHA256, "sha384": library.SHA384, "sha512": library.SHA512}[digest]()
    invalid = importlib.import_module("cryptography.exceptions").InvalidSignature
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(value, data, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(value, data, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(value, data)
        else:
            return False
    except invalid:
        return False
    return True


def encoded(key: Any) -> bytes:
    """SubjectPublicKeyInfo (RFC 5280) in DER."""
    serialization = importlib.import_module(f"{_PRIMITIVES}.serialization")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    found: bytes = key.public_bytes(serialization.Encoding.DER, form)
    return found
