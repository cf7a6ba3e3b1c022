"""The escapes of composefs dumps: `\\\\`, `\\n`, `\\r`, `\\t` and `\\xHH`."""

from __future__ import annotations

import re

ABSENT = b"-"

_NAMED = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t"}
_MEANINGS = {form: byte for byte, form in _NAMED.items()}
_SPECIAL = re.compile(rb"[^!-\[\]-~]")
_SPECIAL_IN_XATTRS = re.compile(rb"[^!-<>-\[\]-~]")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.?)", re.DOTALL)


def escape(value: bytes) -> bytes:
    """A field, which may be empty; what is not graphic ASCII is escaped, and a value that would mean `absent`."""
    return b"\\x2d" if value == ABSENT else _SPECIAL.sub(_escaped, value)


def escape_xattr(value: bytes) -> bytes:
    """The name or value of an attribute, where `=` means something too."""
    return _SPECIAL_IN_XATTRS.sub(_escaped, value)


def unescape(text: bytes) -> bytes:
    """The bytes that a field stands for. Raises ValueError for an unknown escape."""
    return _ESCAPE.sub(_unescaped, text) if b"\\" in text else text


def _escaped(found: re.Match[bytes]) -> bytes:
    byte = found[0]
    return _NAMED.get(byte) or b"\\x%02x" % byte[0]


def _unescaped(found: re.Match[bytes]) -> bytes:
    escape = found[0]
    if len(escape) == 4:
        return bytes([int(escape[2:], 16)])
    if escape not in _MEANINGS:
        raise ValueError(f"unknown escape {escape.decode(errors='replace')}")
    return _MEANINGS[escape]
