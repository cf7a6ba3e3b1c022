"""Inodes of the image from single nodes of the tree: attributes escaped, contents turned into data or attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from attrs import define, evolve

from bootc_composefs.erofs import check
from bootc_composefs.erofs.format import (
    BLOCK,
    ESCAPED,
    MAX_CHUNK_BITS,
    METACOPY,
    METACOPY_HEAD,
    MIN_CHUNK_BITS,
    NULL_CHUNK,
    OVERLAY,
    REDIRECT,
    WHITEOUT,
    EntryType,
    Layout,
)
from bootc_composefs.erofs.xattrs import Area, Pair
from bootc_composefs.tree import Attributes, Directory, File, Kind, Node, Object, Special, Symlink

MAX_TAIL = BLOCK // 2
"""A longer piece of directories and small files gets a block of its own."""
_STUB_MODE = 0o644
_LABEL = b"security.selinux"
_TYPES = {
    Kind.CHARACTER: EntryType.CHARACTER,
    Kind.BLOCK: EntryType.BLOCK,
    Kind.FIFO: EntryType.FIFO,
    Kind.SOCKET: EntryType.SOCKET,
}


@define(eq=False)
class Inode:
    """One inode of the image. What depends on other inodes is filled in later."""

    type: EntryType
    attributes: Attributes
    nlink: int
    size: int
    xattrs: Sequence[Pair]
    """in order of names; none once they are in the area"""
    layout: Layout = Layout.PLAIN
    special: int = 0
    """number of a device; logarithm of the blocks in a chunk, for a file in objects"""
    blocks: bytes = b""
    """data in blocks of their own, the last one filled up with zeros"""
    tail: bytes = b""
    """the last piece of data, or the map of chunks, behind the inode"""
    children: Sequence[tuple[bytes, Inode]] = ()
    """of a directory, in order of names, with `.` and `..`"""
    area: Area | None = None
    is_compact: bool = False
    nid: int = 0
    """its place in the image, in units of 32 bytes"""


def make_inode(node: Node) -> Inode:
    """The inode for a node of the tree. Raises ValueError for what the image cannot hold."""
    match node:
        case File():
            return _file(node)
        case Directory():
            return _inode(EntryType.DIRECTORY, node.attributes, 2)
        case Symlink():
            return _symlink(node)
        case Special():
            return _whiteout(node) if node.is_whiteout else _special(node)


def make_stub(root: Attributes) -> Inode:
    """The inode that hides a directory of objects: a whiteout that overlayfs is meant to obey."""
    label = [(_LABEL, root.xattrs[_LABEL])] if _LABEL in root.xattrs else []
    return Inode(EntryType.CHARACTER, evolve(root, mode=_STUB_MODE), 1, 0, label)


def replaced(xattrs: Iterable[Pair], further: Mapping[bytes, bytes]) -> list[Pair]:
    """Attributes with further ones, which win; in order of names."""
    return sorted((dict(xattrs) | dict(further)).items())


def _inode(type: EntryType, attributes: Attributes, nlink: int) -> Inode:
    check.numbers(attributes, nlink)
    return Inode(type, attributes, nlink, 0, _escaped(attributes.xattrs) if attributes.xattrs else ())


def _escaped(xattrs: Mapping[bytes, bytes]) -> list[Pair]:
    check.xattrs(xattrs)
    return sorted([(_escape(key), value) for key, value in xattrs.items()])


@lru_cache(1024)
def _escape(key: bytes) -> bytes:
    return ESCAPED + key[len(OVERLAY) :] if key.startswith(OVERLAY) else key


def _file(file: File) -> Inode:
    inode = _inode(EntryType.REGULAR, file.attributes, file.nlink)
    inode.size = file.size
    if isinstance(file.content, Object):
        if file.size:
            _refer(inode, file.content)
    else:
        check.inline(file.content, file.size)
        _embed(inode, file.content)
    return inode


def _symlink(link: Symlink) -> Inode:
    check.target(link.target)
    inode = _inode(EntryType.SYMLINK, link.attributes, link.nlink)
    inode.size, inode.layout, inode.tail = len(link.target), Layout.INLINE, link.target
    return inode


def _special(node: Special) -> Inode:
    check.numbers(node.attributes, node.nlink, node.rdev)
    inode = _inode(_TYPES[node.kind], node.attributes, node.nlink)
    inode.special = node.rdev
    return inode


def _whiteout(node: Special) -> Inode:
    inode = _inode(EntryType.REGULAR, node.attributes, node.nlink)
    inode.xattrs = replaced(inode.xattrs, dict.fromkeys(WHITEOUT, b""))
    return inode


def _embed(inode: Inode, content: bytes) -> None:
    """Put data into the image: whole blocks, and the rest behind the inode if it is short."""
    rest = len(content) % BLOCK
    if rest > MAX_TAIL:
        inode.blocks = content.ljust(len(content) - rest + BLOCK, b"\0")
    else:
        inode.blocks, inode.tail = content[: len(content) - rest], content[len(content) - rest :]
    inode.layout = Layout.INLINE if inode.tail else Layout.PLAIN


def _refer(inode: Inode, content: Object) -> None:
    """Send the reader to an object. The inode maps chunks, mostly a single one, of which none is there."""
    digest, path, size = content.digest, content.path, inode.size
    check.external(path, digest, size)
    metacopy = METACOPY, METACOPY_HEAD[len(digest)] + digest if digest else b""
    added = (metacopy, (REDIRECT, b"/" + path)) if path else (metacopy,)
    inode.xattrs = sorted([*inode.xattrs, *added]) if inode.xattrs else added
    bits = min(max((size - 1).bit_length(), MIN_CHUNK_BITS), MAX_CHUNK_BITS)
    inode.layout, inode.special = Layout.CHUNKS, bits - MIN_CHUNK_BITS
    inode.tail = NULL_CHUNK * (((size - 1) >> bits) + 1)
