"""From layers to a tree: each layer is laid over what the ones below it left, by the rules of `bootc.layers`.

Everything is written through descriptors of directories that were opened without following links, so nothing that an
image holds leads out of the tree. Directories get their owner, mode, attributes and times in the end: until then nobody
but root can look into them, and nothing is inherited from them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath

from bootc.durable import DirectoryVolume, explain
from bootc.errors import FileSystemError
from bootc.layers import Content, Entry, EntryKind, printable
from bootc.roots.trees.descriptors import OPEN_DIRECTORY, Directories, by_descriptor, scan
from bootc.roots.trees.labelling import Label
from bootc.roots.trees.sharing import Sharing, Twin, write_all

_CHUNK = 1 << 20
_SELINUX = b"security.selinux"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEVICES = {EntryKind.CHARACTER: stat.S_IFCHR, EntryKind.BLOCK: stat.S_IFBLK, EntryKind.FIFO: stat.S_IFIFO}


class TreeWriter:
    """Writes one tree below `root`, an empty directory of the volume, or goes on with one that was finished before
    (`take_over`). Each step is announced to the volume's observer, in the words of `bootc.durable.Step`."""

    def __init__(
        self, volume: DirectoryVolume, root: PurePosixPath, made: Directories, sharing: Sharing | None
    ) -> None:
        self._volume, self._root, self._made, self._sharing = volume, root, made, sharing
        self._directories: dict[bytes, Entry] = {b"": Entry(b"", EntryKind.DIRECTORY, 0o755, 0, 0, 0)}
        self._taken_over: dict[bytes, Entry] = {}
        self._own: set[bytes] = set()
        self._digests: dict[int, bytes] = {}

    def take_over(self) -> None:
        """Begin with the tree that is there: directories of which no layer says anything keep what they have."""
        self._taken_over = {entry.path: entry for entry in self._made.present()}
        self._directories = dict(self._taken_over)

    def lay(self, layer: Iterable[tuple[Entry, Content]]) -> None:
        """Put one layer over what is there. Raises FileSystemError, NoSpaceError."""
        self._own = set()
        for entry, content in layer:
            with self._explained(entry.path):
                if entry.is_opaque:
                    self._clear(entry.parent)
                elif entry.whiteout is not None:
                    self._remove(self._made.open(entry.parent), entry.whiteout)
                else:
                    self._put(entry, content)
                    self._own.add(entry.path)

    def finish(self, label: Label | None) -> Iterator[tuple[bytes, bytes]]:
        """Complete the directories, after the last layer; answers with path and SHA-256 of each file that was written,
        in order.

        The tree is whole only when the answer was read to its end.
        """
        with self._explained(b""):
            yield from self._complete(b"", self._made.open(b""), label)

    # ------------------------------------------------------------ entries

    def _put(self, entry: Entry, content: Content) -> None:
        match entry.kind:
            case EntryKind.DIRECTORY:
                self._put_directory(entry)
            case EntryKind.FILE:
                self._put_file(entry, content)
            case EntryKind.HARDLINK:
                self._put_link(entry)
            case EntryKind.SYMLINK:
                directory = self._cleared(entry)
                self._step("symlink", entry.path, data=entry.target)
                os.symlink(entry.target, entry.name, dir_fd=directory)
                self._set_metadata(entry, directory)
            case EntryKind.CHARACTER | EntryKind.BLOCK | EntryKind.FIFO:
                directory, mode = self._cleared(entry), _DEVICES[entry.kind] | 0o600
                device = os.makedev(*entry.device)
                self._step("mknod", entry.path, data=b"%o:%d" % (mode, device))
                os.mknod(entry.name, mode, device, dir_fd=directory)
                self._set_metadata(entry, directory)

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

    def _put_file(self, entry: Entry, content: Content) -> None:
        directory, digest, rest = self._cleared(entry), hashlib.sha256(), b""
        with self._twin(entry) as twin:
            while twin and not rest and (piece := content.read(_CHUNK)):
                digest.update(piece)
                rest = b"" if twin.continues(piece) else piece
            if not (twin and not rest and self._linked(twin, entry, directory)):
                self._write_file(entry, directory, twin, rest, content, digest.update)
        status = os.stat(entry.name, dir_fd=directory, follow_symlinks=False)
        self._digests[status.st_ino] = digest.digest()

    def _linked(self, twin: Twin, entry: Entry, directory: int) -> bool:
        if self._sharing is None or not self._sharing.can_link(twin, entry):
            return False
        self._step_from_twin("link", entry.path)
        if self._sharing.link(twin, entry, directory):
            return True
        self._step("unlink", entry.path)
        return False

    def _write_file(
        self,
        entry: Entry,
        directory: int,
        twin: Twin | None,
        rest: bytes,
        content: Content,
        measure: Callable[[bytes], None],
    ) -> None:
        """A new file: what is alike in its twin, the piece that is not, and what the layer still holds."""
        self._step("create", entry.path, data=b"600")
        target = os.open(entry.name, _CREATE, 0o600, dir_fd=directory)
        try:
            if twin and self._sharing:
                self._step_from_twin("clone", entry.path, data=b"%d" % twin.same)
                self._sharing.fill(twin, entry.size, target)
            position = twin.same if twin else 0
            while piece := rest or content.read(_CHUNK):
                if not rest:
                    measure(piece)
                rest = b""
                self._step("write", entry.path, data=piece)
                position += write_all(target, piece, position)
        finally:
            os.close(target)
        self._set_metadata(entry, directory)

    @contextmanager
    def _twin(self, entry: Entry) -> Iterator[Twin | None]:
        if self._sharing is None:
            yield None
            return
        with self._sharing.twin(entry) as twin:
            yield twin

    # ------------------------------------------------------------ removing

    def _cleared(self, entry: Entry) -> int:
        """The directory of an entry, with nothing of its name in it."""
        directory = self._made.open(entry.parent)
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

    # ------------------------------------------------------------ metadata

    def _set_metadata(self, entry: Entry, directory: int, extra: Mapping[bytes, bytes] | None = None) -> None:
        """Owner, mode, attributes and time, in an order in which none undoes another."""
        name, path = entry.name or b".", by_descriptor(directory, entry.name or b".")
        self._step("chown", entry.path, data=b"%d:%d" % (entry.uid, entry.gid))
        os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        if entry.kind is not EntryKind.SYMLINK:
            self._step("chmod", entry.path, data=b"%o" % entry.mode)
            os.chmod(path, entry.mode)
        for key, value in {**entry.xattrs, **(extra or {})}.items():
            self._step("setxattr", entry.path, data=key + b"=" + value)
            os.setxattr(path, key, value, follow_symlinks=False)
        self._step("utimens", entry.path, data=b"%d" % entry.mtime)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)

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
                self._label(child, directory, label)
                if found.is_file and (digest := self._digests.get(found.inode)):
                    yield child, digest
        self._complete_self(path, directory, label)

    def _complete_self(self, path: bytes, directory: int, label: Label | None) -> None:
        entry = self._directories[path]
        context = label(_image_path(path), stat.S_IFDIR) if label else None
        extra = {_SELINUX: context.encode() + b"\0"} if context else {}
        before = self._taken_over.get(path)
        if before is entry and not extra and os.fstat(directory).st_mtime_ns == entry.mtime:
            return
        with self._explained(path):
            for key in before.xattrs.keys() - {*entry.xattrs, _SELINUX} if before else ():
                self._step("removexattr", path, data=key)
                os.removexattr(by_descriptor(directory, b"."), key)
            if not path:
                self._set_metadata(entry, directory, extra)
                return
            parent = os.open(b"..", OPEN_DIRECTORY, dir_fd=directory)
            try:
                self._set_metadata(entry, parent, extra)
            finally:
                os.close(parent)

    def _label(self, path: bytes, directory: int, label: Label | None) -> None:
        if label is None:
            return
        name = path.rpartition(b"/")[2]
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if context := label(_image_path(path), mode):
            with self._explained(path):
                value = context.encode() + b"\0"
                self._step("setxattr", path, data=_SELINUX + b"=" + value)
                os.setxattr(by_descriptor(directory, name), _SELINUX, value, follow_symlinks=False)

    # ------------------------------------------------------------ steps and failures

    def _step(self, name: str, *paths: bytes, data: bytes | None = None) -> None:
        if self._volume.is_observed:
            self._volume.announce(name, *(self._root / os.fsdecode(path) for path in paths), data=data)

    def _step_from_twin(self, name: str, path: bytes, data: bytes | None = None) -> None:
        """A step whose first path is that of the twin, in the other tree."""
        if self._sharing and self._volume.is_observed:
            relative = os.fsdecode(path)
            self._volume.announce(name, self._sharing.root / relative, self._root / relative, data=data)

    @contextmanager
    def _explained(self, path: bytes) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            shown = f"{self._volume.path(self._root)}/{printable(path) if path else ''}"
            if error.errno == errno.ENOTSUP:
                hint = "install on a filesystem with extended attributes, as ext4, xfs and btrfs"
                raise FileSystemError(shown, "the filesystem cannot hold its extended attributes", hint) from error
            raise explain(error, shown) from error


def _image_path(path: bytes) -> str:
    return "/" + os.fsdecode(path)
