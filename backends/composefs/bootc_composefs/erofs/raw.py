"""Inodes, data and attributes as they stand in an image. All that is read is checked against the image's size."""

from __future__ import annotations

import stat
import struct
from collections.abc import Mapping

from attrs import define

from bootc.layers.entry import NO_XATTRS
from bootc_composefs.erofs.format import (
    BLOCK,
    BLOCK_BITS,
    COMPACT,
    ENTRY,
    EXTENDED,
    FEATURES,
    HEADER,
    HEADER_MAGIC,
    HEADER_VERSION,
    INODES_OFFSET,
    SLOT,
    SUPERBLOCK,
    SUPERBLOCK_MAGIC,
    SUPERBLOCK_OFFSET,
    XATTR_ENTRY,
    XATTR_HEADER,
    Layout,
)
from bootc_composefs.erofs.xattrs import PREFIXES
from bootc_composefs.tree import SECOND

_PREFIXES = {0: b"", **dict(PREFIXES)}
_LAYOUTS = {layout.value: layout for layout in Layout}
_COUNT = struct.Struct("<I")


@define(eq=False)
class RawInode:
    """One inode, with what follows it. Made for each that is read, so it is not frozen, which takes twice the time."""

    nid: int
    number: int
    """its place in the order of the image"""
    layout: Layout
    mode: int
    nlink: int
    uid: int
    gid: int
    mtime: int
    """nanoseconds"""
    size: int
    special: int
    xattrs: Mapping[bytes, bytes]
    end: int
    """in the image, where the inode and its attributes end and the tail begins"""


class RawImage:
    """An image of composefs; ValueError or struct.error is raised where it is none, or damaged."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        magic, header, self.flags, self.version = HEADER.unpack_from(data)
        if (magic, header) != (HEADER_MAGIC, HEADER_VERSION) or self.version > 1:
            raise ValueError("not an image of composefs, or one of an unknown version")
        fields = SUPERBLOCK.unpack_from(data, SUPERBLOCK_OFFSET)
        magic, _, features, bits, _, self.root, self.count, seconds, nanoseconds, blocks, _, shared, incompatible = (
            fields
        )
        if (magic, features, bits, incompatible) != (SUPERBLOCK_MAGIC, FEATURES, BLOCK_BITS, 0):
            raise ValueError("a superblock that composefs does not write")
        if blocks * BLOCK != len(data):
            raise ValueError(f"{len(data)} bytes, where {blocks * BLOCK} should be")
        self._build_time = seconds * SECOND + nanoseconds
        self._shared = shared * BLOCK

    def inode(self, nid: int) -> RawInode:
        """The inode at a place."""
        start = nid * SLOT
        if not INODES_OFFSET <= start < len(self.data):
            raise ValueError(f"an inode at {start}, before or beyond all inodes")
        form = self.data[start] | self.data[start + 1] << 8
        layout = _LAYOUTS.get(form >> 1)
        if layout is None:
            raise ValueError(f"an inode of the unknown form {form}")
        if form & 1:
            _, count, mode, size, special, number, uid, gid, seconds, nanoseconds, nlink = EXTENDED.unpack_from(
                self.data, start
            )
            mtime = seconds * SECOND + nanoseconds
        else:
            _, count, mode, nlink, size, special, number, uid, gid = COMPACT.unpack_from(self.data, start)
            mtime = self._build_time
        end = start + (EXTENDED if form & 1 else COMPACT).size
        xattrs: Mapping[bytes, bytes] = NO_XATTRS
        if count:
            area, end = end, end + XATTR_HEADER.size + 4 * (count - 1)
            xattrs = self._xattrs(area, end)
        return RawInode(nid, number, layout, mode, nlink, uid, gid, mtime, size, special, xattrs, end)

    def contents(self, inode: RawInode) -> bytes:
        """The data of a directory, link or small file."""
        rest = inode.size % BLOCK if inode.layout is Layout.INLINE else 0
        blocks = self._slice(inode.special * BLOCK, inode.size - rest) if inode.size > rest else b""
        return blocks + self._slice(inode.end, rest)

    def entries(self, inode: RawInode) -> list[tuple[bytes, int]]:
        """Names in a directory with the places of their inodes, without `.` and `..`."""
        if not stat.S_ISDIR(inode.mode):
            raise ValueError("entries of something that is no directory")
        data, found = self.contents(inode), list[tuple[bytes, int]]()
        for start in range(0, len(data), BLOCK):
            found += _block_entries(data[start : start + BLOCK])
        return [entry for entry in found if entry[0] not in (b".", b"..")]

    def _xattrs(self, start: int, end: int) -> dict[bytes, bytes]:
        _, references = XATTR_HEADER.unpack_from(self.data, start)
        position = start + XATTR_HEADER.size + 4 * references
        if position > end or end > len(self.data):
            raise ValueError("attributes that there is no room for")
        found: dict[bytes, bytes] = {}
        for at in range(position - 4 * references, position, 4):
            key, value, _ = self._xattr(self._shared + 4 * _COUNT.unpack_from(self.data, at)[0])
            found[key] = value
        while position < end:
            key, value, position = self._xattr(position)
            found[key] = value
        return found

    def _xattr(self, position: int) -> tuple[bytes, bytes, int]:
        """Name and value of an attribute, and where the next one begins."""
        length, prefix, size = XATTR_ENTRY.unpack_from(self.data, position)
        start = position + XATTR_ENTRY.size
        middle = start + length
        end = middle + size
        if prefix not in _PREFIXES or end > len(self.data):
            raise ValueError(f"an extended attribute at {position} with an unknown prefix, or beyond the end")
        return _PREFIXES[prefix] + self.data[start:middle], self.data[middle:end], end + -end % 4

    def _slice(self, start: int, size: int) -> bytes:
        if size > len(self.data) or start + size > len(self.data):
            raise ValueError(f"{size} bytes at {start}, beyond the end")
        return self.data[start : start + size]


def _block_entries(block: bytes) -> list[tuple[bytes, int]]:
    """Entries of one block; the offset of the first name tells how many there are."""
    first = ENTRY.unpack_from(block)[1]
    if first % ENTRY.size or not 0 < first <= len(block):
        raise ValueError("a directory block without a count of entries")
    found = list(ENTRY.iter_unpack(block[:first]))
    last, end = found[-1][1], len(block.rstrip(b"\0"))
    ends = [*(offset for _, offset, _ in found[1:]), max(last, end)]
    return [(block[start:end], nid) for (nid, start, _), end in zip(found, ends, strict=True)]
