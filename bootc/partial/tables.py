"""Fetching a table of contents, and what stands in it; also where nothing is to be kept."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import frozen

from bootc.fetcher import Ranges
from bootc.image import Descriptor
from bootc.partial.annotations import TableLocation
from bootc.partial.entries import Unusable, entries
from bootc.partial.frames import CHUNK, Decompressor, Section
from bootc.partial.table import Piece, pieces


@frozen
class Table:
    """A table of contents whose compressed bytes can be read at offsets of the blob. Verified by `require`."""

    location: TableLocation
    read_at: Callable[[int, int], bytes]

    def is_right(self) -> bool:
        """Whether it is the one that the manifest names."""
        digest, section = hashlib.sha256(), self._section()
        while data := section.read(CHUNK):
            digest.update(data)
        return digest.hexdigest() == self.location.checksum.hex

    def require(self) -> None:
        """Raise Unusable unless it is right."""
        if not self.is_right():
            raise Unusable("its table of contents does not have the digest that the manifest names")

    def pieces(self) -> Iterator[Piece]:
        """What the layer's tar consists of, read anew each time. Raises Unusable."""
        stream = Decompressor().open(self._section(), self.location.raw_length)
        return pieces(entries(stream), self.location)

    def _section(self) -> Section:
        return Section(self.read_at, self.location.offset, self.location.end)


@contextmanager
def temporary_table(source: Ranges, blob: Descriptor, location: TableLocation) -> Iterator[Table]:
    """Fetch a table for a question only. Raises FetchError, Unusable."""
    with tempfile.TemporaryFile() as file:
        with source.open_range(blob, location.offset, location.length) as stream:
            while data := stream.read(CHUNK):
                file.write(data)
                if file.tell() > location.length:
                    raise Unusable("its table of contents is longer than it should be")

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset - location.offset)
            return file.read(size)

        table = Table(location, read_at)
        table.require()
        yield table
