"""The bytes of an image."""

from __future__ import annotations

from collections.abc import Sequence

from bootc_composefs.collector import paused_collector
from bootc_composefs.erofs import directory
from bootc_composefs.erofs.format import (
    BLOCK,
    BLOCK_BITS,
    COMPACT,
    EXTENDED,
    FEATURES,
    HEADER,
    HEADER_HAS_ACL,
    HEADER_MAGIC,
    HEADER_VERSION,
    INODES_OFFSET,
    SLOT,
    SUPERBLOCK,
    SUPERBLOCK_MAGIC,
    SUPERBLOCK_OFFSET,
    EntryType,
    Layout,
    Versions,
)
from bootc_composefs.erofs.inode import Inode
from bootc_composefs.erofs.layout import place
from bootc_composefs.erofs.plan import plan
from bootc_composefs.erofs.xattrs import Area, SharedTable
from bootc_composefs.tree import SECOND, Directory

_ACLS = {b"system.posix_acl_access", b"system.posix_acl_default"}


@paused_collector()
def make_image(root: Directory, versions: Versions = Versions.ONLY_1) -> bytes:
    """The composefs image of a tree, byte for byte as mkcomposefs 1.0.8 writes it with these versions.

    Raises TreeError for a tree that no image can hold.
    """
    planned = plan(root, versions)
    inodes = planned.inodes
    table = SharedTable(inode.xattrs for inode in inodes)
    for inode in inodes:
        if inode.xattrs:
            inode.area = Area(inode.xattrs, table.offsets)
    build_time = min(inode.attributes.mtime for inode in inodes)
    end = place(inodes, build_time)
    padding = -(end + len(table.data)) % BLOCK
    first_block = (end + len(table.data) + padding) // BLOCK
    metadata, data = _encode(inodes, end, first_block)
    flags = 0 if _ACLS.isdisjoint(table.names) else HEADER_HAS_ACL
    header = HEADER.pack(HEADER_MAGIC, HEADER_VERSION, flags, planned.version)
    superblock = _superblock(inodes, build_time, end // BLOCK, first_block + len(data) // BLOCK)
    for inode in inodes:
        inode.children.clear()  # a directory has itself as `.`: without this, all would be kept as a cycle
    return b"".join([header.ljust(SUPERBLOCK_OFFSET, b"\0"), superblock, metadata, table.data, bytes(padding), data])


def _superblock(inodes: Sequence[Inode], build_time: int, shared: int, blocks: int) -> bytes:
    """`shared` is the block in which the table of attributes begins, `blocks` the size of the image."""
    seconds, nanoseconds = divmod(build_time, SECOND)
    number, count = inodes[0].nid, len(inodes)
    return SUPERBLOCK.pack(
        SUPERBLOCK_MAGIC, 0, FEATURES, BLOCK_BITS, 0, number, count, seconds, nanoseconds, blocks, 0, shared, 0
    )


def _encode(inodes: Sequence[Inode], end: int, first_block: int) -> tuple[bytes, bytes]:
    """The inodes up to where they end, and the data, whose blocks begin with `first_block`."""
    parts: list[bytes] = []
    data: list[bytes] = []
    position, block, table = INODES_OFFSET, first_block, end % BLOCK
    for number, inode in enumerate(inodes):
        blocks, tail = directory.encode(inode) if inode.type is EntryType.DIRECTORY else (inode.blocks, inode.tail)
        gap = inode.nid * SLOT - position
        if gap:
            parts.append(bytes(gap))
        special = inode.special
        if blocks:
            special = block if inode.layout is not Layout.CHUNKS else special
            data.append(blocks)
            block += len(blocks) // BLOCK
        area = inode.area.encode(table) if inode.area else b""
        head = _head(inode, number, special)
        parts += (head, area, tail)
        position = inode.nid * SLOT + len(head) + len(area) + len(tail)
    parts.append(bytes(end - position))
    return b"".join(parts), b"".join(data)


def _head(inode: Inode, number: int, special: int) -> bytes:
    """The inode itself, of 32 or 64 bytes."""
    owner = inode.attributes
    count = inode.area.count if inode.area else 0
    form = inode.layout << 1
    if inode.is_compact:
        return COMPACT.pack(form, count, inode.mode, inode.nlink, inode.size, special, number, owner.uid, owner.gid)
    seconds, nanoseconds = divmod(owner.mtime, SECOND)
    return EXTENDED.pack(
        form | 1,
        count,
        inode.mode,
        inode.size,
        special,
        number,
        owner.uid,
        owner.gid,
        seconds,
        nanoseconds,
        inode.nlink,
    )
