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
class TableLocation:
    """Where the table of contents lies in the blob, and what it must be. Offsets and lengths are bytes."""

    offset: int
    length: int
    raw_length: int
    checksum: Digest
    content_end: int
    """the frames of the tar stream end here"""

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
    split = _numbers(annotations.get(f"{used[0]}tarsplit-position", "")) or position
    try:
        checksum = Digest.parse(annotations.get(f"{used[0]}manifest-checksum", ""))
    except ReferenceError:
        return None
    if len(position) != 4 or position[3] != 1 or checksum.algorithm != "sha256":
        return None
    offset, length, raw_length = position[:3]
    content_end = min(offset, split[0]) - _SKIPPABLE
    is_possible = 0 < length <= TABLE_LIMIT and 0 < raw_length <= RAW_LIMIT and offset + length <= size
    return TableLocation(offset, length, raw_length, checksum, content_end) if is_possible and content_end > 0 else None


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(":")] if _NUMBERS.fullmatch(text) else []
