"""Entries back to tar: ustar where it suffices, pax records where not; nothing is copied from what was read."""

from __future__ import annotations

from struct import Struct
from zlib import adler32

from bootc.layers.content import BLOCK
from bootc.layers.entry import Entry, EntryKind
from bootc.layers.pax import SCHILY, write_records

END_OF_ARCHIVE = bytes(2 * BLOCK)

_HEADER = Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_MAGIC = b"ustar\x0000"
_BLANK_SUM = b" " * 8
_NAME, _PREFIX = 100, 155
_MAX_ID = 0o7777777
_MAX_LONG = 0o77777777777
_SECOND = 10**9
_PADDING = tuple(bytes(-size % BLOCK) for size in range(BLOCK))


def write_entry(entry: Entry) -> bytes:
    """All header blocks of an entry. For a file, its content and then `padding(entry.size)` must follow.

    Symbolic links get mode 0777, and extended attributes come in descending order of name, since libarchive turns the
    order round: libostree 2022.7 writes damaged objects when either is otherwise.
    """
    name = entry.path
    if entry.kind is EntryKind.DIRECTORY:
        name = name + b"/" if name else b"./"
    seconds, fraction = divmod(entry.mtime, _SECOND)
    fits = len(name) <= _NAME >= len(entry.target) and not (fraction or entry.xattrs) and 0 <= seconds <= _MAX_LONG
    if fits and entry.uid <= _MAX_ID >= entry.gid and entry.size <= _MAX_LONG:
        return _header(entry, name, b"", seconds)
    return _extended(entry, name, seconds)


def padding(size: int) -> bytes:
    """The zeros that fill up content of this size to a whole block."""
    return _PADDING[size % BLOCK]


def _extended(entry: Entry, name: bytes, seconds: int) -> bytes:
    prefix, short = _split(name)
    records = _records(entry, b"" if short else name)
    header = _header(entry, short or name[:_NAME], prefix, seconds)
    if not records:
        return header
    data = write_records(records)
    front = _block(b"././@PaxHeader", 0o644, 0, 0, len(data), 0, b"x", b"", (0, 0), b"")
    return front + data + padding(len(data)) + header


def _split(name: bytes) -> tuple[bytes, bytes]:
    """A prefix and the rest, as ustar divides a long name at a slash; the rest is empty where that is impossible."""
    if len(name) <= _NAME:
        return b"", name
    slash = name.rfind(b"/", 0, min(_PREFIX + 1, len(name) - 1))
    prefix, rest = name[:slash], name[slash + 1 :]
    return (prefix, rest) if slash > 0 and len(rest) <= _NAME else (b"", b"")


def _records(entry: Entry, long_name: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    long_target = entry.target if len(entry.target) > _NAME else b""
    if not (long_name.isascii() and long_target.isascii()):
        records[b"hdrcharset"] = b"BINARY"
    if long_name:
        records[b"path"] = long_name
    if long_target:
        records[b"linkpath"] = long_target
    for key, number, bound in (
        (b"size", entry.size, _MAX_LONG),
        (b"uid", entry.uid, _MAX_ID),
        (b"gid", entry.gid, _MAX_ID),
    ):
        if number > bound:
            records[key] = b"%d" % number
    if entry.mtime % _SECOND or not 0 <= entry.mtime // _SECOND <= _MAX_LONG:
        records[b"mtime"] = _time(entry.mtime)
    for key in sorted(entry.xattrs, reverse=True):
        records[SCHILY + key] = entry.xattrs[key]
    return records


def _time(nanoseconds: int) -> bytes:
    seconds, fraction = divmod(abs(nanoseconds), _SECOND)
    text = b"-%d" % seconds if nanoseconds < 0 else b"%d" % seconds
    return text + b".%09d" % fraction if fraction else text


def _header(entry: Entry, name: bytes, prefix: bytes, seconds: int) -> bytes:
    """The entry's own block; numbers that do not fit stand in records, and as 0 here."""
    mode = 0o777 if entry.kind is EntryKind.SYMLINK else entry.mode
    uid, gid = (number if number <= _MAX_ID else 0 for number in (entry.uid, entry.gid))
    size = entry.size if entry.size <= _MAX_LONG else 0
    time = seconds if 0 <= seconds <= _MAX_LONG else 0
    flag = entry.kind.value
    return _block(name, mode, uid, gid, size, time, flag, entry.target[:_NAME], entry.device, prefix)


def _block(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    flag: bytes,
    target: bytes,
    device: tuple[int, int],
    prefix: bytes,
) -> bytes:
    owner = (b"%07o" % mode, b"%07o" % uid, b"%07o" % gid)
    lengths = (b"%011o" % size, b"%011o" % mtime)
    numbers = (b"%07o" % device[0], b"%07o" % device[1])
    block = _HEADER.pack(name, *owner, *lengths, _BLANK_SUM, flag, target, _MAGIC, b"", b"", *numbers, prefix)
    total = (adler32(block[: BLOCK // 2]) & 0xFFFF) + (adler32(block[BLOCK // 2 :]) & 0xFFFF) - 2
    return b"%b%06o\0 %b" % (block[:148], total, block[156:])
