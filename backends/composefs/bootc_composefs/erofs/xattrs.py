"""Extended attributes of EROFS: how one is encoded, which are shared, and the area behind each inode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TypeAlias

from bootc_composefs.erofs.format import MAX_SHARED, XATTR_ENTRY, XATTR_HEADER
from bootc_composefs.erofs.xxhash import xxh32

Pair: TypeAlias = tuple[bytes, bytes]
"""Name and value of an attribute."""

PREFIXES = (
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
)
_FILTER_SEED = 0x25BBE08F
_ALL = 0xFFFFFFFF
_PADS = (b"", bytes(3), bytes(2), bytes(1))


class SharedTable:
    """The attributes that more than one inode has, each written once behind the inodes."""

    def __init__(self, inodes: Iterable[Sequence[Pair]]) -> None:
        """`inodes` are the attributes of all inodes of the image."""
        counts = Counter(chain.from_iterable(inodes))
        self.names = {key for key, _ in counts}
        """Of all attributes in the image, shared or not."""
        ordered = sorted((pair for pair, count in counts.items() if count > 1), key=_descending, reverse=True)
        self.offsets: dict[Pair, int] = {}
        """Where each lies in the table."""
        parts, size = [], 0
        for pair in ordered:
            self.offsets[pair] = size
            parts.append(encode(*pair))
            size += len(parts[-1])
        self.data = b"".join(parts)


def _descending(pair: Pair) -> tuple[bytes, int, bytes]:
    key, value = pair
    return key, len(value), value


class Area:
    """The attributes behind one inode, as far as they do not depend on where the shared ones lie."""

    __slots__ = ("_filter", "_references", "_rest", "size")

    def __init__(self, pairs: Iterable[Pair], offsets: Mapping[Pair, int]) -> None:
        """`pairs` are at least one, in order of their names."""
        references: list[int] = []
        rest = b""
        unused = 0
        for pair in pairs:
            key, value = pair
            unused |= _filter_bit(key)
            offset = offsets.get(pair)
            if offset is None or len(references) == MAX_SHARED:
                rest += encode(key, value)
            else:
                references.append(offset)
        self._filter, self._references, self._rest = _ALL ^ unused, references, rest
        self.size = XATTR_HEADER.size + 4 * len(references) + len(rest)
        """Bytes; a multiple of 4."""

    @property
    def count(self) -> int:
        """The size as the inode says it."""
        return (self.size - XATTR_HEADER.size) // 4 + 1

    def encode(self, table: int) -> bytes:
        """The bytes, when the table of shared attributes begins at `table` in its block."""
        references = b"".join([((table + offset) >> 2).to_bytes(4, "little") for offset in self._references])
        return XATTR_HEADER.pack(self._filter, len(self._references)) + references + self._rest


def encode(key: bytes, value: bytes) -> bytes:
    """One attribute, filled up to a multiple of 4 bytes."""
    entry = _head(key, len(value)) + value
    return entry + _PADS[len(entry) & 3]


@lru_cache(1024)
def split(key: bytes) -> tuple[int, bytes]:
    """The number of a name's prefix, and the rest of the name; 0 and the whole name if it has none of the known."""
    for number, prefix in PREFIXES:
        if key.startswith(prefix):
            return number, key[len(prefix) :]
    return 0, key


@lru_cache(1024)
def _head(key: bytes, length: int) -> bytes:
    number, suffix = split(key)
    return XATTR_ENTRY.pack(len(suffix), number, length) + suffix


@lru_cache(1024)
def _filter_bit(key: bytes) -> int:
    number, suffix = split(key)
    return 1 << (xxh32(suffix, _FILTER_SEED + number) & 31)
