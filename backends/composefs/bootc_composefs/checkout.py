"""A directory of an image as one of this system: the /etc of a deployment, or for a program that must run in it.

For programs it lies below `checkouts`, which only root can look into. All attributes are kept but those of overlayfs,
which would mean something where it is mounted, and security.evm, which holds for one inode. Contents are compared with
their digests while they are copied. Each step is announced to the volume's observer.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bootc.durable import DirectoryVolume, explain
from bootc.errors import FileSystemError
from bootc.layers import printable
from bootc_composefs.layout import CHECKOUTS
from bootc_composefs.objects import Objects
from bootc_composefs.tree import Child, Directory, File, HardLink, Node, Object, Special, Symlink

_OVERLAY = (b"trusted.overlay.", b"user.overlay.")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def checked_out(directory: Directory, objects: Objects, volume: DirectoryVolume) -> Iterator[Path]:
    """The directory's path, for as long as the block lasts. Raises FileSystemError, NoSpaceError, ObjectError."""
    root = CHECKOUTS / secrets.token_hex(6)
    try:
        volume.make_directories(CHECKOUTS, 0o700)
        check_out(directory, objects, volume, root)
        yield volume.path(root)
    finally:
        volume.remove(root)


def check_out(directory: Directory, objects: Objects, volume: DirectoryVolume, place: PurePosixPath) -> None:
    """Make the directory at a place where nothing is. Not synced. Raises FileSystemError, NoSpaceError, ObjectError."""
    _Checkout(objects, volume).put(str(place), directory)


class _Checkout:
    """Remembers the inodes that have a name, so that further names become links. Paths are text below the volume: there
    are very many of them."""

    def __init__(self, objects: Objects, volume: DirectoryVolume) -> None:
        self._objects, self._volume, self._root = objects, volume, str(volume.root)
        self._placed: dict[int, str] = {}

    def put(self, path: str, child: Child) -> None:
        """Make what stands at a path, with all below it."""
        try:
            self._put(path, child.target if isinstance(child, HardLink) else child)
        except OSError as error:
            shown = printable(os.fsencode(path))
            if error.errno == errno.ENOTSUP:
                hint = "install on a filesystem with extended attributes, as ext4, xfs and btrfs"
                raise FileSystemError(shown, "the filesystem cannot hold its extended attributes", hint) from error
            raise explain(error, shown) from error

    def _put(self, path: str, node: Node) -> None:
        if isinstance(node, Directory):
            self._step("mkdir", path, data=b"700")
            os.mkdir(self._at(path), 0o700)
            for name, child in node.children.items():
                self.put(f"{path}/{os.fsdecode(name)}", child)
        elif (known := self._placed.get(id(node))) is not None:
            self._step("link", known, path)
            os.link(self._at(known), self._at(path), follow_symlinks=False)
            return
        else:
            self._placed[id(node)] = path
            self._put_file(path, node)
        self._set_attributes(path, node)

    def _put_file(self, path: str, node: File | Symlink | Special) -> None:
        target = self._at(path)
        match node:
            case File():
                self._step("create", path, data=b"600")
                descriptor = os.open(target, _CREATE, 0o600)
                try:
                    for piece in self._pieces(node):
                        self._step("write", path, data=piece)
                        done = os.write(descriptor, piece)
                        while done < len(piece):
                            done += os.write(descriptor, memoryview(piece)[done:])
                finally:
                    os.close(descriptor)
            case Symlink():
                self._step("symlink", path, data=node.target)
                os.symlink(os.fsdecode(node.target), target)
            case Special():
                mode = node.kind.value | 0o600
                self._step("mknod", path, data=b"%o:%d" % (mode, node.rdev))
                os.mknod(target, mode, node.rdev)

    def _pieces(self, file: File) -> Iterable[bytes]:
        return self._objects.pieces(file.content) if isinstance(file.content, Object) else (file.content,)

    def _set_attributes(self, path: str, node: Node) -> None:
        """Owner, mode, attributes and time, in an order in which none undoes another."""
        target, found = self._at(path), node.attributes
        self._step("chown", path, data=b"%d:%d" % (found.uid, found.gid))
        os.chown(target, found.uid, found.gid, follow_symlinks=False)
        if not isinstance(node, Symlink):
            self._step("chmod", path, data=b"%o" % found.mode)
            os.chmod(target, stat.S_IMODE(found.mode))
        for key, value in found.xattrs.items():
            if key.startswith(_OVERLAY) or key == b"security.evm":
                continue
            self._step("setxattr", path, data=key + b"=" + value)
            os.setxattr(target, key, value, follow_symlinks=False)
        self._step("utimens", path, data=b"%d" % found.mtime)
        os.utime(target, ns=(found.mtime, found.mtime), follow_symlinks=False)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _step(self, name: str, *paths: str, data: bytes | None = None) -> None:
        if self._volume.is_observed:
            self._volume.announce(name, *map(PurePosixPath, paths), data=data)
