"""Evaluating the requirements of a policy against an image's manifests and signatures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen

from bootc.errors import ConfigError, PolicyError
from bootc.image import Digest, ImageReference
from bootc_containers import openpgp, sigstore
from bootc_containers.certificates import Authority, load_trusted
from bootc_containers.identity import require_identity
from bootc_containers.keys import load_keys
from bootc_containers.names import RegistryName
from bootc_containers.payload import COSIGN, SIMPLE, Payload, Unacceptable
from bootc_containers.places import read_bounded
from bootc_containers.policy_file import Requirement
from bootc_containers.signatures import Signature, SignatureStore, SigstoreSignature, SimpleSignature

ACCEPT = "insecureAcceptAnything"
REJECT = "reject"
_MOST_PROBLEMS = 3
_ALL_LIMIT = 16 << 20
"""bytes of all signatures of one manifest"""

Check: TypeAlias = Callable[[Signature], "tuple[Payload, str] | None"]
"""Verifies the cryptography of one signature: its payload and who made it; None: of another kind, passed over."""


@frozen
class Decision:
    """The requirements for one image. All must be met."""

    reference: ImageReference
    where: str
    """transport and scope, for messages"""
    requirements: tuple[Requirement, ...]
    source: Path
    """the policy's file"""

    def require_supported(self) -> None:
        """Raise PolicyError for a requirement that cannot be evaluated here."""
        for requirement in self.requirements:
            unsupported = _unsupported(requirement)
            if unsupported:
                problem = f"the policy requires {unsupported} ({self.where}), which is not supported"
                raise PolicyError(self.reference.display, problem, f"see {self.source}")

    @property
    def needs_signatures(self) -> bool:
        """Whether the image must be looked at."""
        return any(requirement.type != ACCEPT for requirement in self.requirements)

    @property
    def kinds(self) -> str:
        """The requirements that need a signature, for messages."""
        return " and ".join(dict.fromkeys(r.type for r in self.requirements if r.type != ACCEPT))

    @property
    def verdict(self) -> str:
        """For the record, where no signature is needed."""
        return f"not verified: {ACCEPT} ({self.where})"

    def verify(self, manifests: Sequence[bytes], store: SignatureStore) -> str:
        """Which requirements accept the image, as text for the record.

        The index or the manifest chosen from it must be signed; the index is looked at first. Raises PolicyError.
        """
        if not self.needs_signatures:
            return self.verdict
        checks = [(requirement, _check(requirement, str(self.source))) for requirement in self.requirements]
        problems = []
        for manifest in dict.fromkeys(manifests):
            try:
                return self._verified(manifest, store, checks)
            except Unacceptable as error:
                problems.append(str(error))
        problem = f"rejected by policy ({self.where}): {'; '.join(dict.fromkeys(problems))}"
        raise PolicyError(self.reference.display, problem, f"see {self.source}")

    def _verified(
        self, manifest: bytes, store: SignatureStore, checks: Sequence[tuple[Requirement, Check | None]]
    ) -> str:
        digest = Digest("sha256", hashlib.sha256(manifest).hexdigest())
        signatures = tuple(self._bounded(store.signatures(digest)))
        makers = [
            requirement.type if check is None else self._maker(requirement, check, manifest, signatures)
            for requirement, check in checks
        ]
        return f"{', '.join(makers)} ({self.where})"

    def _bounded(self, signatures: Iterable[Signature]) -> Iterator[Signature]:
        left = _ALL_LIMIT
        for signature in signatures:
            left -= len(signature.message if isinstance(signature, SimpleSignature) else signature.payload)
            if left < 0:
                raise PolicyError(self.reference.display, f"has signatures of more than {_ALL_LIMIT} bytes")
            yield signature

    def _maker(self, requirement: Requirement, check: Check, manifest: bytes, signatures: Sequence[Signature]) -> str:
        """Who made the first signature that meets the requirement."""
        name = RegistryName.parse(self.reference.name) if self.reference.transport == "registry" else None
        problems = []
        for number, signature in enumerate(signatures, 1):
            try:
                found = check(signature)
                if found is None:
                    continue
                payload, maker = found
                payload.require_manifest(manifest)
                require_identity(requirement.fields.get("signedIdentity"), name, payload.name)
            except Unacceptable as error:
                problems.append(f"signature {number}: {error}")
            else:
                return f"{requirement.type} {maker}"
        shown = "; ".join(problems[:_MOST_PROBLEMS]) or "there is none"
        raise Unacceptable(f"{requirement.type}: a signature is required, {shown}")


def _unsupported(requirement: Requirement) -> str | None:
    match requirement.type:
        case "insecureAcceptAnything" | "reject":
            return None
        case "signedBy":
            kind = requirement.fields["keyType"]
            return None if kind == "GPGKeys" else f"signedBy with keyType {kind}"
        case "sigstoreSigned":
            return None
        case other:
            return str(other)


def _check(requirement: Requirement, source: str) -> Check | None:
    """None: nothing needs to be signed for this one. Raises PolicyError if keys cannot be read."""
    match requirement.type:
        case "insecureAcceptAnything":
            return None
        case "signedBy":
            return _signed_by(requirement, source)
        case "sigstoreSigned":
            return _sigstore_signed(requirement, source)
        case other:
            raise PolicyError(source, f"requirement {other} cannot be evaluated")


def _signed_by(requirement: Requirement, source: str) -> Check:
    ring = openpgp.keyring(list(_data(requirement.fields, "key", source)), source)

    def check(signature: Signature) -> tuple[Payload, str] | None:
        if not isinstance(signature, SimpleSignature):
            return None
        fingerprint, content = openpgp.verify(signature.message, ring)
        return Payload.parse(content, SIMPLE), fingerprint

    return check


def _sigstore_signed(requirement: Requirement, source: str) -> Check:
    keys = load_keys(list(_data(requirement.fields, "key", source)), source)
    rekor_keys = load_keys(list(_data(requirement.fields, "rekorPublicKey", source)), source)
    authority = _authority(requirement.fields, source)

    def check(signature: Signature) -> tuple[Payload, str] | None:
        if not isinstance(signature, SigstoreSignature):
            return None
        if authority is None:
            maker = sigstore.verify(signature, keys, rekor_keys)
        else:
            maker = sigstore.verify_certified(signature, authority, rekor_keys)
        return Payload.parse(signature.payload, COSIGN), maker

    return check


def _authority(fields: Mapping[str, Any], source: str) -> Authority | None:
    """Whose certificates count in place of keys."""
    if "fulcio" in fields:
        said = fields["fulcio"]
        roots = load_trusted(list(_data(said, "ca", source)), source)
        return Authority(roots, email=said["subjectEmail"], oidc_issuer=said["oidcIssuer"])
    if "pki" in fields:
        said = fields["pki"]
        roots, others = (
            load_trusted(list(_data(said, name, source)), source) for name in ("caRoots", "caIntermediates")
        )
        return Authority(roots, others, said.get("subjectEmail"), said.get("subjectHostname"))
    return None


def _data(fields: Mapping[str, Any], name: str, source: str) -> Iterator[bytes]:
    """The contents of the fields NAMEPath, NAMEPaths, NAMEData and NAMEDatas."""
    for path in (*_texts(fields, f"{name}Path"), *fields.get(f"{name}Paths", ())):
        try:
            yield read_bounded(Path(path))
        except (FileNotFoundError, ConfigError) as error:
            raise PolicyError(source, f"the key {path} cannot be read") from error
    for text in (*_texts(fields, f"{name}Data"), *fields.get(f"{name}Datas", ())):
        yield base64.b64decode(text)


def _texts(fields: Mapping[str, Any], key: str) -> Sequence[str]:
    return (fields[key],) if key in fields else ()
