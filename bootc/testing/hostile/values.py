"""Digests, sizes and texts that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ZERO = f"sha256:{'0' * 64}"
"""a digest that nothing has"""
BAD_DIGESTS = {
    "of 63 digits": "sha256:" + "0" * 63,
    "in upper case": "sha256:" + "A" * 64,
    "md5": "md5:" + "0" * 32,
    "a path": "../../../../etc/passwd",
    "with a line break": "sha256:" + "0" * 62 + "\r\n",
    "a number": 7,
    "empty": "",
}
BAD_SIZES: dict[str, Any] = {
    "negative": -1,
    "of 2^63": 1 << 63,
    "a text": "400",
    "a fraction": 0.5,
    "null": None,
}


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """The first place where the old text stands has the new one."""
    return lambda data: data.replace(old, new, 1)


def nested(depth: int) -> bytes:
    """JSON objects, each within another."""
    return b'{"a":' * depth + b"0" + b"}" * depth
