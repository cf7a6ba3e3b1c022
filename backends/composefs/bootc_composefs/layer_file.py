"""The entries of one layer as a file: what an import of the layer found, with digests in the place of contents.

So an update reads only layers that are new, and an interrupted import goes on after the last whole one. A line for each
entry, fields escaped as in composefs dumps, the last line with the digest of all before it:

    bootc-layer 1 sha256
    KIND PATH MODE UID GID NANOSECONDS SIZE TARGET MAJOR:MINOR INLINE DIGEST [KEY=VALUE ...]
    end SHA256

KIND is the type flag of tar, or `i` for a directory that has no entry of its own; `-` means absent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from bootc.layers import Entry, EntryKind
from bootc.layers.entry import NO_XATTRS
from bootc_composefs.collector import paused_collector
from bootc_composefs.escapes import ABSENT, escape, escape_xattr, unescape
from bootc_composefs.failures import LayerFileError
from bootc_composefs.fsverity import Algorithm
from bootc_composefs.tree import Content, Object

Entries: TypeAlias = list[tuple[Entry, Content | None]]
"""with the content of files"""

_IMPLIED = b"i"
_DIGEST = 10
"""the number of that field"""
_KINDS = {kind.value: kind for kind in EntryKind} | {_IMPLIED: EntryKind.DIRECTORY}


def write_layer(entries: Iterable[tuple[Entry, Content | None]], algorithm: Algorithm) -> Iterator[bytes]:
    """The lines of the file."""
    measured = hashlib.sha256()
    for line in _lines(entries, algorithm):
        measured.update(line)
        yield line
    yield b"end %s\n" % measured.hexdigest().encode()


def read_layer_file(data: bytes, algorithm: Algorithm) -> Entries:
    """The entries. Raises LayerFileError for what was not written just so."""
    try:
        with paused_collector():
            return [_entry(line.split(b" ")) for line in _body(data, algorithm)]
    except (ValueError, KeyError, IndexError) as error:
        raise LayerFileError(f"a line is in no known form: {error}") from error


def digests_in(data: bytes, algorithm: Algorithm) -> set[bytes]:
    """The digests of its objects: a small part of what the entries take in memory. Raises LayerFileError."""
    try:
        digests = {line.split(b" ", _DIGEST + 1)[_DIGEST] for line in _body(data, algorithm)}
        return {bytes.fromhex(digest.decode()) for digest in digests - {ABSENT}}
    except (ValueError, IndexError) as error:
        raise LayerFileError(f"a line is in no known form: {error}") from error


def _body(data: bytes, algorithm: Algorithm) -> list[bytes]:
    """The lines between the first and the last one."""
    end = data.rfind(b"\n", 0, -1) + 1
    if data[end:] != b"end %s\n" % hashlib.sha256(data[:end]).hexdigest().encode():
        raise LayerFileError("it is truncated or altered")
    first, _, rest = data[:end].partition(b"\n")
    if first != _head(algorithm):
        raise LayerFileError(f"it is no list of entries in a known form with {algorithm.value}")
    return rest.splitlines()


def _head(algorithm: Algorithm) -> bytes:
    return b"bootc-layer 1 " + algorithm.value.encode()


def _lines(entries: Iterable[tuple[Entry, Content | None]], algorithm: Algorithm) -> Iterator[bytes]:
    yield _head(algorithm) + b"\n"
    for entry, content in entries:
        kind = _IMPLIED if entry.is_implied else entry.kind.value
        inline = escape(content) if isinstance(content, bytes) and content else ABSENT
        digest = content.digest.hex().encode() if isinstance(content, Object) else ABSENT
        fields = (
            b"%s %s %o %d %d %d %d"
            % (kind, _text(entry.path), entry.mode, entry.uid, entry.gid, entry.mtime, entry.size),
            b"%s %d:%d" % (_text(entry.target), *entry.device),
            inline,
            digest,
            *(escape_xattr(key) + b"=" + escape_xattr(value) for key, value in entry.xattrs.items()),
        )
        yield b" ".join(fields) + b"\n"


def _text(value: bytes) -> bytes:
    return escape(value) if value else ABSENT


def _value(field: bytes) -> bytes:
    return b"" if field == ABSENT else unescape(field)


def _entry(fields: list[bytes]) -> tuple[Entry, Content | None]:
    kind, path, mode, uid, gid, mtime, size, target, device, inline, digest = fields[:11]
    major, _, minor = device.partition(b":")
    entry = Entry(
        _value(path),
        _KINDS[kind],
        int(mode, 8),
        int(uid),
        int(gid),
        int(mtime),
        int(size),
        _value(target),
        (int(major), int(minor)),
        dict(map(_xattr, fields[11:])) if len(fields) > 11 else NO_XATTRS,
        kind == _IMPLIED,
    )
    if entry.kind is not EntryKind.FILE:
        return entry, None
    return entry, _value(inline) if digest == ABSENT else Object.of(bytes.fromhex(digest.decode()))


def _xattr(field: bytes) -> tuple[bytes, bytes]:
    key, _, value = field.partition(b"=")
    return unescape(key), unescape(value)
