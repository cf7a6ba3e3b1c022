"""What an update will cost, told from the tables of contents of its layers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from bootc.errors import FetchError
from bootc.fetcher import Ranges, Source
from bootc.image import Descriptor, Layer
from bootc.partial.annotations import locate
from bootc.partial.entries import Unusable
from bootc.partial.known import Known
from bootc.partial.plan import Span, plan, table_span
from bootc.partial.prediction import LayerPrediction, Method, Prediction
from bootc.partial.rule import Rule
from bootc.partial.table import Content, Piece
from bootc.partial.tables import Table, temporary_table


def _nothing_held(blob: Descriptor) -> int:
    return 0


def predict(
    source: Source,
    missing: Sequence[Layer],
    known: Known,
    rule: Rule,
    held: Callable[[Descriptor], int] = _nothing_held,
) -> Prediction:
    """What fetching these layers will cost. Reads the tables of contents of those that have one, by range. `held` tells
    how many bytes of a blob an earlier run left.

    Never raises for a layer that cannot be fetched in parts, or whose table cannot be read: it will be fetched whole.
    """
    return Prediction(tuple(_predicted(source, layer, known, rule, held) for layer in missing))


def contents_of(source: Source, layers: Sequence[Layer]) -> Known:
    """What a machine will know that has these layers, read from their tables of contents. Layers without one add
    nothing."""
    known = _Listed()
    for layer in layers:
        with suppress(Unusable, FetchError, OSError), _table(source, layer) as table:
            for piece in table.pieces():
                known.add(piece)
    return known


class _Listed(Known):
    def __init__(self) -> None:
        self._digests: set[bytes] = set()
        self._keys: set[bytes] = set()

    def add(self, piece: Piece) -> None:
        """Take it as known."""
        if isinstance(piece, Content):
            self._digests |= {piece.digest, piece.file_digest}
        elif piece.key:
            self._keys.add(piece.key)

    @property
    def is_empty(self) -> bool:
        return not self._digests

    def has_content(self, digest: bytes, size: int) -> bool:
        return digest in self._digests

    def has_gap(self, key: bytes) -> bool:
        return key in self._keys


@contextmanager
def _table(source: Source, layer: Layer) -> Iterator[Table]:
    location = locate(layer)
    if location is None or not isinstance(source, Ranges):
        raise Unusable("it has no table of contents, or the source serves no ranges")
    with temporary_table(source, layer.blob, location) as table:
        yield table


def _predicted(
    source: Source, layer: Layer, known: Known, rule: Rule, held: Callable[[Descriptor], int]
) -> LayerPrediction:
    digest, size = layer.descriptor.digest, layer.expected_size
    left = max(size - held(layer.blob), 0)
    try:
        location = locate(layer)
        if location is None or source.is_local or known.is_empty:
            raise Unusable("nothing of it can be here")
        table_part = table_span(location)
        if not rule.pays(table_part.size, 2, left):
            raise Unusable("it is too small")
        with _table(source, layer) as table:
            needed = plan(table.pieces(), known, rule, location.split).spans
            spans = [_before(part, table_part) for part in needed if part.start < table_part.start]
            fetched = sum(part.size for part in spans)
            if rule.pays(fetched, len(spans), left):
                return LayerPrediction(digest, Method.PARTS, size, fetched + table_part.size, len(spans) + 1)
    except (Unusable, FetchError, OSError):  # There may be no room even for the table.
        pass
    return LayerPrediction(digest, Method.WHOLE, size, left, 1 if left else 0)


def _before(part: Span, table_part: Span) -> Span:
    """What of a part is not fetched with the table already."""
    return Span(part.start, min(part.end, table_part.start))
