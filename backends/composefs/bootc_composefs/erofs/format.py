"""Numbers and structures of composefs images: see erofs_fs.h of Linux, and composefs' lcfs-erofs.h."""

from __future__ import annotations

import enum
import stat
import struct

BLOCK = 4096
SLOT = 32
"""Inodes lie at multiples of this; an inode's nid counts in it."""

HEADER_MAGIC = 0xD078629A
HEADER_VERSION = 1
HEADER_HAS_ACL = 1
HEADER = struct.Struct("<IIII16x")
"""magic, version of the header, flags, version of composefs"""

SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_MAGIC = 0xE0F5E1E2
BLOCK_BITS = 12
FEATURES = 0x2 | 0x4
"""modification times differ from the build time; names of attributes are filtered"""
SUPERBLOCK = struct.Struct("<IIIBBHQqIIII32xI44x")
"""magic, checksum, compatible features, bits of the block size, further slots, nid of the root, inodes, build time in
seconds and nanoseconds, blocks, block of the metadata, block of the shared attributes, incompatible features"""

INODES_OFFSET = SUPERBLOCK_OFFSET + SUPERBLOCK.size

COMPACT = struct.Struct("<HHHHI4xIIHH4x")
"""format, attribute count, mode, links, size, `u`, number, owner, group"""
EXTENDED = struct.Struct("<HHH2xQIIIIqII16x")
"""format, attribute count, mode, size, `u`, number, owner, group, seconds, nanoseconds, links"""
ENTRY = struct.Struct("<QHBx")
"""nid, offset of the name in the block, type"""

XATTR_HEADER = struct.Struct("<IB7x")
"""filter of names, number of shared attributes"""
XATTR_ENTRY = struct.Struct("<BBH")
"""length of the name without prefix, number of the prefix, length of the value"""
MAX_SHARED = 128
"""References to shared attributes in one inode; further attributes are written out."""

NULL_CHUNK = b"\xff\xff\xff\xff"
MIN_CHUNK_BITS, MAX_CHUNK_BITS = 12, 43
MAX_CHUNKS = 1024

WHITEOUT = b"trusted.overlay.overlay.whiteout", b"user.overlay.whiteout"
WHITEOUTS = b"trusted.overlay.overlay.whiteouts", b"user.overlay.whiteouts"
OPAQUE_WITHIN = b"trusted.overlay.overlay.opaque", b"user.overlay.opaque"
OPAQUE = b"trusted.overlay.opaque"
METACOPY = b"trusted.overlay.metacopy"
REDIRECT = b"trusted.overlay.redirect"
OVERLAY = b"trusted.overlay."
ESCAPED = b"trusted.overlay.overlay."
METACOPY_HEAD = {32: b"\x00\x24\x00\x01", 64: b"\x00\x44\x00\x02"}
"""By length of the digest: version 0, length, flags 0, number of the hash (struct ovl_metacopy)."""

STUBS = tuple(b"%02x" % number for number in range(256))
"""Names of the directories of objects, which the image hides in its root."""


class Layout(enum.IntEnum):
    """How the data of an inode is stored."""

    PLAIN = 0
    INLINE = 2
    CHUNKS = 4


class EntryType(enum.IntEnum):
    """Types of directory entries."""

    REGULAR = 1
    DIRECTORY = 2
    CHARACTER = 3
    BLOCK = 4
    FIFO = 5
    SOCKET = 6
    SYMLINK = 7


TYPE_BITS = {
    EntryType.REGULAR: stat.S_IFREG,
    EntryType.DIRECTORY: stat.S_IFDIR,
    EntryType.CHARACTER: stat.S_IFCHR,
    EntryType.BLOCK: stat.S_IFBLK,
    EntryType.FIFO: stat.S_IFIFO,
    EntryType.SOCKET: stat.S_IFSOCK,
    EntryType.SYMLINK: stat.S_IFLNK,
}
"""What the mode of an inode has besides the permissions."""


class Versions(enum.Enum):
    """Which versions of the format the writer may choose: lowest and highest, as mkcomposefs' options say.

    Version 1 also marks directories that hold whiteouts as opaque, for overlayfs within the image.
    """

    ONLY_0 = (0, 0)
    FROM_0 = (0, 1)
    """0, or 1 if there is a whiteout: what libostree and mkcomposefs without options write"""
    ONLY_1 = (1, 1)
    """what images to boot from are written with"""

    def choose(self, *, has_whiteouts: bool) -> int:
        """The version for a tree."""
        lowest, highest = self.value
        return highest if has_whiteouts else lowest
