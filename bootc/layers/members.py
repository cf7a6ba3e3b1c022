"""The members of a tar archive, with the headers that extend others merged into them."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from attrs import define

from bootc.layers.content import BLOCK, Source
from bootc.layers.entry import refusal
from bootc.layers.header import Header, HeaderParser, check_id, check_time
from bootc.layers.limits import Limits
from bootc.layers.pax import Records, check_global, parse_count, parse_time, read_records

_ZEROS = bytes(BLOCK)
_SATURATED = 0o77777777777
_NO_RECORDS: Records = MappingProxyType({})


def read_members(source: Source, limits: Limits) -> Iterator[tuple[Header, bytes, Records]]:
    """Each header with all extensions in force, its block, and its extended records.

    Between two members the caller takes content and padding from the source; at the end the source is exhausted.
    """
    parse = HeaderParser().parse
    extension = _Extension(source, limits)
    while (block := _next_block(source)) is not None:
        header = parse(block)
        source.subject = header.name
        if header.flag in _EXTENDING:
            extension.take(header)
        elif extension.is_pending:
            yield extension.apply(header), block, extension.end()
        else:
            yield header, block, _NO_RECORDS
    if extension.is_pending:
        raise refusal(source.subject, "an extended header without an entry after it")
    _check_padding(source, limits)


_EXTENDING = frozenset((b"x", b"g", b"L", b"K"))


def _next_block(source: Source) -> bytes | None:
    """The next header's block, or None at the end: zeros, or no more bytes at all as some writers leave it."""
    block = source.block()
    if block == _ZEROS or not block:
        return None
    if len(block) < BLOCK:
        raise refusal(source.subject, "the archive ends in the middle of the header after this entry")
    return block


def _check_padding(source: Source, limits: Limits) -> None:
    """Nothing but zeros may follow the end of the archive."""
    count = 0
    for piece in source.remainder():
        count += len(piece)
        if count > limits.total or bytes(piece).strip(b"\0"):
            raise refusal(source.subject, "after this entry the archive ends, but data or endless padding follows")


@define
class _Extension:
    """What headers of their own say about the next one: pax records, and GNU's long names."""

    source: Source
    limits: Limits
    name: bytes | None = None
    target: bytes | None = None
    records: Records | None = None
    is_pending: bool = False

    def take(self, header: Header) -> None:
        """Read the data of an extending header. Raises LayerError for a second one of its kind, and for excess."""
        subject = header.name
        is_long_name = header.flag in b"LK"
        bound = self.limits.path + 1 if is_long_name else self.limits.records
        if header.size > bound:
            raise refusal(subject, f"the extended header has {header.size} bytes, more than {bound}")
        data = self.source.exactly(header.size)
        self.source.skip(-header.size % BLOCK)
        if header.flag == b"g":
            check_global(data, subject)
            return
        self.is_pending = True
        previous: object
        if header.flag == b"x":
            previous, self.records = self.records, read_records(data, subject)
        elif header.flag == b"L":
            previous, self.name = self.name, data.rstrip(b"\0")
        else:
            previous, self.target = self.target, data.rstrip(b"\0")
        if previous is not None:
            raise refusal(subject, "two extended headers of one kind for one entry")

    def apply(self, header: Header) -> Header:
        """The header with all that the extensions say instead."""
        records = self.records or _NO_RECORDS
        name = self._one(b"GNU.sparse.name" if b"GNU.sparse.name" in records else b"path", self.name, header.name)
        self.source.subject = name
        _, mode, uid, gid, size, mtime, flag, target = header
        if b"uid" in records:
            uid = check_id(parse_count(records[b"uid"], name), name)
        if b"gid" in records:
            gid = check_id(parse_count(records[b"gid"], name), name)
        if b"size" in records:
            size = _agreed_size(parse_count(records[b"size"], name), size, name)
        if b"mtime" in records:
            mtime = check_time(parse_time(records[b"mtime"], name), name)
        return Header(name, mode, uid, gid, size, mtime, flag, self._one(b"linkpath", self.target, target))

    def end(self) -> Records:
        """The records, after which all is as before the first extension."""
        records = self.records or _NO_RECORDS
        self.name = self.target = self.records = None
        self.is_pending = False
        return records

    def _one(self, key: bytes, long: bytes | None, short: bytes) -> bytes:
        extended = (self.records or _NO_RECORDS).get(key)
        if extended is None and long is None:
            return short
        if extended is not None and long is not None and extended != long:
            raise refusal(long, "pax and GNU headers give this entry different names")
        value = extended or long or b""
        if b"\0" in value:
            raise refusal(value, "the name contains a NUL byte")
        return value


def _agreed_size(extended: int, size: int, subject: bytes) -> int:
    """The record wins over the header, which must not lead other readers, who ignore it, to another archive."""
    if size not in (extended, 0, _SATURATED):
        raise refusal(subject, f"its size is {size} in the header and {extended} in the extended header")
    return extended
