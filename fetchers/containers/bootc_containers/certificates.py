"""Certificates of signers, and the authorities that a policy trusts: RFC 5280, as far as signers of images need it.

Stricter than the standard where that is simpler: a critical extension that is not understood here, and any name
constraint, refuse a certificate; a signer's must say that it is for code.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from bootc.errors import PolicyError
from bootc_containers.keys import is_signed
from bootc_containers.payload import Unacceptable

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_MOST = 16
"""certificates in one text"""
_LONGEST = 4
"""authorities between a signer and a root"""
_KEY_USAGE, _NAMES, _CONSTRAINTS, _PURPOSES = "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37"
_NAME_CONSTRAINTS = "2.5.29.30"
_CODE, _ANYTHING = "1.3.6.1.5.5.7.3.3", "2.5.29.37.0"
_ISSUER_TEXT, _ISSUER = "1.3.6.1.4.1.57264.1.1", "1.3.6.1.4.1.57264.1.8"
"""Fulcio's extensions for who vouched for the address: bare text, and a UTF8String in DER"""


def load(text: bytes) -> tuple[Any, ...]:
    """Certificates in PEM form; what stands between them does not count. Raises Unacceptable."""
    # An expression would look for the end once for each beginning, and hostile texts have very many.
    parts = (part.partition(_END) for part in text.split(_BEGIN)[1:])
    blocks = [_BEGIN + body + end for body, end, _ in parts if end]
    if not blocks or len(blocks) > _MOST:
        raise Unacceptable(f"there must be 1 to {_MOST} certificates, but there are {len(blocks)}")
    x509 = importlib.import_module("cryptography.x509")
    try:
        found = tuple(x509.load_pem_x509_certificate(block) for block in blocks)
        for certificate in found:
            _ = certificate.extensions, certificate.public_key()  # read late, and not always readable
    except _failures() as error:
        raise Unacceptable("a certificate cannot be read") from error
    return found


def load_trusted(texts: Sequence[bytes], source: str) -> tuple[Any, ...]:
    """Those of a policy. Raises PolicyError if one of the texts holds none, or if the library is missing."""
    try:
        return tuple(certificate for text in texts for certificate in load(text))
    except ImportError as error:
        hint = "install the Python library `cryptography`"
        raise PolicyError(source, "signatures by sigstore cannot be verified on this machine", hint) from error
    except Unacceptable as error:
        raise PolicyError(source, f"certificates of the policy: {error}") from error


@frozen
class Authority:
    """Who may vouch for signers, and for whom. What is None is not looked at."""

    roots: tuple[Any, ...]
    intermediates: tuple[Any, ...] = ()
    email: str | None = None
    hostname: str | None = None
    oidc_issuer: str | None = None

    def require(self, signer: Any, others: Sequence[Any], moment: datetime) -> str:
        """Whom the certificate names. Raises Unacceptable unless a root vouched for it at this moment; `others` came
        with it, and are trusted only as far as a root vouches for them."""
        try:
            return self._required(signer, others, moment)
        except _failures() as error:  # Some parts are read when they are looked at.
            raise Unacceptable("a certificate cannot be read") from error

    def _required(self, signer: Any, others: Sequence[Any], moment: datetime) -> str:
        if _CODE not in (_purposes(signer) or ()) or not _may(signer, "digital_signature"):
            raise Unacceptable("its certificate is not for code")
        if not self._is_vouched(signer, [*others, *self.intermediates], moment, 0):
            raise Unacceptable("its certificate does not lead to an authority of the policy")
        for wanted, kind in ((self.email, "RFC822Name"), (self.hostname, "DNSName")):
            if wanted is not None and wanted not in _names(signer, kind):
                raise Unacceptable(f"its certificate is not for {wanted}")
        if self.oidc_issuer is not None and _oidc_issuer(signer) != self.oidc_issuer:
            raise Unacceptable(f"its certificate does not say that {self.oidc_issuer} knows the signer")
        names = " ".join(filter(None, (self.email, self.hostname)))
        return f"{names} by {self.oidc_issuer}" if self.oidc_issuer else names

    def _is_vouched(self, certificate: Any, left: list[Any], moment: datetime, below: int) -> bool:
        """`below`: how many authorities stand below the one that is looked for. What was tried is taken out of `left`:
        a chain of many that vouch for each other costs no more than one look at each pair."""
        if not _is_sound(certificate, moment):
            return False
        if any(_has_issued(root, certificate, moment, below) for root in self.roots):
            return True
        while below < _LONGEST:
            authority = next((other for other in left if _has_issued(other, certificate, moment, below)), None)
            if authority is None:
                return False
            left.remove(authority)
            if self._is_vouched(authority, left, moment, below + 1):
                return True
        return False


def _has_issued(authority: Any, certificate: Any, moment: datetime, below: int) -> bool:
    constraints, purposes = _extension(authority, _CONSTRAINTS), _purposes(authority)
    if authority.subject != certificate.issuer or constraints is None or not constraints.ca:
        return False
    if constraints.path_length is not None and constraints.path_length < below:
        return False
    if not _may(authority, "key_cert_sign") or not _is_sound(authority, moment):
        return False
    if purposes is not None and not {_CODE, _ANYTHING} & purposes:
        return False
    digest = certificate.signature_hash_algorithm
    name = digest.name if digest else "sha512"  # Ed25519 has its own
    if name not in ("sha256", "sha384", "sha512"):
        return False
    return is_signed(authority.public_key(), certificate.signature, certificate.tbs_certificate_bytes, name)


def _is_sound(certificate: Any, moment: datetime) -> bool:
    """Valid at this moment, and without anything that would have to be understood."""
    understood = (_KEY_USAGE, _NAMES, _CONSTRAINTS, _PURPOSES)
    for extension in certificate.extensions:
        oid = extension.oid.dotted_string
        if oid == _NAME_CONSTRAINTS or (extension.critical and oid not in understood):
            return False
    return _time(certificate, "not_valid_before") <= moment <= _time(certificate, "not_valid_after")


def _time(certificate: Any, name: str) -> datetime:
    aware: datetime | None = getattr(certificate, f"{name}_utc", None)  # since cryptography 42
    return aware or getattr(certificate, name).replace(tzinfo=UTC)


def _extension(certificate: Any, oid: str) -> Any:
    found = (extension.value for extension in certificate.extensions if extension.oid.dotted_string == oid)
    return next(found, None)


def _may(certificate: Any, usage: str) -> bool:
    """Whether its key is for this; without the extension it is for everything."""
    usages = _extension(certificate, _KEY_USAGE)
    return usages is None or getattr(usages, usage) is True


def _purposes(certificate: Any) -> set[str] | None:
    found = _extension(certificate, _PURPOSES)
    return None if found is None else {purpose.dotted_string for purpose in found}


def _names(certificate: Any, kind: str) -> list[str]:
    names = _extension(certificate, _NAMES)
    general = importlib.import_module("cryptography.x509")
    return [] if names is None else list(names.get_values_for_type(getattr(general, kind)))


def _oidc_issuer(certificate: Any) -> str | None:
    """Both extensions must agree if there are both."""
    plain, encoded = (_extension(certificate, oid) for oid in (_ISSUER_TEXT, _ISSUER))
    texts = [] if plain is None else [plain.value]
    if encoded is not None:
        tag, length, text = encoded.value[:1], encoded.value[1:2], encoded.value[2:]
        if tag != b"\x0c" or length != bytes([len(text) & 0x7F]) or len(text) > 0x7F:
            return None  # not a UTF8String of fewer than 128 bytes
        texts.append(text)
    return texts[0].decode(errors="replace") if texts and texts[0] == texts[-1] else None


def _failures() -> tuple[type[Exception], ...]:
    x509, exceptions = (importlib.import_module(f"cryptography.{name}") for name in ("x509", "exceptions"))
    known = x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType
    return ValueError, TypeError, KeyError, exceptions.UnsupportedAlgorithm, *known
