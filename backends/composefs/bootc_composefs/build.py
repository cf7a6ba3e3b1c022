"""Trees made from the merged layers of an image, or from a directory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeAlias

from bootc.errors import FileSystemError
from bootc.layers import Entry, EntryKind
from bootc.layers.flatten import Node as LayerNode
from bootc_composefs.tree import (
    Attributes,
    Child,
    Content,
    Directory,
    File,
    HardLink,
    Kind,
    Special,
    Symlink,
)

Keep: TypeAlias = Callable[[BinaryIO], tuple[Content, int]]
"""Reads a file to its end, stores it if it is not to be inline, and gives the content and its size in bytes."""

_KINDS = {EntryKind.CHARACTER: Kind.CHARACTER, EntryKind.BLOCK: Kind.BLOCK, EntryKind.FIFO: Kind.FIFO}


def from_layers(root: LayerNode[Content | None]) -> Directory:
    """The tree of an image from what `flatten` made of its layers; the contents of files have been replaced by what
    `Content` says. Of several names of a file the first in order of bytes, depth first, is its place.
    """
    return _Assembly().directory(root)


def from_directory(path: Path, keep: Keep) -> Directory:
    """The tree below a directory of this machine, with all attributes and its hard links. It must not change meanwhile.

    Raises FileSystemError for what cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return _Survey(keep).directory(descriptor)
    except OSError as error:
        raise FileSystemError(str(error.filename or path), str(error.strerror)) from error


class _Assembly:
    """Remembers the inodes that have a place, so that their further names become links."""

    def __init__(self) -> None:
        self._placed: dict[LayerNode[Content | None], File | Symlink | Special] = {}

    def directory(self, node: LayerNode[Content | None]) -> Directory:
        children = {name: self._child(node.children[name]) for name in sorted(node.children)}
        return Directory(_attributes(node.entry), children)

    def _child(self, node: LayerNode[Content | None]) -> Child:
        if node.entry.kind is EntryKind.DIRECTORY:
            return self.directory(node)
        known = self._placed.get(node)
        if known is not None:
            known.nlink += 1
            return HardLink(known)
        made = self._placed[node] = self._leaf(node)
        return made

    def _leaf(self, node: LayerNode[Content | None]) -> File | Symlink | Special:
        entry, attributes = node.entry, _attributes(node.entry)
        if entry.kind is EntryKind.FILE:
            return File(attributes, entry.size, b"" if node.content is None else node.content)
        if entry.kind is EntryKind.SYMLINK:
            return Symlink(attributes, entry.target)
        return Special(attributes, _KINDS[entry.kind], os.makedev(*entry.device))


def _attributes(entry: Entry) -> Attributes:
    return Attributes(entry.mode, entry.uid, entry.gid, entry.mtime, entry.xattrs)


class _Survey:
    """Reads a directory of this machine through descriptors, never following links."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._placed: dict[tuple[int, int], File | Symlink | Special] = {}

    def directory(self, descriptor: int) -> Directory:
        """All below an open directory, which is closed afterwards."""
        try:
            found = Directory(_attributes_of(os.fstat(descriptor), _xattrs(descriptor)))
            for name in sorted(os.fsencode(name) for name in os.listdir(descriptor)):
                found.children[name] = self._child(descriptor, name)
            return found
        finally:
            os.close(descriptor)

    def _child(self, parent: int, name: bytes) -> Child:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return self.directory(os.open(name, flags, dir_fd=parent))
        known = self._placed.get((status.st_dev, status.st_ino))
        if known is not None:
            known.nlink += 1
            return HardLink(known)
        made = self._placed[status.st_dev, status.st_ino] = self._leaf(parent, name, status)
        return made

    def _leaf(self, parent: int, name: bytes, status: os.stat_result) -> File | Symlink | Special:
        if stat.S_ISREG(status.st_mode):
            return self._file(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent))
        attributes = _attributes_of(status, _xattrs(b"/proc/self/fd/%d/%s" % (parent, name)))
        if stat.S_ISLNK(status.st_mode):
            return Symlink(attributes, os.readlink(name, dir_fd=parent))
        return Special(attributes, Kind(stat.S_IFMT(status.st_mode)), status.st_rdev)

    def _file(self, descriptor: int) -> File:
        with os.fdopen(descriptor, "rb") as stream:
            attributes = _attributes_of(os.fstat(descriptor), _xattrs(descriptor))
            content, size = self._keep(stream)
        return File(attributes, size, content if size else b"")


def _attributes_of(status: os.stat_result, xattrs: dict[bytes, bytes]) -> Attributes:
    return Attributes(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, xattrs)


def _xattrs(file: int | bytes) -> dict[bytes, bytes]:
    follow = isinstance(file, int)
    try:
        names = os.listxattr(file, follow_symlinks=follow)
        return {os.fsencode(name): os.getxattr(file, name, follow_symlinks=follow) for name in names}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
