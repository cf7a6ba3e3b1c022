"""Tar archives entry by entry, with any bytes in names and attributes (pax, POSIX.1-2001; GNU sparse 1.0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

_BLOCK = 512


@frozen(kw_only=True)
class Member:
    """One entry of an archive."""

    name: bytes
    kind: bytes
    """the type flag: `0` file, `1` hard link, `2` symbolic link, `3` and `4` devices, `5` directory, `6` fifo"""
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(factory=dict)


@frozen
class Sparse:
    """A sparse file: its size, and what it holds where."""

    size: int
    pieces: Sequence[tuple[int, bytes]]

    @property
    def content(self) -> bytes:
        """The whole file, holes as zeros."""
        whole = bytearray(self.size)
        for offset, piece in self.pieces:
            whole[offset : offset + len(piece)] = piece
        return bytes(whole)


def packed(member: Member, sparse: Sparse | None = None) -> bytes:
    """Header, data and padding of an entry."""
    records = {b"path": member.name}
    if member.target:
        records[b"linkpath"] = member.target
    records |= {b"SCHILY.xattr." + name.encode(): value for name, value in member.xattrs.items()}
    data = member.data
    if sparse:
        data = _sparse_data(sparse)
        records |= {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": member.name}
        records |= {b"GNU.sparse.realsize": b"%d" % sparse.size, b"path": b"GNUSparseFile.0/" + member.name[:60]}
    pax = b"".join(_record(key, value) for key, value in records.items())
    head = _header(Member(name=b"pax", kind=b"x"), len(pax)) + _padded(pax)
    return head + _header(member, len(data)) + _padded(data)


def end() -> bytes:
    """What ends an archive."""
    return bytes(2 * _BLOCK)


def _sparse_data(sparse: Sparse) -> bytes:
    numbers = [len(sparse.pieces), *(number for at, piece in sparse.pieces for number in (at, len(piece)))]
    return _padded(b"".join(b"%d\n" % number for number in numbers)) + b"".join(piece for _, piece in sparse.pieces)


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _header(member: Member, size: int) -> bytes:
    fields = (
        member.name[:99].ljust(100, b"\0"),
        b"%07o\0" % member.mode,
        _number(member.uid, 8),
        _number(member.gid, 8),
        _number(size, 12),
        _number(member.mtime, 12),
        b" " * 8,
        member.kind,
        member.target[:99].ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(64),
        b"%07o\0%07o\0" % member.device,
    )
    block = b"".join(fields).ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _number(value: int, width: int) -> bytes:
    """Octal, or base 256 where that is too narrow (GNU)."""
    if value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return b"\x80" + value.to_bytes(width - 1, "big")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK)
