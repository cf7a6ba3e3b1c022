"""What becomes known of a layer that was fetched whole, so that the next one can be fetched in parts."""

from __future__ import annotations

from bootc.partial.rebuild import GAP_LIMIT, note
from bootc.partial.table import Content
from bootc.partial.tables import Table
from bootc.state.contents import ContentsWriter


def record_whole(table: Table) -> ContentsWriter:
    """Everything that a table says, and the frames of the gaps. The blob must have been verified. Raises Unusable."""
    table.require()
    writer = ContentsWriter()
    for piece in table.pieces():
        if isinstance(piece, Content):
            note(writer, piece)
        elif piece.key and piece.end - piece.start <= GAP_LIMIT:
            writer.add_gap(piece.key, table.read_at(piece.start, piece.end - piece.start))
    return writer
