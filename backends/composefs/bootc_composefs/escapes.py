"""The escapes of composefs dumps: `\\\\`, `\\n`, `\\r`, `\\t` and `\\xHH`."""

from __future__ import annotations

import re
from itertools import product

ABSENT = b"-"

_NAMED = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t"}
_SPECIAL = re.compile(rb"[^!-\[\]-~]")
_SPECIAL_IN_XATTRS = re.compile(rb"[^!-<>-\[\]-~]")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.?)", re.DOTALL)


def _forms(special: re.Pattern[bytes]) -> tuple[bytes, ...]:
    """How each byte is written."""
    every = [bytes([number]) for number in range(256)]
    return tuple(_NAMED.get(byte, b"\\x%02x" % byte[0]) if special.match(byte) else byte for byte in every)


_FORMS, _FORMS_IN_XATTRS = _forms(_SPECIAL), _forms(_SPECIAL_IN_XATTRS)
_MEANINGS = {
    **{form: byte for byte, form in _NAMED.items()},
    **{
        b"\\x" + digits.encode(): bytes.fromhex(digits)
        for digits in map("".join, product("0123456789abcdefABCDEF", repeat=2))
    },
}


def escape(value: bytes) -> bytes:
    """A field, which may be empty; what is not graphic ASCII is escaped, and a value that would mean `absent`."""
    if value == ABSENT:
        return b"\\x2d"
    return b"".join([_FORMS[byte] for byte in value]) if _SPECIAL.search(value) else value


def escape_xattr(value: bytes) -> bytes:
    """The name or value of an attribute, where `=` means something too."""
    return b"".join([_FORMS_IN_XATTRS[byte] for byte in value]) if _SPECIAL_IN_XATTRS.search(value) else value


def unescape(text: bytes) -> bytes:
    """The bytes that a field stands for. Raises ValueError for an unknown escape."""
    return _ESCAPE.sub(_unescaped, text) if b"\\" in text else text


def _unescaped(found: re.Match[bytes]) -> bytes:
    try:
        return _MEANINGS[found[0]]
    except KeyError:
        raise ValueError(f"unknown escape {found[0].decode(errors='replace')}") from None
