"""The headers of a tar as the data for rebuilding it has them (tar-split), which newer tools put behind the layer.

It is zstd-compressed; each line is an object of JSON. Of type 2 are bytes of the tar (`payload`, base64), headers and
padding; of type 1 stands for the content of a file (`size`), in the order of the archive. Nothing of it is trusted: the
digest of the whole tar decides.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any

from bootc.fetcher import Readable
from bootc.partial.annotations import Extent
from bootc.partial.entries import Unusable
from bootc.partial.frames import CHUNK, Decompressor, Section

_LINE_LIMIT = 4 << 20


class SplitHeaders:
    """What stands between the contents, one gap after the other. For one pass."""

    def __init__(self, read_at: Callable[[int, int], bytes], extent: Extent) -> None:
        section = Section(read_at, extent.offset, extent.end)
        self._lines = _lines(Decompressor().open(section, extent.raw_length))

    def following(self) -> Iterator[bytes]:
        """The next gap, in pieces. Raises Unusable for what is damaged; what is missing is empty."""
        for line in self._lines:
            try:
                record: Any = json.loads(line)
                kind, size = record["type"], record.get("size", 0)
                payload = b64decode(record["payload"], validate=True) if kind == 2 else b""
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                raise Unusable("its data for rebuilding the tar are damaged") from error
            if kind == 1 and size:
                return
            if payload:
                yield payload


def _lines(stream: Readable) -> Iterator[bytes]:
    rest = b""
    while data := stream.read(CHUNK):
        *whole, rest = (rest + data).split(b"\n")
        yield from filter(None, whole)
        if len(rest) > _LINE_LIMIT:
            raise Unusable("its data for rebuilding the tar have a line beyond measure")
    if rest:
        yield rest
