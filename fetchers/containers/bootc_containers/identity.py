"""Whether the name in a signature is the name of the image: `signedIdentity` of containers-policy.json(5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from bootc.errors import ReferenceError
from bootc_containers.names import RegistryName
from bootc_containers.payload import Unacceptable

DEFAULT: Mapping[str, Any] = {"type": "matchRepoDigestOrExact"}


@frozen
class SignedName:
    """A name as it stands in a signature or in a policy: it can be without tag and digest."""

    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> SignedName:
        """As docker normalises it, but without a `latest` of its own. Raises ReferenceError."""
        parsed = RegistryName.parse(text)
        is_tagged = ":" in text.partition("@")[0].rpartition("/")[2]
        return cls(str(parsed.repository), parsed.tag if is_tagged else None, str(parsed.digest or "") or None)

    @classmethod
    def of(cls, name: RegistryName) -> SignedName:
        """The name of an image to fetch; of tag and digest only the digest counts."""
        return cls(str(name.repository), None if name.digest else name.tag, str(name.digest or "") or None)

    @property
    def is_bare(self) -> bool:
        """Whether it names a repository only."""
        return self.tag is None and self.digest is None


def require_identity(identity: Mapping[str, Any] | None, image: RegistryName | None, signed: str) -> None:
    """Raise Unacceptable unless the signed name is what the policy wants for this image.

    `image` is None for images in files; only the two forms `exact…` can be met then.
    """
    wanted = identity or DEFAULT
    try:
        name = SignedName.parse(signed)
    except ReferenceError as error:
        raise Unacceptable(f"it is for {signed[:200]!r}, which is no name") from error
    if not _is_met(wanted, None if image is None else SignedName.of(image), name):
        raise Unacceptable(f"it is for {signed[:200]!r}, not for this name ({wanted['type']})")


def _is_met(wanted: Mapping[str, Any], image: SignedName | None, signed: SignedName) -> bool:
    match wanted["type"]:
        case "exactReference":
            exact = SignedName.parse(wanted["dockerReference"])
            return not signed.is_bare and not exact.is_bare and signed == exact
        case "exactRepository":
            return signed.repository == SignedName.parse(wanted["dockerRepository"]).repository
        case _ if image is None:
            return False
        case "matchExact":
            return not signed.is_bare and signed == image
        case "matchRepository":
            return signed.repository == image.repository
        case "matchRepoDigestOrExact":
            return _is_repository_digest_or_exact(image, signed)
        case "remapIdentity":
            remapped = _remapped(image, wanted["prefix"], wanted["signedPrefix"])
            return remapped is not None and _is_repository_digest_or_exact(remapped, signed)
        case _:
            return False


def _is_repository_digest_or_exact(image: SignedName, signed: SignedName) -> bool:
    """A tag must be the signed one; a digest is proved by the signature itself, so that its repository is enough."""
    if signed.is_bare:
        return False
    return signed.repository == image.repository if image.digest else signed == image


def _remapped(image: SignedName, prefix: str, signed_prefix: str) -> SignedName | None:
    """The name with its beginning replaced; as it is where the prefix does not fit; None if no name results."""
    if image.repository != prefix and not image.repository.startswith(f"{prefix}/"):
        return image
    repository = signed_prefix + image.repository[len(prefix) :]
    try:
        if str(RegistryName.parse(repository).repository) != repository:
            return None
    except ReferenceError:
        return None
    return evolve(image, repository=repository)


def check_form(kind: str, fields: Mapping[str, str]) -> None:
    """Raise ValueError if names in a `signedIdentity` are none."""
    try:
        if kind == "exactReference" and SignedName.parse(fields["dockerReference"]).is_bare:
            raise ValueError("dockerReference needs a tag or a digest")
        if kind == "exactRepository":
            SignedName.parse(fields["dockerRepository"])
    except ReferenceError as error:
        raise ValueError(f"identity {kind}: {error.message}") from error
    if kind == "remapIdentity" and not all(_PREFIX.fullmatch(fields[name]) for name in ("prefix", "signedPrefix")):
        raise ValueError("prefix and signedPrefix of remapIdentity must be HOST[:PORT][/PATH]")


_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PREFIX = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?(?:/{_COMPONENT})*")
