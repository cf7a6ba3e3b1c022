"""Digests of contents."""

from __future__ import annotations

import re

from attrs import frozen

from bootc.errors import ReferenceError

_HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")


@frozen
class Digest:
    """A content digest, `sha256:` or `sha512:` and lower-case hex (OCI image specification, descriptor)."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Check the text strictly: a digest becomes part of paths and URLs. Raises ReferenceError."""
        algorithm, _, digits = text.partition(":")
        if len(digits) != _HEX_LENGTHS.get(algorithm, -1) or not _HEX.fullmatch(digits):
            raise ReferenceError(text[:150], "not a sha256 or sha512 digest")
        return cls(algorithm, digits)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self.hex[:12]
