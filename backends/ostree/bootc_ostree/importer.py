"""One ordinary layer into objects: contents are written by threads while the layer is read, the tree in the end.

libostree computes the checksum of each object in the call that writes it, which takes longer than all else.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping

from bootc.errors import LayerError
from bootc.fetcher import Readable
from bootc.layers import Entry, EntryKind, printable, read_layer
from bootc.workers import Workers
from bootc_ostree.dirtree import Directory, DirTree
from bootc_ostree.filter import Content, LayerFilter
from bootc_ostree.glib import GLib, OSTree
from bootc_ostree.objects import NO_XATTRS, ObjectTrees, write_directory_metadata

_BUFFER = 4 << 20
"""contents up to this size are held in memory, for a thread to write them"""
_CHUNK = 1 << 20
_ROOT = Entry(b"", EntryKind.DIRECTORY, 0o755, 0, 0, 0)


def write_tree(repo: OSTree.Repo, stream: Readable, filter: LayerFilter, note: Callable[[int], object]) -> Directory:
    """Write the objects of a layer inside a transaction; returns the root for a commit. `note` is told the sizes.

    Raises LayerError, GLib.Error, and what reading the stream raises.
    """
    tree, writer = _Node(_ROOT), _Writer(repo)
    nodes = {b"": tree}
    with Workers(writer.write, "ostree-objects") as workers:
        for source, content in read_layer(stream):
            for entry, body in filter.rewrite(source, content):
                if entry.kind is EntryKind.DIRECTORY:
                    _enter_directory(nodes, entry)
                    continue
                parent = nodes[entry.parent]
                if entry.name in parent.directories:
                    raise LayerError(printable(entry.path), "is a directory and something else in one layer")
                if entry.kind is EntryKind.HARDLINK:
                    parent.files[entry.name] = _linked(nodes, entry)
                    continue
                file = parent.files[entry.name] = _File(entry)
                note(entry.size)
                if entry.size > _BUFFER:
                    writer.write_large(file, body)
                else:
                    file.data = body.read(entry.size) if entry.size else b""
                    workers.put(file, entry.size)
    return _Directories(repo).write(tree)


class _File:
    """A file or a symbolic link: what is to be written of it, then its checksum."""

    __slots__ = ("checksum", "data", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry, self.data, self.checksum = entry, b"", ""


class _Node:
    """A directory."""

    __slots__ = ("directories", "entry", "files")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.files: dict[bytes, _File] = {}
        self.directories: dict[bytes, _Node] = {}


class _Writer:
    """Writes objects; for several threads at once."""

    def __init__(self, repo: OSTree.Repo) -> None:
        self._repo = repo

    def write(self, file: _File) -> None:
        """One whose content is at hand, or a symbolic link."""
        entry, data, file.data = file.entry, file.data, b""
        xattrs = _attributes(entry.xattrs)
        if entry.kind is EntryKind.SYMLINK:
            target = entry.target.decode()
            file.checksum = self._repo.write_symlink(None, entry.uid, entry.gid, xattrs, target, None)
        else:
            mode = entry.mode | stat.S_IFREG
            file.checksum = self._repo.write_regfile_inline(None, entry.uid, entry.gid, mode, xattrs, data, None)

    def write_large(self, file: _File, content: Content) -> None:
        """One that would take too much memory."""
        entry = file.entry
        mode, xattrs = entry.mode | stat.S_IFREG, _attributes(entry.xattrs)
        writer = self._repo.write_regfile(None, entry.uid, entry.gid, mode, entry.size, xattrs)
        while piece := content.read(_CHUNK):
            writer.write_all(piece, None)
        file.checksum = writer.finish(None)


def _attributes(xattrs: Mapping[bytes, bytes]) -> GLib.Variant:
    """In ostree's canonical form: by name, names with their final NUL."""
    if not xattrs:
        return NO_XATTRS
    return GLib.Variant("a(ayay)", sorted((name + b"\0", value) for name, value in xattrs.items()))


def _enter_directory(nodes: dict[bytes, _Node], entry: Entry) -> None:
    known = nodes.get(entry.path)
    if known is not None:
        known.entry = entry
        return
    parent = nodes[entry.parent]
    if entry.name in parent.files:
        raise LayerError(printable(entry.path), "is a directory and something else in one layer")
    nodes[entry.path] = parent.directories[entry.name] = _Node(entry)


def _linked(nodes: Mapping[bytes, _Node], entry: Entry) -> _File:
    """The file that a hard link names, which the filter saw before."""
    directory, _, name = entry.target.rpartition(b"/")
    return nodes[directory].files[name]


class _Directories:
    """Writes directory objects; what many have in common is written once."""

    def __init__(self, repo: OSTree.Repo) -> None:
        self._repo, self._trees = repo, ObjectTrees(repo)
        self._metadata: dict[tuple[object, ...], str] = {}

    def write(self, node: _Node) -> Directory:
        """One with all below it."""
        files = {name.decode(): file.checksum for name, file in node.files.items()}
        directories = {name.decode(): self.write(child) for name, child in node.directories.items()}
        return Directory(self._trees.store(DirTree(files, directories)), self._metadata_of(node.entry))

    def _metadata_of(self, entry: Entry) -> str:
        key = (entry.mode, entry.uid, entry.gid, *entry.xattrs.items())
        if key not in self._metadata:
            mode, xattrs = entry.mode | stat.S_IFDIR, _attributes(entry.xattrs)
            self._metadata[key] = write_directory_metadata(self._repo, mode, entry.uid, entry.gid, xattrs)
        return self._metadata[key]
