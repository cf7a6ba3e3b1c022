"""Tar archives written byte by byte, so that tests do not depend on the writer that they test, and can be malformed."""

from __future__ import annotations

import io
from collections.abc import Mapping

from bootc.layers import Entry, EntryKind, Limits, read_layer

END = bytes(1024)
DEFAULT = Limits()


def fill(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def header(
    name: bytes,
    flag: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: bytes = b"0000644\0",
    uid: bytes = b"0000000\0",
    gid: bytes = b"0000000\0",
    mtime: bytes = b"00000001750\0",
    target: bytes = b"",
    magic: bytes = b"ustar\x0000",
    major: bytes = b"",
    minor: bytes = b"",
    rest: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One block; `rest` is all from byte 345 on."""
    length = b"%011o\0" % size if isinstance(size, int) else size
    front = name.ljust(100, b"\0") + mode + uid + gid + length + mtime
    back = flag + target.ljust(100, b"\0") + magic + bytes(64) + major.ljust(8, b"\0") + minor.ljust(8, b"\0") + rest
    block = (front + b" " * 8 + back).ljust(512, b"\0")
    assert len(block) == 512
    return with_checksum(block) if checksum is None else block[:148] + checksum + block[156:]


def with_checksum(block: bytes) -> bytes:
    total = sum(block[:148]) + sum(block[156:]) + 256
    return block[:148] + b"%06o\0 " % total + block[156:]


def file(name: bytes, data: bytes = b"", **fields: object) -> bytes:
    return header(name, **{"size": len(data)} | fields) + fill(data)  # type: ignore[arg-type]


def directory(name: bytes) -> bytes:
    return header(name, b"5", mode=b"0000755\0")


def record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest


def pax(records: Mapping[bytes, bytes] | bytes, flag: bytes = b"x") -> bytes:
    data = records if isinstance(records, bytes) else b"".join(record(key, records[key]) for key in records)
    return header(b"PaxHeaders.0/entry", flag, size=len(data)) + fill(data)


def long_name(name: bytes, flag: bytes = b"L") -> bytes:
    return header(b"././@LongLink", flag, size=len(name) + 1, magic=b"ustar  \0") + fill(name + b"\0")


def read(archive: bytes, limits: Limits = DEFAULT) -> list[tuple[Entry, bytes]]:
    """All entries with their content; the stream gives odd pieces, as a decompressor may."""
    return [(entry, content.read()) for entry, content in read_layer(OddStream(archive), limits)]


def entries(archive: bytes, limits: Limits = DEFAULT) -> list[Entry]:
    return [entry for entry, _ in read(archive, limits)]


class OddStream:
    """Gives pieces of 1 to 700 bytes, whatever is asked for."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self._step = 0

    def read(self, size: int = -1, /) -> bytes:
        self._step = (self._step * 5 + 7) % 700
        return self._stream.read(self._step + 1 if size < 0 else min(size, self._step + 1))


def entry(path: bytes, kind: EntryKind = EntryKind.FILE, mode: int = 0o644, **fields: object) -> Entry:
    """What `header` without further arguments stands for."""
    return Entry(path, kind, mode, **{"uid": 0, "gid": 0, "mtime": 1000 * 10**9} | fields)  # type: ignore[arg-type]
