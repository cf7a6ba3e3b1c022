"""From layers to a tree: each layer is laid over what the ones below it left, by the rules of `bootc.layers`.

Everything is written through descriptors of directories that were opened without following links, so nothing that an
image holds leads out of the tree. Directories get their owner, mode, attributes and times in the end: until then nobody
but root can look into them, and nothing is inherited from them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import TypeAlias, TypeVar

from attrs import evolve

from bootc.durable import DirectoryVolume
from bootc.image import Digest
from bootc.layers import Content, Entry, EntryKind
from bootc.roots.trees.descriptors import OPEN_DIRECTORY, Directories, by_descriptor, scan
from bootc.roots.trees.labelling import Label
from bootc.roots.trees.metadata import SELINUX, context, explained, remove_xattr, set_context, set_metadata
from bootc.roots.trees.regular import FileWriter, Written
from bootc.roots.trees.sharing import Sharing
from bootc.roots.trees.steps import TreeSteps

_DEFAULT_ACL = b"system.posix_acl_default"
_DEVICES = {EntryKind.CHARACTER: stat.S_IFCHR, EntryKind.BLOCK: stat.S_IFBLK, EntryKind.FIFO: stat.S_IFIFO}


_Source = TypeVar("_Source")
_Write: TypeAlias = Callable[[Entry, int, _Source], Written]
"""makes the file of an entry in an open directory, from what there is of it"""


class ContentsMissing(Exception):
    """Of some files nobody has the contents any more: these layers must be read again."""

    def __init__(self, layers: Iterable[Digest]) -> None:
        self.layers = frozenset(layers)
        super().__init__(", ".join(sorted(map(str, self.layers))))


class TreeWriter:
    """Writes one tree below `root`, an empty directory of the volume, or goes on with one that was finished before
    (`take_over`). Each step is announced to the volume's observer, in the words of `bootc.durable.Step`."""

    def __init__(
        self, volume: DirectoryVolume, root: PurePosixPath, made: Directories, sharing: Sharing | None
    ) -> None:
        self._steps, self._made, self._sharing = TreeSteps(volume, root), made, sharing
        self._directories: dict[bytes, Entry] = {b"": Entry(b"", EntryKind.DIRECTORY, 0o755, 0, 0, 0)}
        self._taken_over: dict[bytes, Entry] = {}
        self._own: set[bytes] = set()
        self._is_first = True
        self._digests: dict[int, bytes] = {}
        self._missing: dict[int, Digest] = {}
        self._lost: set[Digest] = set()

    def take_over(self) -> None:
        """Begin with the tree that is there: directories of which no layer says anything keep what they have."""
        self._directories = {entry.path: entry for entry in self._made.present()}
        self._taken_over = {path: self._disinherited(entry) for path, entry in self._directories.items()}
        self._is_first = False

    def lay(self, layer: Iterable[tuple[Entry, Content]], note: Callable[[Entry, bytes], None] | None = None) -> None:
        """Put one layer over what is there. `note` is told each entry and, of a file, the SHA-256 of its content.

        Raises FileSystemError, NoSpaceError.
        """
        for entry, digest in self._lay(layer, FileWriter(self._steps, self._sharing).stream, None):
            if note:
                note(entry, digest)

    def lay_again(self, layer: Digest, entries: Iterable[tuple[Entry, bytes]], sharing: Sharing) -> None:
        """Put a layer over what is there that another tree has: its entries, each with the SHA-256 of its content.

        A content that the other tree does not have as it should be matters only if no later layer hides it: `finish`
        raises ContentsMissing then.
        """
        for _ in self._lay(entries, FileWriter(self._steps, sharing).copy, layer):
            pass

    def finish(self, label: Label | None) -> Iterator[tuple[bytes, bytes]]:
        """Complete the directories, after the last layer; answers with path and SHA-256 of each file that was written,
        in order.

        The tree is whole only when the answer was read to its end. Raises ContentsMissing, see `lay_again`.
        """
        with explained(self._steps, b""):
            yield from self._complete(b"", self._made.open(b""), label)
        if self._lost:
            raise ContentsMissing(self._lost)

    # ------------------------------------------------------------ entries

    def _disinherited(self, entry: Entry) -> Entry:
        """A directory as it is until it is completed again: what is made in it inherits nothing."""
        plain, xattrs = entry.mode & ~stat.S_ISGID, {**entry.xattrs}
        has_acl = xattrs.pop(_DEFAULT_ACL, None) is not None
        if plain == entry.mode and not has_acl:
            return entry
        directory = self._made.open(entry.path)
        with explained(self._steps, entry.path):
            self._step("chmod", entry.path, data=b"%o" % plain)
            os.fchmod(directory, plain)
            if has_acl:
                remove_xattr(self._steps, entry.path, directory, _DEFAULT_ACL)
        return evolve(entry, mode=plain, xattrs=xattrs)

    def _lay(
        self, entries: Iterable[tuple[Entry, _Source]], write: _Write[_Source], layer: Digest | None
    ) -> Iterator[tuple[Entry, bytes]]:
        self._own = set()
        for entry, source in entries:
            digest = b""
            with explained(self._steps, entry.path):
                if entry.is_opaque:
                    self._clear(entry.parent)
                elif entry.whiteout is not None:
                    self._remove(self._made.open(entry.parent), entry.whiteout)
                else:
                    digest = self._put(entry, source, write, layer)
                    self._own.add(entry.path)
            yield entry, digest
        self._is_first = False

    def _put(self, entry: Entry, source: _Source, write: _Write[_Source], layer: Digest | None) -> bytes:
        match entry.kind:
            case EntryKind.DIRECTORY:
                self._put_directory(entry)
            case EntryKind.FILE:
                return self._put_file(entry, source, write, layer)
            case EntryKind.HARDLINK:
                self._put_link(entry)
            case EntryKind.SYMLINK:
                directory = self._cleared(entry)
                self._step("symlink", entry.path, data=entry.target)
                os.symlink(entry.target, entry.name, dir_fd=directory)
                set_metadata(self._steps, entry, by_descriptor(directory, entry.name))
            case EntryKind.CHARACTER | EntryKind.BLOCK | EntryKind.FIFO:
                directory, mode = self._cleared(entry), _DEVICES[entry.kind] | 0o600
                device = os.makedev(*entry.device)
                self._step("mknod", entry.path, data=b"%o:%d" % (mode, device))
                os.mknod(entry.name, mode, device, dir_fd=directory)
                set_metadata(self._steps, entry, by_descriptor(directory, entry.name))
        return b""

    def _put_directory(self, entry: Entry) -> None:
        is_new = bool(entry.path) and self._make_directory(entry)
        if is_new or not entry.is_implied:
            self._directories[entry.path] = entry

    def _make_directory(self, entry: Entry) -> bool:
        directory = self._made.open(entry.parent)
        try:
            if stat.S_ISDIR(os.stat(entry.name, dir_fd=directory, follow_symlinks=False).st_mode):
                return False
            self._remove(directory, entry.path)
        except FileNotFoundError:
            pass
        self._step("mkdir", entry.path, data=b"700")
        os.mkdir(entry.name, 0o700, dir_fd=directory)
        return True

    def _put_link(self, entry: Entry) -> None:
        parent, _, name = entry.target.rpartition(b"/")
        directory = self._cleared(entry)
        self._step("link", entry.target, entry.path)
        os.link(name, entry.name, src_dir_fd=self._made.open(parent), dst_dir_fd=directory, follow_symlinks=False)

    def _put_file(self, entry: Entry, source: _Source, write: _Write[_Source], layer: Digest | None) -> bytes:
        """The SHA-256 that it has, or ought to have."""
        written = write(entry, self._cleared(entry), source)
        self._digests.pop(written.inode, None)
        self._missing.pop(written.inode, None)
        if written.digest is not None:
            self._digests[written.inode] = written.digest
        elif layer:
            self._missing[written.inode] = layer
        return written.digest or b""

    # ------------------------------------------------------------ removing

    def _cleared(self, entry: Entry) -> int:
        """The directory of an entry, with nothing of its name in it."""
        directory = self._made.open(entry.parent)
        if self._is_first:  # a layer brings each path once
            return directory
        try:
            os.stat(entry.name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return directory
        self._remove(directory, entry.path)
        return self._made.open(entry.parent)

    def _clear(self, path: bytes) -> None:
        """Remove what lower layers have in a directory and below, and leave what this layer brought."""
        for found in scan(self._made.open(path)):
            child = path + b"/" + found.name if path else found.name
            if child not in self._own:
                self._remove(self._made.open(path), child)
            elif child in self._directories and found.is_directory:
                self._clear(child)

    def _remove(self, directory: int, path: bytes) -> None:
        """Remove a path with all below it; it may be absent. `directory` is its parent, and not open afterwards."""
        if self._remove_below(directory, path):
            self._made.forget()

    def _remove_below(self, directory: int, path: bytes) -> bool:
        """The same, without forgetting open directories; whether there were any."""
        name = path.rpartition(b"/")[2]
        try:
            self._step("unlink", path)
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return False
        except IsADirectoryError:
            opened = os.open(name, OPEN_DIRECTORY, dir_fd=directory)
            try:
                for child in map(os.fsencode, os.listdir(opened)):
                    self._remove_below(opened, path + b"/" + child)
            finally:
                os.close(opened)
            self._step("rmdir", path)
            os.rmdir(name, dir_fd=directory)
            self._directories.pop(path, None)
            self._taken_over.pop(path, None)
            return True
        return False

    # ------------------------------------------------------------ completing

    def _complete(self, path: bytes, directory: int, label: Label | None) -> Iterator[tuple[bytes, bytes]]:
        """One directory, contents first."""
        for found in scan(directory):
            child = path + b"/" + found.name if path else found.name
            if found.is_directory:
                opened = os.open(found.name, OPEN_DIRECTORY, dir_fd=directory)
                try:
                    yield from self._complete(child, opened, label)
                finally:
                    os.close(opened)
            else:
                set_context(self._steps, label, child, directory)
                if found.inode in self._missing:
                    self._lost.add(self._missing[found.inode])
                elif found.is_file and (digest := self._digests.get(found.inode)):
                    yield child, digest
        self._complete_self(path, directory, label)

    def _complete_self(self, path: bytes, directory: int, label: Label | None) -> None:
        entry = self._directories[path]
        extra = context(label, path, stat.S_IFDIR)
        before = self._taken_over.get(path)
        if before is entry and not extra and os.fstat(directory).st_mtime_ns == entry.mtime:
            return
        with explained(self._steps, path):
            for key in before.xattrs.keys() - {*entry.xattrs, SELINUX} if before else ():
                remove_xattr(self._steps, path, directory, key)
            set_metadata(self._steps, entry, directory, extra)

    def _step(self, name: str, *paths: bytes, data: bytes | None = None) -> None:
        self._steps.tell(name, *paths, data=data)
