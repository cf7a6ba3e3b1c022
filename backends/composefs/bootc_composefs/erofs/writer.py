"""The bytes of an image."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from io import BytesIO

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
    SLOT,
    SUPERBLOCK,
    SUPERBLOCK_MAGIC,
    SUPERBLOCK_OFFSET,
    TYPE_BITS,
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
    table = _encode_xattrs(inodes)
    build_time = min(inode.attributes.mtime for inode in inodes)
    end = place(inodes, build_time)
    first_block = -(-(end + len(table.data)) // BLOCK)
    count, top = len(inodes), inodes[0].nid
    image = BytesIO()
    data = _write_inodes(inodes, image, end, first_block)
    image.write(bytes(end - image.tell()) + table.data)
    image.write(bytes(first_block * BLOCK - image.tell()))
    image.writelines(data)
    blocks = image.tell() // BLOCK
    flags = 0 if _ACLS.isdisjoint(table.names) else HEADER_HAS_ACL
    image.seek(0)
    image.write(HEADER.pack(HEADER_MAGIC, HEADER_VERSION, flags, planned.version))
    image.seek(SUPERBLOCK_OFFSET)
    image.write(_superblock(top, count, build_time, end // BLOCK, blocks))
    return image.getvalue()


def _encode_xattrs(inodes: Iterable[Inode]) -> SharedTable:
    """Give all inodes their areas; the attributes themselves, of which there are very many, are let go one by one."""
    table = SharedTable(inode.xattrs for inode in inodes)
    for inode in inodes:
        if inode.xattrs:
            inode.area = Area(inode.xattrs, table.offsets)
            inode.xattrs = ()
    return table


def _superblock(top: int, count: int, build_time: int, shared: int, blocks: int) -> bytes:
    """`top` is the place of the root, `count` how many inodes there are, `shared` the block in which the table of
    attributes begins, `blocks` the size of the image."""
    seconds, nanoseconds = divmod(build_time, SECOND)
    return SUPERBLOCK.pack(
        SUPERBLOCK_MAGIC, 0, FEATURES, BLOCK_BITS, 0, top, count, seconds, nanoseconds, blocks, 0, shared, 0
    )


def _write_inodes(inodes: deque[Inode], image: BytesIO, end: int, first_block: int) -> list[bytes]:
    """Write the inodes to their places and let each go, so that the image grows in the room that they leave.

    `end` is where the last one ends. Gives the data, whose blocks begin with `first_block`.
    """
    data: list[bytes] = []
    block, table = first_block, end % BLOCK
    for number in range(len(inodes)):
        inode = inodes.popleft()
        blocks, tail = directory.encode(inode) if inode.type is EntryType.DIRECTORY else (inode.blocks, inode.tail)
        special = inode.special
        if blocks:
            special = block if inode.layout is not Layout.CHUNKS else special
            data.append(blocks)
            block += len(blocks) // BLOCK
        area = inode.area.encode(table) if inode.area else b""
        image.seek(inode.nid * SLOT)
        image.write(_head(inode, number, special) + area + tail)
        inode.children = ()  # a directory has itself as `.`: without this, it would be kept as a cycle
    return data


def _head(inode: Inode, number: int, special: int) -> bytes:
    """The inode itself, of 32 or 64 bytes."""
    owner = inode.attributes
    count = inode.area.count if inode.area else 0
    form, mode = inode.layout << 1, TYPE_BITS[inode.type] | owner.mode
    if inode.is_compact:
        return COMPACT.pack(form, count, mode, inode.nlink, inode.size, special, number, owner.uid, owner.gid)
    seconds, nanoseconds = divmod(owner.mtime, SECOND)
    return EXTENDED.pack(
        form | 1,
        count,
        mode,
        inode.size,
        special,
        number,
        owner.uid,
        owner.gid,
        seconds,
        nanoseconds,
        inode.nlink,
    )
