"""Which bytes of a blob have to be fetched, and in which ranges."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from bootc.partial.annotations import TableLocation
from bootc.partial.entries import Unusable
from bootc.partial.known import Known
from bootc.partial.rule import Rule
from bootc.partial.table import Content, Piece

RANGES_LIMIT = 100_000
_BEFORE_TABLE = 4 << 10


@frozen
class Span:
    """Bytes `start` up to `end` of a blob."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.end - self.start


@frozen
class Plan:
    """What to fetch of a blob, in ascending order."""

    spans: tuple[Span, ...]

    @property
    def size(self) -> int:
        """Bytes of all spans."""
        return sum(span.size for span in self.spans)


def plan(pieces: Iterable[Piece], known: Known, rule: Rule) -> Plan:
    """All that is not known. Spans with little between them are one: see `Rule.gap`. Raises Unusable."""
    spans: list[Span] = []
    for piece in pieces:
        if is_known(piece, known):
            continue
        if spans and piece.start - spans[-1].end <= rule.gap:
            spans[-1] = Span(spans[-1].start, piece.end)
        elif len(spans) < RANGES_LIMIT:
            spans.append(Span(piece.start, piece.end))
        else:
            raise Unusable("it would take too many requests")
    return Plan(tuple(spans))


def table_span(location: TableLocation) -> Span:
    """What is fetched before there is a plan: the table, and a little before it, often the archive's last headers."""
    return Span(max(location.offset - _BEFORE_TABLE, 0), location.end)


def is_known(piece: Piece, known: Known) -> bool:
    """Whether a piece need not be fetched."""
    if isinstance(piece, Content):
        return (
            piece.is_zeros
            or known.has_content(piece.digest, piece.size)
            or (piece.size < piece.file_size and known.has_content(piece.file_digest, piece.file_size))
        )
    return piece.key is not None and known.has_gap(piece.key)
