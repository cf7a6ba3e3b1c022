"""A layer's exact tar from its pieces: what was fetched, what is known of headers, and what present images have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO

from attrs import field, frozen

from bootc.fetcher import Readable
from bootc.partial.entries import Unusable
from bootc.partial.frames import CHUNK, Decompressor, Section, compressed
from bootc.partial.local import WHOLE, LocalContents
from bootc.partial.parts import PartialBlob
from bootc.partial.plan import Span
from bootc.partial.split import SplitHeaders
from bootc.partial.table import Content, Gap, Piece
from bootc.state.contents import ContentsWriter

GAP_LIMIT = 256 << 10
"""bytes of a gap's frame; a longer one is fetched again next time"""
_HEADERS_LIMIT = 64 << 20
"""bytes of tar in one gap"""
_ZEROS = bytes(CHUNK)
_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")
"""in names: JSON can also spell what is no text"""


@frozen
class Rebuilder:
    """Puts the pieces together. What is missing or wrong is fetched by `fetch`, which raises FetchError or Unusable."""

    blob: PartialBlob
    local: LocalContents
    fetch: Callable[[Span], None]
    record: ContentsWriter
    """what becomes known of the layer; true only if the whole tar proves right"""
    headers: SplitHeaders | None = None
    """where all headers come from, if not from the blob and from what is known"""
    decompressor: Decompressor = field(factory=Decompressor, init=False)

    def tar(self, pieces: Iterable[Piece]) -> Iterator[bytes]:
        """The tar stream, unverified. Raises FetchError or Unusable where it cannot go on: then whole pieces have been
        given, or the beginning of one."""
        for piece in pieces:
            yield from self._content(piece) if isinstance(piece, Content) else self._gap(piece)

    def _content(self, content: Content) -> Iterator[bytes]:
        note(self.record, content)
        if content.is_zeros:
            return _zeros(content.size)
        span = Span(content.start, content.end)
        if not self.blob.has(span):
            found = self.local.content(content)
            if found is not None:
                return _measured(found, content.size)
            self.fetch(span)
        first = self._fetched(content)
        if first is None:
            self.fetch(span)  # What was here from an earlier run, or came from a server, is not what it should be.
            first = self._fetched(content)
        if first is None:
            raise Unusable("a chunk does not have its digest")
        return first

    def _fetched(self, content: Content) -> Iterator[bytes] | None:
        """A chunk from the blob, in pieces; None if it is not what the table of contents says."""
        if content.size <= WHOLE:
            try:
                data = b"".join(self._frames(content, content.size))
            except Unusable:
                return None
            return iter((data,)) if hashlib.sha256(data).digest() == content.digest else None
        digest = hashlib.sha256()
        try:
            for data in self._frames(content, content.size):
                digest.update(data)
        except Unusable:
            return None
        if digest.digest() != content.digest:
            return None
        return _measured(self._frames(content, content.size), content.size)

    def _gap(self, gap: Gap) -> Iterator[bytes]:
        if self.headers:
            return self._split(gap, self.headers)
        span = Span(gap.start, gap.end)
        frame = None
        if not self.blob.has(span):
            frame = self.local.gap(gap.key) if gap.key else None
            if frame is None:
                self.fetch(span)
        if frame is None and gap.key and span.size <= GAP_LIMIT:
            frame = self.blob.read(span.start, span.size)
        if frame is None or gap.key is None:
            return self._frames(gap, _HEADERS_LIMIT)
        self.record.add_gap(gap.key, frame)
        return self._unpacked(BytesIO(frame), _HEADERS_LIMIT)

    def _split(self, gap: Gap, headers: SplitHeaders) -> Iterator[bytes]:
        kept = bytearray()
        for data in headers.following():
            if len(kept) <= GAP_LIMIT:
                kept += data
            yield data
        if gap.key and len(kept) <= GAP_LIMIT:
            self.record.add_gap(gap.key, compressed(kept))

    def _frames(self, piece: Piece, limit: int) -> Iterator[bytes]:
        return self._unpacked(Section(self.blob.read, piece.start, piece.end), limit)

    def _unpacked(self, stream: Readable, limit: int) -> Iterator[bytes]:
        frames = self.decompressor.open(stream, limit)
        return iter(lambda: frames.read(CHUNK), b"")


def note(record: ContentsWriter, content: Content) -> None:
    """Record where a content will lie in the image's tree, as a chunk and, with the first one, as a whole file."""
    path = content.path.removeprefix("./").strip("/")
    if _IMPOSSIBLE.search(path) or ".." in path.split("/") or not path:
        return
    if content.offset == 0 and content.size < content.file_size:
        record.add_content(path, 0, content.file_size, content.file_digest)
    if not content.is_zeros:
        record.add_content(path, content.offset, content.size, content.digest)


def _measured(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The pieces, which must have this size together."""
    left = size
    try:
        for data in pieces:
            left -= len(data)
            yield data
    except Unusable:
        raise
    except Exception as error:
        raise Unusable("a present image cannot be read") from error
    if left:
        raise Unusable("a present image changed while it was read")


def _zeros(size: int) -> Iterator[bytes]:
    while size:
        data = _ZEROS[:size]
        size -= len(data)
        yield data
