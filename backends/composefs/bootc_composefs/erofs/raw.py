"""Inodes, data and attributes as they stand in an image. All that is read is checked against the image's size."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping

from attrs import define

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
        if start < INODES_OFFSET:
            raise ValueError(f"an inode at {start}, before all inodes")
        form = int.from_bytes(self._slice(start, 2), "little")
        layout = Layout(form >> 1)
        if form & 1:
            _, count, mode, size, special, number, uid, gid, seconds, nanoseconds, nlink = EXTENDED.unpack_from(
                self.data, start
            )
            mtime = seconds * SECOND + nanoseconds
        else:
            _, count, mode, nlink, size, special, number, uid, gid = COMPACT.unpack_from(self.data, start)
            mtime = self._build_time
        area = start + (EXTENDED if form & 1 else COMPACT).size
        end = area + (XATTR_HEADER.size + 4 * (count - 1) if count else 0)
        xattrs = self._xattrs(area, end) if count else {}
        return RawInode(nid, number, layout, mode, nlink, uid, gid, mtime, size, special, xattrs, end)

    def contents(self, inode: RawInode) -> bytes:
        """The data of a directory, link or small file."""
        rest = inode.size % BLOCK if inode.layout is Layout.INLINE else 0
        blocks = self._slice(inode.special * BLOCK, inode.size - rest) if inode.size > rest else b""
        return blocks + self._slice(inode.end, rest)

    def entries(self, inode: RawInode) -> Iterator[tuple[bytes, int]]:
        """Names in a directory with the places of their inodes, without `.` and `..`."""
        if not stat.S_ISDIR(inode.mode):
            raise ValueError("entries of something that is no directory")
        data = self.contents(inode)
        for start in range(0, len(data), BLOCK):
            for name, nid in _block_entries(data[start : start + BLOCK]):
                if name not in (b".", b".."):
                    yield name, nid

    def _xattrs(self, start: int, end: int) -> dict[bytes, bytes]:
        area = self._slice(start, end - start)
        _, references = XATTR_HEADER.unpack_from(area)
        position = XATTR_HEADER.size + 4 * references
        if position > len(area):
            raise ValueError("more shared attributes than there is room for")
        found: dict[bytes, bytes] = {}
        for at in range(XATTR_HEADER.size, position, 4):
            key, value, _ = self._xattr(self._shared + 4 * int.from_bytes(area[at : at + 4], "little"))
            found[key] = value
        position += start
        while position < end:
            key, value, position = self._xattr(position)
            found[key] = value
        return found

    def _xattr(self, position: int) -> tuple[bytes, bytes, int]:
        """Name and value of an attribute, and where the next one begins."""
        length, prefix, size = XATTR_ENTRY.unpack_from(self.data, position)
        start = position + XATTR_ENTRY.size
        if prefix not in _PREFIXES:
            raise ValueError(f"an extended attribute with the unknown prefix {prefix}")
        key, value = self._slice(start, length), self._slice(start + length, size)
        end = start + length + size
        return _PREFIXES[prefix] + key, value, end + -end % 4

    def _slice(self, start: int, size: int) -> bytes:
        if size > len(self.data) or start + size > len(self.data):
            raise ValueError(f"{size} bytes at {start}, beyond the end")
        return self.data[start : start + size]


def _block_entries(block: bytes) -> Iterator[tuple[bytes, int]]:
    """Entries of one block; the offset of the first name tells how many there are."""
    first = ENTRY.unpack_from(block)[1]
    if first % ENTRY.size or not 0 < first <= len(block):
        raise ValueError("a directory block without a count of entries")
    found = list(ENTRY.iter_unpack(block[:first]))
    ends = [*(offset for _, offset, _ in found[1:]), len(block)]
    for number, ((nid, start, _), end) in enumerate(zip(found, ends, strict=True), 1):
        name = block[start:end]
        yield name.rstrip(b"\0") if number == len(found) else name, nid
