"""Where each inode lies. Tails do not cross a block, so that the kernel can map them from one page."""

from __future__ import annotations

from collections.abc import Iterable

from bootc_composefs.erofs import directory
from bootc_composefs.erofs.format import BLOCK, COMPACT, EXTENDED, INODES_OFFSET, NULL_CHUNK, SLOT, EntryType, Layout
from bootc_composefs.erofs.inode import Inode

_U16, _U32 = 0xFFFF, 0xFFFFFFFF


def place(inodes: Iterable[Inode], build_time: int) -> int:
    """Give all inodes their places, sizes and forms; returns where the last one ends, at a multiple of 32.

    `build_time` is the smallest modification time: only inodes with just this one can be short.
    """
    position = INODES_OFFSET
    for inode in inodes:
        tail = len(inode.tail)
        if inode.type is EntryType.DIRECTORY:
            blocks, tail = directory.measure(inode)
            inode.size = blocks * BLOCK + tail
            inode.layout = Layout.INLINE if tail else Layout.PLAIN
        owner = inode.attributes
        inode.is_compact = (
            owner.mtime == build_time
            and owner.uid <= _U16
            and owner.gid <= _U16
            and inode.nlink <= _U16
            and inode.size <= _U32
        )
        head = (COMPACT if inode.is_compact else EXTENDED).size + (inode.area.size if inode.area else 0)
        position = -(-position // SLOT) * SLOT
        if inode.type is EntryType.SYMLINK:
            position, tail = _place_symlink(inode, position, head)
        elif tail and BLOCK - (position + head) % BLOCK < tail:
            position, tail = _move(inode, position, head, tail)
        inode.nid = position // SLOT
        position += head + tail
    return -(-position // SLOT) * SLOT


def _place_symlink(inode: Inode, position: int, head: int) -> tuple[int, int]:
    """Links stay within one block as a whole (kernels before 6.12 refuse others); too long ones get a data block."""
    tail = len(inode.tail)
    total = head + tail
    if total >= BLOCK:
        inode.blocks, inode.tail, inode.layout = inode.tail.ljust(BLOCK, b"\0"), b"", Layout.PLAIN
        tail = 0
    if position // BLOCK != (position + total - 1) // BLOCK:
        position = -(-position // BLOCK) * BLOCK
    return position, tail


def _move(inode: Inode, position: int, head: int, tail: int) -> tuple[int, int]:
    """Push an inode on until its tail begins in the next block; a map of chunks may be too long for that, and fills
    a block of its own."""
    room = BLOCK - (position + head) % BLOCK
    pad = -(-room // SLOT) * SLOT
    if (position + head + pad) % BLOCK + tail <= BLOCK:
        return position + pad, tail
    inode.blocks, inode.tail = inode.tail.ljust(BLOCK, NULL_CHUNK[:1]), b""
    return -(-position // BLOCK) * BLOCK, 0
