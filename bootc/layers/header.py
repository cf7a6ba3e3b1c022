"""The 512-byte header of tar: ustar (POSIX.1-1988), GNU, and the older v7 form."""

from __future__ import annotations

import re
from struct import Struct
from typing import NamedTuple, TypeVar
from zlib import adler32

from bootc.layers.entry import refusal

USTAR = b"ustar\0"
GNU = b"ustar  \0"
_KNOWN = (USTAR, GNU[:6], bytes(6))
_FIELDS = Struct("100s24s12s12s8sc100s6s")
_PLAIN_OCTAL = re.compile(rb"[0-7]{11}\0").match
_REMEMBERED = 10_000

T = TypeVar("T")

MAX_ID = 2**32 - 2
"""4294967295 means "leave it as it is" to chown."""
MAX_TIME = 2**63 - 1
SECOND = 10**9


class Header(NamedTuple):
    """One header; names are cut at their first NUL, numbers are not negative."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    """Nanoseconds, possibly negative."""
    flag: bytes
    target: bytes


_make = Header._make


class HeaderParser:
    """Parses headers and remembers fields, since most owners, times and checksums come again and again."""

    def __init__(self) -> None:
        self._owners: dict[bytes, tuple[int, int, int]] = {}
        self._times: dict[bytes, int] = {}
        self._sums: dict[bytes, int] = {}

    def parse(self, block: bytes) -> Header:
        """The header in a block. Raises LayerError, naming the entry, for a wrong checksum or a broken field."""
        name, owner, size, mtime, checksum, flag, target, magic = _FIELDS.unpack_from(block)
        name = name.partition(b"\0")[0]
        total = self._sums.get(checksum)
        if total is None:
            total = self._remember(self._sums, checksum, _sum_modulo(checksum, name))
        if total != adler32(block) & 0xFFFF:
            raise refusal(name, "the checksum of the header is wrong")
        if magic not in _KNOWN:
            raise refusal(name, "not a tar header that this tool knows")
        if block[345]:
            name = _with_prefix(block, name)
        ids = self._owners.get(owner) or self._remember(self._owners, owner, _parse_owner(owner, name))
        time = self._times.get(mtime)
        if time is None:
            time = self._remember(self._times, mtime, _parse_time(mtime, name))
        length = int(size[:11], 8) if _PLAIN_OCTAL(size) else parse_number(size, name)
        return _make((name, *ids, length, time, flag, target.partition(b"\0")[0] if target[0] else b""))

    def _remember(self, memory: dict[bytes, T], field: bytes, value: T) -> T:
        if len(memory) >= _REMEMBERED:
            memory.clear()
        memory[field] = value
        return value


def _sum_modulo(field: bytes, subject: bytes) -> int:
    """The lower half of Adler-32 for a header with this checksum field: the sum of all bytes and one, modulo 65521.

    The field itself holds the sum with spaces in its own place. No algorithm that Python brings is as fast for summing.
    """
    return (parse_number(field, subject) + sum(field) - 8 * 0x20 + 1) % 65521


def _parse_owner(field: bytes, subject: bytes) -> tuple[int, int, int]:
    """Mode, uid and gid."""
    mode, uid, gid = (parse_number(field[start : start + 8], subject) for start in (0, 8, 16))
    return mode & 0o7777, check_id(uid, subject), check_id(gid, subject)


def _parse_time(field: bytes, subject: bytes) -> int:
    return check_time(_parse_signed(field, subject) * SECOND, subject)


def check_id(number: int, subject: bytes) -> int:
    """A user or group, or LayerError."""
    if number > MAX_ID:
        raise refusal(subject, f"{number} is no user or group that Linux knows")
    return number


def check_time(nanoseconds: int, subject: bytes) -> int:
    """A time that fits into 64 bits with sign, or LayerError."""
    if not -MAX_TIME <= nanoseconds <= MAX_TIME:
        raise refusal(subject, "its time is hundreds of years away")
    return nanoseconds


def parse_device(block: bytes, subject: bytes) -> tuple[int, int]:
    """Major and minor number, whose fields only headers of devices must have."""
    return parse_number(block[329:337], subject), parse_number(block[337:345], subject)


def parse_number(field: bytes, subject: bytes) -> int:
    """An octal or base-256 number that is not negative."""
    number = _parse_signed(field, subject)
    if number < 0:
        raise refusal(subject, "a number in the header is negative")
    return number


def _parse_signed(field: bytes, subject: bytes) -> int:
    text = field.strip(b" \0")
    if text.isdigit() and b"8" not in text and b"9" not in text:
        return int(text, 8)
    if not text:
        return 0
    if field[0] & 0x80:
        return _parse_base256(field)
    raise refusal(subject, "a number in the header is neither octal nor base-256")


def _parse_base256(field: bytes) -> int:
    """GNU's form: the top bit of the field is a mark, the next one the sign, all others the number."""
    number = int.from_bytes(field, "big") & ~(1 << (8 * len(field) - 1))
    sign = 1 << (8 * len(field) - 2)
    return number - 2 * sign if number & sign else number


def _with_prefix(block: bytes, name: bytes) -> bytes:
    """The name with the directory that ustar keeps in front; in GNU headers, times stand there."""
    magic = block[257:265]
    if magic[:6] == USTAR:
        if block[508:] == b"tar\0":
            raise refusal(name, "star's own form of tar is not supported")
        return block[345:500].split(b"\0", 1)[0] + b"/" + name
    if magic != GNU or block[345] not in b"01234567 \x80\xff":
        raise refusal(name, "a header with a prefix where its form has none")
    return name
