"""Which bytes of a blob have to be fetched, and in which ranges."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from bootc.partial.annotations import Extent, TableLocation
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
    uses_split: bool = False
    """all headers come from the data for rebuilding the tar, which are one of the spans"""

    @property
    def size(self) -> int:
        """Bytes of all spans."""
        return sum(span.size for span in self.spans)


def plan(pieces: Iterable[Piece], known: Known, rule: Rule, split: Extent | None = None) -> Plan:
    """All that is not known; of the headers only those, or all of them together (`split`), whichever takes less time.
    Raises Unusable."""
    contents, everything = _Spans(rule.gap), _Spans(rule.gap)
    for piece in pieces:
        if not is_known(piece, known):
            everything.add(piece.start, piece.end)
            if isinstance(piece, Content):
                contents.add(piece.start, piece.end)
    plans = [Plan(tuple(everything.found))] if len(everything.found) <= RANGES_LIMIT else []
    if split and len(contents.found) < RANGES_LIMIT:
        contents.add(split.offset, split.end)
        plans.append(Plan(tuple(contents.found), uses_split=True))
    if not plans:
        raise Unusable("it would take too many requests")
    return min(plans, key=lambda one: rule.seconds(one.size, len(one.spans)))


class _Spans:
    """Spans in ascending order; those with little between them are one: see `Rule.gap`."""

    def __init__(self, gap: int) -> None:
        self.found: list[Span] = []
        self._gap = gap

    def add(self, start: int, end: int) -> None:
        if self.found and start - self.found[-1].end <= self._gap:
            self.found[-1] = Span(self.found[-1].start, end)
        elif len(self.found) <= RANGES_LIMIT:
            self.found.append(Span(start, end))


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
