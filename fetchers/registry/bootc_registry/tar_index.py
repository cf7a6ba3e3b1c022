"""Where the members of an uncompressed tar file lie (POSIX.1-2017, pax; GNU long names): names, offsets, sizes.

Only for archives that hold a layout: plain files and directories. Layers have their own, complete reader in the core.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from attrs import frozen

from bootc.errors import ProtocolError, UnsupportedError

_BLOCK = 512
_MEMBERS = 100_000
_HEADER_LIMIT = 1 << 20
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")


@frozen
class Extent:
    """Bytes `offset` up to `offset + size` of a file."""

    offset: int
    size: int


def index_tar(descriptor: int, length: int, source: str) -> Mapping[str, Extent]:
    """The plain files of the archive by name, without a leading `./`. Raises ProtocolError, UnsupportedError."""
    if os.pread(descriptor, 8, 0).startswith(_COMPRESSED):
        raise UnsupportedError(source, "the archive is compressed", "decompress it first")
    members: dict[str, Extent] = {}
    position, special = 0, _Special()
    for _ in range(_MEMBERS):
        header = os.pread(descriptor, _BLOCK, position)
        if len(header) < _BLOCK:
            raise ProtocolError(source, "the archive is cut short")
        if not any(header):
            return members
        _require_checksum(header, source)
        kind = header[156:157]
        is_file = kind in (b"0", b"\0")
        size = special.size if special.size is not None and is_file else _number(header[124:136], source)
        data = Extent(position + _BLOCK, size)
        if data.offset + size > length:
            raise ProtocolError(source, "the archive is cut short")
        position = data.offset + -(-size // _BLOCK) * _BLOCK
        if kind in (b"x", b"g", b"L"):
            special = _special(kind, descriptor, data, special, source)
            continue
        if is_file:
            _add(members, special.name or _name(header), data, source)
        elif kind != b"5":
            raise ProtocolError(source, "the archive holds something else than plain files and directories")
        special = _Special()
    raise ProtocolError(source, f"the archive has more than {_MEMBERS} members")


@frozen
class _Special:
    """What headers before a member say of it."""

    name: bytes | None = None
    size: int | None = None


def _special(kind: bytes, descriptor: int, data: Extent, before: _Special, source: str) -> _Special:
    if data.size > _HEADER_LIMIT:
        raise ProtocolError(source, "the archive has an extended header of impossible size")
    content = os.pread(descriptor, data.size, data.offset)
    if kind == b"L":
        return _Special(content.rstrip(b"\0"), before.size)
    records = _pax_records(content, source)
    name, size = records.get(b"path"), records.get(b"size")
    if kind == b"g":
        if name is not None or size is not None:
            raise ProtocolError(source, "the archive gives all its members one name or size")
        return before
    if size is not None and not (size.isdigit() and len(size) < 19):
        raise ProtocolError(source, "the archive has a member of impossible size")
    return _Special(name or before.name, before.size if size is None else int(size))


def _pax_records(content: bytes, source: str) -> Mapping[bytes, bytes]:
    """Records `LENGTH KEY=VALUE\\n`; the length counts the whole record."""
    records: dict[bytes, bytes] = {}
    while content:
        digits, _, _ = content[:12].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = content[len(digits) + 1 : length]
        key, equals, value = record[:-1].partition(b"=")
        if not record.endswith(b"\n") or not equals or length > len(content):
            raise ProtocolError(source, "the archive has a broken extended header")
        records[key] = value
        content = content[length:]
    return records


def _add(members: dict[str, Extent], raw: bytes, data: Extent, source: str) -> None:
    name = raw.decode(errors="surrogateescape").removeprefix("./")
    if name in members:
        raise ProtocolError(source, "the archive holds a member twice")
    members[name] = data


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _number(field: bytes, source: str) -> int:
    """Octal digits, or GNU's binary form (never negative here)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if text.strip(b"01234567"):
        raise ProtocolError(source, "the archive has a broken header")
    return int(text or b"0", 8)


def _require_checksum(header: bytes, source: str) -> None:
    """The sum of all bytes, with the field itself taken as spaces."""
    if sum(header) - sum(header[148:156]) + 8 * 0x20 != _number(header[148:156], source):
        raise ProtocolError(source, "not a tar archive, or a damaged one")
