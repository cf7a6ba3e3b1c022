"""Maps of sparse files, in the four forms of GNU tar: its old header, and 0.0, 0.1 and 1.0 in extended headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from bootc.layers.content import BLOCK, Source
from bootc.layers.entry import refusal
from bootc.layers.header import parse_number
from bootc.layers.limits import Limits
from bootc.layers.pax import Records, parse_count

PREFIX = b"GNU.sparse."
_DIGITS = 20


@frozen
class SparseMap:
    """Where the stored data of a file lies in its full content."""

    size: int
    """Bytes of the full content."""
    stored: int
    """Bytes of data in the archive, after the map."""
    regions: Sequence[tuple[int, int]]
    """Offset and length, ascending and apart."""

    def spans(self) -> Iterator[tuple[int, int]]:
        """Lengths of each hole and of the data after it, up to the end of the content."""
        position = 0
        for offset, length in self.regions:
            yield offset - position, length
            position = offset + length
        yield self.size - position, 0


def is_sparse(records: Records) -> bool:
    """Whether extended records describe a sparse file."""
    return any(key.startswith(PREFIX) for key in records)


def read_map(block: bytes | None, records: Records, archived: int, source: Source, limits: Limits) -> SparseMap:
    """The map of a sparse file, from the block of its header where that is old GNU, else from its records.

    `archived` is the count of bytes in the archive, with a map that stands there. Raises LayerError for a map that is
    broken, overlaps, or does not fit the sizes.
    """
    if block is not None and is_sparse(records):
        raise refusal(source.subject, "sparse in two ways")
    if block is not None:
        return _map_from_header(block, archived, source, limits)
    return _map_from_records(records, archived, source, limits)


def _map_from_records(records: Records, archived: int, source: Source, limits: Limits) -> SparseMap:
    """The map of format 0.0, 0.1 or 1.0; for the last it is read from the start of the `archived` bytes."""
    subject = source.subject
    version = (records.get(b"GNU.sparse.major"), records.get(b"GNU.sparse.minor"))
    if version == (b"1", b"0"):
        size = parse_count(records.get(b"GNU.sparse.realsize", b""), subject)
        start = source.offset
        numbers = _read_leading_map(source, archived, limits)
        archived -= source.offset - start
    elif version in ((None, None), (b"0", b"0"), (b"0", b"1")):
        size = parse_count(records.get(b"GNU.sparse.size", b""), subject)
        numbers = [parse_count(number, subject) for number in records.get(b"GNU.sparse.map", b"").split(b",")]
        if records.get(b"GNU.sparse.numblocks", b"") != b"%d" % (len(numbers) // 2):
            raise refusal(subject, "the map of this sparse file has another length than announced")
    else:
        raise refusal(subject, "unknown form of sparse file")
    return _checked(size, archived, numbers, subject)


def _map_from_header(block: bytes, archived: int, source: Source, limits: Limits) -> SparseMap:
    """The map of an old GNU header, which may go on in blocks of its own."""
    subject = source.subject
    size = parse_number(block[483:495], subject)
    numbers = _read_fields(block[386:482], subject)
    is_continued = block[482]
    while is_continued:
        extension = source.exactly(BLOCK)
        numbers += _read_fields(extension[:504], subject)
        is_continued = extension[504]
        if len(numbers) * 12 > limits.records:
            raise refusal(subject, f"the map of this sparse file is larger than {limits.records} bytes")
    return _checked(size, archived, numbers, subject)


def _read_fields(fields: bytes, subject: bytes) -> list[int]:
    """Pairs of numbers of twelve bytes; the first empty one ends the table."""
    numbers: list[int] = []
    for start in range(0, len(fields), 24):
        pair = fields[start : start + 24]
        if not pair[0]:
            break
        numbers += (parse_number(pair[:12], subject), parse_number(pair[12:], subject))
    return numbers


def _read_leading_map(source: Source, archived: int, limits: Limits) -> list[int]:
    """Decimal numbers with a newline each: how many pairs, then the pairs; filled up to a whole block."""
    numbers: list[int] = []
    rest = b""
    taken = 0
    while not numbers or len(numbers) <= 2 * numbers[0]:
        taken += BLOCK
        if taken > min(archived, limits.records) or len(rest) > _DIGITS:
            raise refusal(source.subject, "the map of this sparse file is broken or too large")
        *lines, rest = (rest + source.exactly(BLOCK)).split(b"\n")
        count = numbers[0] if numbers else parse_count(lines[0], source.subject) if lines else 0
        numbers += [parse_count(line, source.subject) for line in lines[: 2 * count + 1 - len(numbers)]]
    return numbers[1:]


def _checked(size: int, archived: int, numbers: Sequence[int], subject: bytes) -> SparseMap:
    regions = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    position = 0
    for offset, length in regions:
        if offset < position:
            raise refusal(subject, "the parts of this sparse file overlap")
        position = offset + length
    if len(numbers) % 2 or position > size or sum(length for _, length in regions) != archived:
        raise refusal(subject, "the map of this sparse file does not fit its size")
    return SparseMap(size, archived, regions)
