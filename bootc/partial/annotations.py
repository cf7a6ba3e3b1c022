"""What a manifest says of a layer in the form zstd:chunked (containers/storage): where its table of contents lies.

The annotations `manifest-position` (`offset:length:raw length:1`), `manifest-checksum` (of the compressed table) and,
from containers/storage 1.48 on, `tarsplit-position` have one of two prefixes, the second from before 1.44. They are
part of the manifest, and so as trustworthy as it is.
"""

from __future__ import annotations

import re

from attrs import frozen

from bootc.errors import ReferenceError
from bootc.image import Digest, Layer

PREFIXES = ("io.github.containers.zstd-chunked.", "io.containers.zstd-chunked.")
TABLE_LIMIT = 64 << 20
"""bytes of a compressed table"""
RAW_LIMIT = 512 << 20
"""bytes of its JSON, which is read as a stream"""

_OTHER_TABLE = "containerd.io/snapshot/stargz/toc.digest"
_NUMBERS = re.compile(r"[0-9]{1,18}(:[0-9]{1,18}){2,3}")
_SKIPPABLE = 8
"""bytes of the header before a frame that decompressors pass over (RFC 8878, 3.1.2)"""


@frozen
class Extent:
    """Something compressed in the blob."""

    offset: int
    length: int
    raw_length: int

    @property
    def end(self) -> int:
        """Behind its last byte."""
        return self.offset + self.length

    def is_within(self, size: int) -> bool:
        """Whether it can lie in a blob of this size, and is no larger than it may be."""
        return 0 < self.length <= TABLE_LIMIT and 0 < self.raw_length <= RAW_LIMIT and self.end <= size


@frozen
class TableLocation:
    """Where the table of contents lies in the blob, and what it must be. Offsets and lengths are bytes."""

    offset: int
    length: int
    raw_length: int
    checksum: Digest
    content_end: int
    """the frames of the tar stream end here"""
    split: Extent | None = None
    """the data for rebuilding the tar; see `bootc.partial.split`"""

    @property
    def end(self) -> int:
        """Behind its last byte."""
        return self.offset + self.length


def locate(layer: Layer) -> TableLocation | None:
    """The table of a layer that is served as the manifest names it; None if it has none, or not beyond doubt."""
    annotations, size = layer.descriptor.annotations, layer.blob.size
    used = [prefix for prefix in PREFIXES if f"{prefix}manifest-position" in annotations]
    if len(used) != 1 or _OTHER_TABLE in annotations or size is None or layer.blob.digest != layer.descriptor.digest:
        return None
    position = _numbers(annotations.get(f"{used[0]}manifest-position", ""))
    split = _extent(annotations.get(f"{used[0]}tarsplit-position", ""))
    try:
        checksum = Digest.parse(annotations.get(f"{used[0]}manifest-checksum", ""))
    except ReferenceError:
        return None
    if len(position) != 4 or position[3] != 1 or checksum.algorithm != "sha256":
        return None
    table = Extent(*position[:3])
    content_end = min(table.offset, split.offset if split else table.offset) - _SKIPPABLE
    if not table.is_within(size) or content_end <= 0:
        return None
    usable = split if split and split.is_within(size) else None
    return TableLocation(table.offset, table.length, table.raw_length, checksum, content_end, usable)


def _extent(text: str) -> Extent | None:
    numbers = _numbers(text)
    return Extent(*numbers) if len(numbers) == 3 else None


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(":")] if _NUMBERS.fullmatch(text) else []
