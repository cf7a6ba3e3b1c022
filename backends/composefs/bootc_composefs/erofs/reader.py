"""The way back: from the bytes of an image to the tree from which it was made."""

from __future__ import annotations

import stat
import struct
from collections import deque
from collections.abc import Collection

from attrs import field, frozen

from bootc.layers.entry import NO_XATTRS
from bootc_composefs.collector import paused_collector
from bootc_composefs.erofs import check
from bootc_composefs.erofs.format import (
    ESCAPED,
    METACOPY,
    METACOPY_HEAD,
    OPAQUE,
    OPAQUE_WITHIN,
    OVERLAY,
    REDIRECT,
    STUBS,
    WHITEOUT,
    WHITEOUTS,
    Layout,
)
from bootc_composefs.erofs.raw import RawImage, RawInode
from bootc_composefs.failures import ImageDamageError
from bootc_composefs.tree import (
    Attributes,
    Child,
    Content,
    Directory,
    File,
    HardLink,
    Kind,
    Node,
    Object,
    Special,
    Symlink,
)

_MARKS = (*WHITEOUTS, *OPAQUE_WITHIN)
_ADDED = (METACOPY, REDIRECT)
_STUB = stat.S_IFCHR | 0o644


@frozen
class Image:
    """What an image says."""

    version: int
    """of the format, 0 or 1"""
    root: Directory = field(eq=False)


@paused_collector()
def read_image(data: bytes) -> Image:
    """The tree in an image, without what the writer put in. The same image comes out when it is written again.

    Raises ImageDamageError for anything but a whole image.
    """
    try:
        image = RawImage(data)
        return Image(image.version, _Restoration(image).run())
    except (ValueError, struct.error) as error:
        raise ImageDamageError(str(error)) from error


class _Restoration:
    """Goes through the directories in the order in which they were written, so that of several names of an inode the
    first one is known by its number.
    """

    def __init__(self, image: RawImage) -> None:
        self._image = image
        self._count = 1
        self._placed: dict[int, Node] = {}
        self._links: list[tuple[Directory, bytes, int]] = []
        self._room = len(image.data)

    def run(self) -> Directory:
        raw = self._image.inode(self._image.root)
        root = Directory(_attributes(raw, (OPAQUE,)))
        if raw.number:
            raise ValueError("a root directory that is not the first inode")
        queue = deque([(raw, root)])
        while queue:
            raw, directory = queue.popleft()
            self._room -= raw.size
            if self._room < 0:
                raise ValueError("directories that are larger than the image")
            queue.extend(self._fill(raw, directory))
        for directory, name, nid in self._links:
            directory.children[name] = self._link(nid)
        if self._count != self._image.count:
            raise ValueError(f"{self._count} inodes, where {self._image.count} should be")
        return root

    def _fill(self, raw: RawInode, directory: Directory) -> list[tuple[RawInode, Directory]]:
        """Restore what is in a directory; gives the directories in it."""
        below, has_whiteouts = [], False
        for name, nid in self._image.entries(raw):
            child = self._image.inode(nid)
            if child.number != self._count:
                self._links.append((directory, name, nid))
                continue
            self._count += 1
            if not raw.number and name in STUBS and child.mode == _STUB and not child.special:
                continue
            node = directory.children[name] = self._placed[nid] = self._node(child)
            has_whiteouts |= isinstance(node, Special) and node.is_whiteout
            if isinstance(node, Directory):
                below.append((child, node))
        if has_whiteouts:
            directory.attributes = _attributes(raw, (OPAQUE, *_MARKS) if not raw.number else _MARKS)
        check.names(directory.children)
        return below

    def _node(self, raw: RawInode) -> Node:
        match stat.S_IFMT(raw.mode):
            case stat.S_IFDIR:
                return Directory(_attributes(raw))
            case stat.S_IFREG if not raw.size and all(raw.xattrs.get(key) == b"" for key in WHITEOUT):
                return Special(_attributes(raw, WHITEOUT), Kind.CHARACTER, 0, raw.nlink)
            case stat.S_IFREG if raw.layout is Layout.CHUNKS:
                return File(_attributes(raw, _ADDED), raw.size, _object(raw), raw.nlink)
            case stat.S_IFREG:
                return File(_attributes(raw), raw.size, self._image.contents(raw), raw.nlink)
            case stat.S_IFLNK:
                return Symlink(_attributes(raw), self._image.contents(raw), raw.nlink)
            case type:
                return Special(_attributes(raw), Kind(type), raw.special, raw.nlink)

    def _link(self, nid: int) -> Child:
        target = self._placed.get(nid)
        if target is None or isinstance(target, Directory):
            raise ValueError("an entry that leads to no inode of a file")
        return HardLink(target)


def _attributes(raw: RawInode, added: Collection[bytes] = ()) -> Attributes:
    """The attributes as they were before the writer added some and escaped others."""
    xattrs = {_unescaped(key): value for key, value in raw.xattrs.items() if key not in added} if raw.xattrs else {}
    return Attributes(stat.S_IMODE(raw.mode), raw.uid, raw.gid, raw.mtime, xattrs or NO_XATTRS)


def _unescaped(key: bytes) -> bytes:
    if not key.startswith(OVERLAY):
        return key
    if not key.startswith(ESCAPED):
        raise ValueError("an attribute of overlayfs that is not escaped")
    return OVERLAY + key[len(ESCAPED) :]


def _object(raw: RawInode) -> Content:
    if METACOPY not in raw.xattrs:
        raise ValueError("a file without contents")
    metacopy, redirect = raw.xattrs[METACOPY], raw.xattrs.get(REDIRECT, b"/")
    digest = metacopy[4:]
    if (metacopy and METACOPY_HEAD.get(len(digest)) != metacopy[:4]) or redirect[:1] != b"/":
        raise ValueError("contents that are named in an unknown form")
    return Object.at(digest, redirect[1:])
