"""Reading a tree by descriptors: no link is followed, no special file is opened, names are bytes.

What is found in an open directory is a `Node`; it can be read while that directory is open.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from bootc.durable import explain
from bootc.errors import BootcError, FileSystemError

MAX_DEPTH = 100
"""directories below each other; each open one holds a descriptor on every side"""
MAX_PATH = 3000
"""bytes of a path, which with the root's must stay below PATH_MAX"""

CHUNK = 1 << 16
"""bytes that are read at once; for much more, memory is asked for anew at each of many small files"""

_STAMP = b".updated"
"""of systemd-update-done(8), at the root: it belongs to one deployment and is on no side of a merge"""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
_ATTEMPTS = 5
_IMMUTABLE, _APPEND_ONLY, _MOUNT_ROOT = 0x10, 0x20, 0x2000
_AT_SYMLINK_NOFOLLOW, _AT_NO_AUTOMOUNT = 0x100, 0x800


T = TypeVar("T")


class ChangedError(FileSystemError):
    """What was just seen is gone, or has become another kind of file."""


@frozen
class Marks:
    """What stat(2) does not tell."""

    is_mount_point: bool
    """another filesystem, or another part of one, is mounted there"""
    is_fixed: bool
    """immutable or append-only (chattr(1))"""


@frozen
class Node:
    """A file, directory or link of a tree."""

    root: str
    """the tree's own path, for messages"""
    path: bytes
    """below the root; empty for the root itself"""
    parent: int
    """descriptor of the directory that `name` is in"""
    name: bytes
    status: os.stat_result

    @property
    def kind(self) -> int:
        """S_IF…"""
        return stat.S_IFMT(self.status.st_mode)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory (not a link to one)."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def identity(self) -> tuple[int, int]:
        """The same for hard links of one file."""
        return self.status.st_dev, self.status.st_ino

    @property
    def is_too_deep(self) -> bool:
        """Whether a directory lies deeper than is gone into."""
        return self.path.count(b"/") >= MAX_DEPTH or len(self.path) > MAX_PATH

    @contextmanager
    def opened(self) -> Iterator[Listing]:
        """The directory's content. Raises ChangedError if it is no directory any more."""
        if self.is_too_deep:
            raise FileSystemError(self.shown, "directories are nested too deeply")
        try:
            descriptor = os.open(self.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self.parent)
        except OSError as error:
            raise failure(error, self.shown) from error
        try:
            yield Listing(self, descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def read(self) -> Iterator[Callable[[], bytes]]:
        """A regular file's content: each call gives its next bytes, b"" at the end. Raises ChangedError if it is no
        regular file any more."""
        descriptor = self._open()
        try:
            yield functools.partial(self._next, descriptor)
        finally:
            os.close(descriptor)

    def target(self) -> bytes:
        """Where a symbolic link points."""
        try:
            return os.readlink(self.name, dir_fd=self.parent)
        except OSError as error:
            raise failure(error, self.shown) from error

    def xattrs(self) -> dict[str, bytes]:
        """All extended attributes, ACLs and file capabilities among them; none where a filesystem has none."""
        try:
            path = by_descriptor(self.parent, self.name)
            names = os.listxattr(path, follow_symlinks=False)
            return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.ENODATA):
                return {}
            raise failure(error, self.shown) from error

    def is_mount_point(self) -> bool:
        """Whether another filesystem, or another part of one, is mounted here."""
        return self.marks().is_mount_point

    @property
    def shown(self) -> str:
        """The whole path, for messages."""
        return f"{self.root}/{printable(self.path)}" if self.path else self.root

    def marks(self) -> Marks:
        """stx_attributes of statx(2), which Python has no function for. Linux 5.8 or newer tells them all."""
        buffer = ctypes.create_string_buffer(256)
        if _libc().statx(self.parent, self.name, _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT, 0, buffer):
            error = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            raise failure(error, self.shown) from error
        found = int.from_bytes(buffer.raw[8:16], sys.byteorder)
        return Marks(bool(self.path and found & _MOUNT_ROOT), bool(found & (_IMMUTABLE | _APPEND_ONLY)))

    def _open(self) -> int:
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
            descriptor = os.open(self.name, flags, dir_fd=self.parent)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
        except OSError as error:
            raise failure(error, self.shown) from error
        os.close(descriptor)
        raise ChangedError(self.shown, os.strerror(errno.ESTALE))

    def _next(self, descriptor: int) -> bytes:
        try:
            return os.read(descriptor, CHUNK)
        except OSError as error:
            raise failure(error, self.shown) from error


class Listing:
    """An open directory."""

    def __init__(self, directory: Node, descriptor: int) -> None:
        self.directory, self.descriptor = directory, descriptor

    def names(self) -> set[bytes]:
        """What is in it, without `.updated` at the root."""
        try:
            found = {os.fsencode(name) for name in os.listdir(self.descriptor)}
        except OSError as error:
            raise failure(error, self.directory.shown) from error
        return found if self.directory.path else found - {_STAMP}

    def path(self, name: bytes) -> bytes:
        """The path, below the root, of a name in this directory."""
        return self.directory.path + b"/" + name if self.directory.path else name

    def shown(self, name: bytes) -> str:
        """The whole path of a name, for messages."""
        return f"{self.directory.shown}/{printable(name)}"

    def node(self, name: bytes) -> Node | None:
        """The entry of this name; None if there is none."""
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explain(error, self.shown(name)) from error
        return Node(self.directory.root, self.path(name), self.descriptor, name, status)

    def nodes(self) -> Iterator[Node]:
        """All entries, sorted by name."""
        for name in sorted(self.names()):
            if node := self.node(name):
                yield node


def steadily(read: Callable[[], T]) -> T:
    """Read trees; again, a few times, where they change meanwhile. Raises ChangedError."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return read()
        except ChangedError:
            continue
    return read()


@contextmanager
def opened(root: Path) -> Iterator[Node]:
    """A tree's root, which must be a directory and no link."""
    with Explained(str(root)):
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield Node(str(root), b"", descriptor, b".", os.fstat(descriptor))
    finally:
        os.close(descriptor)


@contextmanager
def found(root: Node, path: bytes) -> Iterator[Node | None]:
    """What is at a path below the root, no part of which may be a link; None if nothing is."""
    with ExitStack() as stack:
        node: Node | None = root
        for name in path.split(b"/") if path else ():
            is_inside = node is not None and node.is_directory
            node = stack.enter_context(node.opened()).node(name) if node and is_inside else None
        yield node


def printable(path: bytes) -> str:
    """A path as it may be shown on a terminal."""
    text = path.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def by_descriptor(directory: int, name: bytes) -> bytes:
    """A path for system calls that take no directory descriptor; its last part is not followed if they do not."""
    return b"/proc/self/fd/%d/%s" % (directory, name)


class Explained:
    """Failures of system calls inside as typed errors that name a path. Not a generator: it stands around each step."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing has to be made ready."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise failure(error, self._path) from error


def failure(error: OSError, path: str) -> BootcError:
    """The typed error for a system call that failed on `path`."""
    if error.errno in _GONE:
        return ChangedError(path, error.strerror or str(error))
    return explain(error, path)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
