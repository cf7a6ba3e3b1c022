"""What a signature says: the JSON payload of simple signing, which cosign uses too (containers-signature(5))."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from bootc.errors import ProtocolError, ReferenceError
from bootc.image import Digest
from bootc.manifest import strict_json

SIMPLE, COSIGN = "atomic container signature", "cosign container image signature"


class Unacceptable(Exception):
    """Why one signature does not count; others may."""


@frozen
class Payload:
    """A manifest, and the name under which it was signed."""

    digest: Digest
    name: str

    @classmethod
    def parse(cls, data: bytes, kind: str) -> Payload:
        """Read it strictly; `kind` is what `critical.type` must be. Raises Unacceptable."""
        try:
            document = strict_json(data, "")
        except ProtocolError as error:
            raise Unacceptable(f"its payload is {error.problem}") from error
        _members(document, {"critical", "optional"})
        critical = _members(document.get("critical"), {"type", "image", "identity"}, is_whole=True)
        image = _members(critical["image"], {"docker-manifest-digest"}, is_whole=True)
        identity = _members(critical["identity"], {"docker-reference"}, is_whole=True)
        digest, name = image["docker-manifest-digest"], identity["docker-reference"]
        if critical["type"] != kind or not isinstance(digest, str) or not isinstance(name, str):
            raise Unacceptable("its payload is of another type")
        _check_optional(document.get("optional"), is_needed=kind == SIMPLE)
        try:
            return cls(Digest.parse(digest), name)
        except ReferenceError as error:
            raise Unacceptable("it names a digest that is none") from error

    def require_manifest(self, manifest: bytes) -> None:
        """Raise Unacceptable if another manifest was signed."""
        if hashlib.new(self.digest.algorithm, manifest).hexdigest() != self.digest.hex:
            raise Unacceptable(f"it is for another image, {self.digest.algorithm}:{self.digest.short}…")


def _members(value: object, known: set[str], *, is_whole: bool = False) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not value.keys() <= known or (is_whole and value.keys() != known):
        raise Unacceptable("its payload has other members than it may have")
    return value


def _check_optional(value: object, *, is_needed: bool) -> None:
    """`creator` and `timestamp` have types; anything else may stand there."""
    if value is None and not is_needed:
        return
    if not isinstance(value, dict):
        raise Unacceptable("its payload has no `optional` part")
    if is_needed:
        timestamp = value.get("timestamp", 0)
        is_whole = (
            isinstance(timestamp, int | float) and not isinstance(timestamp, bool) and timestamp == int(timestamp)
        )
        if not isinstance(value.get("creator", ""), str) or not is_whole:
            raise Unacceptable("`creator` or `timestamp` in its payload has the wrong type")
