"""Names of refs in the repository: image references and layer digests, escaped as upstream's container store does."""

from __future__ import annotations

import re

from bootc.errors import ReferenceError
from bootc.image import Digest, ImageReference

IMAGES = "ostree/container/image"
BLOBS = "ostree/container/blob"
BASES = "ostree/container/baseimage"
"""commits that collection must spare, `<owner>/<n>`"""
KEPT = f"{BASES}/pybootc"
"""our part of it: kept images that no image ref names"""
PROTECTING = ("ostree/0", "ostree/1", "rpmostree/base", BASES)
"""prefixes whose commits protect the layers that their manifests name"""

_PLAIN = re.compile(r"[A-Za-z0-9-]")
_ESCAPED = re.compile(r"[A-Za-z0-9/-]|__|_([0-9A-F]{2,6})_")


def escape(text: str) -> str:
    """Make any text a valid ref name; injective. Raises ReferenceError for an empty text and for NUL."""
    if not text or "\0" in text:
        raise ReferenceError(text[:150], "cannot be part of a ref")
    return "".join(_escape_character(text, index) for index in range(len(text)))


def unescape(name: str) -> str:
    """The text that was escaped. Raises ReferenceError if `name` is no result of `escape`."""
    position, parts = 0, []
    while position < len(name):
        match = _ESCAPED.match(name, position)
        code = int(match[1], 16) if match and match[1] else 0
        if match is None or code > 0x10FFFF:
            raise ReferenceError(name[:150], "not an escaped ref")
        parts.append(chr(code) if match[1] else match[0][0])
        position = match.end()
    return "".join(parts)


def blob_ref(digest: Digest) -> str:
    """The ref of a layer's commit, by the digest with which the manifest names the (compressed) blob."""
    return f"{BLOBS}/{escape(str(digest))}"


def image_ref(reference: ImageReference) -> str:
    """The ref of an image's merge commit; what signature is asked for plays no part."""
    return f"{IMAGES}/{escape(str(reference))}"


def kept_ref(index: int) -> str:
    """The ref that protects a kept image which no image ref names."""
    return f"{KEPT}/{index}"


def _escape_character(text: str, index: int) -> str:
    char = text[index]
    if char == "_":
        return "__"
    if char == "/":
        follows_plain = index > 0 and text[index - 1].isascii() and text[index - 1].isalnum()
        return "/" if follows_plain and index < len(text) - 1 else "_2F_"
    return char if _PLAIN.fullmatch(char) else f"_{ord(char):02X}_"
