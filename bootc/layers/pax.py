"""Extended headers (pax, POSIX.1-2001): `LENGTH KEY=VALUE\\n`, and the extended attributes in them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

from bootc.layers.entry import NO_XATTRS, printable, refusal
from bootc.layers.limits import Limits

Records = Mapping[bytes, bytes]

SCHILY = b"SCHILY.xattr."
LIBARCHIVE = b"LIBARCHIVE.xattr."
INJECTIONS = (b"trusted.overlay.", b"user.overlay.")
SPARSE_PAIRS = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")

_HARMLESS_WHEN_GLOBAL = re.compile(
    rb"atime|ctime|uname|gname|comment|charset|hdrcharset|[A-Z]+\.(?!sparse\.|xattr\.).*", re.DOTALL
)
_SECONDS = re.compile(rb"(-?)([0-9]{1,20})(?:\.([0-9]*))?")
_NANOSECONDS = 10**9


def parse_records(data: bytes, subject: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each record. Raises LayerError where the syntax is broken."""
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        end = position + int(digits) if digits.isdigit() else 0
        record = data[space + 1 : end]
        key, equals, value = record[:-1].partition(b"=")
        if not key or not equals or record[-1:] != b"\n" or end > len(data):
            raise refusal(subject, f"broken extended header at its byte {position}")
        yield key, value
        position = end


def read_records(data: bytes, subject: bytes) -> dict[bytes, bytes]:
    """The records of one entry. A key with two values is refused, except for the pairs of GNU sparse format 0.0.

    Those come out as one value in the form of format 0.1, numbers with commas between, under `GNU.sparse.map`.
    """
    records: dict[bytes, bytes] = {}
    pairs: list[tuple[bytes, bytes]] = []
    for key, value in parse_records(data, subject):
        if key in SPARSE_PAIRS:
            pairs.append((key, value))
        elif records.setdefault(key, value) != value:
            raise refusal(subject, f"two values for {printable(key)} in the extended header")
    if pairs:
        keys = tuple(key for key, _ in pairs)
        if keys != SPARSE_PAIRS * (len(pairs) // 2) or b"GNU.sparse.map" in records:
            raise refusal(subject, "broken map of a sparse file")
        records[b"GNU.sparse.map"] = b",".join(value for _, value in pairs)
    return records


def check_global(data: bytes, subject: bytes) -> None:
    """A global header may comment; one that changes later entries is refused, since most tools ignore it."""
    for key, _ in parse_records(data, subject):
        if not _HARMLESS_WHEN_GLOBAL.fullmatch(key):
            raise refusal(subject, f"global extended header sets {printable(key)} for later entries")


def parse_count(value: bytes, subject: bytes) -> int:
    """A decimal number that is not negative."""
    if not value.isdigit() or len(value) > 20:
        raise refusal(subject, f"{printable(value)} in the extended header is not a number")
    return int(value)


def parse_time(value: bytes, subject: bytes) -> int:
    """Seconds with a fraction, as nanoseconds; what is finer is cut off."""
    match = _SECONDS.fullmatch(value)
    if match is None:
        raise refusal(subject, f"{printable(value)} in the extended header is not a time")
    sign, seconds, fraction = match.groups(b"")
    nanoseconds = int(seconds) * _NANOSECONDS + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if sign else nanoseconds


def read_xattrs(records: Records, subject: bytes, limits: Limits) -> Mapping[bytes, bytes]:
    """Extended attributes of both spellings. Refused: overlayfs' own, two values for one name, and excess."""
    xattrs: dict[bytes, bytes] = {}
    for key, value in records.items():
        if key.startswith(SCHILY):
            name = key[len(SCHILY) :]
        elif key.startswith(LIBARCHIVE):
            name, value = _decode_libarchive(key, value, subject)
        else:
            continue
        _check_xattr(name, value, subject, limits)
        if xattrs.setdefault(name, value) != value:
            raise refusal(subject, f"two values for the extended attribute {printable(name)}")
    if len(xattrs) > limits.xattrs:
        raise refusal(subject, f"more than {limits.xattrs} extended attributes")
    return MappingProxyType(xattrs) if xattrs else NO_XATTRS


def _decode_libarchive(key: bytes, value: bytes, subject: bytes) -> tuple[bytes, bytes]:
    """LIBARCHIVE.xattr: the name percent-encoded, the value in base64 without the padding."""
    try:
        decoded = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise refusal(subject, f"{printable(key)} in the extended header is not base64") from error
    return unquote_to_bytes(key[len(LIBARCHIVE) :]), decoded


def _check_xattr(name: bytes, value: bytes, subject: bytes, limits: Limits) -> None:
    if problem := _xattr_problem(name, value, limits):
        raise refusal(subject, f"the extended attribute {printable(name)} {problem}")


def _xattr_problem(name: bytes, value: bytes, limits: Limits) -> str | None:
    if not name or len(name) > limits.xattr_name or b"\0" in name or b"=" in name:
        return f"has no name, or one with NUL or `=` or longer than {limits.xattr_name} bytes"
    if len(value) > limits.xattr_value:
        return f"is larger than {limits.xattr_value} bytes"
    if name.startswith(INJECTIONS):
        return "would steer overlayfs, not describe a file"
    return None


def write_records(records: Mapping[bytes, bytes]) -> bytes:
    """The records in the mapping's order, each with its own length in front."""
    return b"".join(_write_record(key, value) for key, value in records.items())


def _write_record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
