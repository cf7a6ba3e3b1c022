"""Files of another tree that a new one can share: same path, same content."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from bootc.layers import Entry
from bootc.roots.trees.descriptors import Directories, by_descriptor

_FICLONE = 0x40049409
_CANNOT_CLONE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.ETXTBSY)
_CHUNK = 1 << 20


class Twin:
    """A file of the other tree, open for comparing."""

    def __init__(self, descriptor: int, directory: int, name: bytes) -> None:
        self.descriptor, self.directory, self.name = descriptor, directory, name
        self.same = 0
        """bytes from its beginning that are alike"""
        self._content: bytes | None = None

    def continues(self, piece: bytes) -> bool:
        """Whether it goes on with this piece."""
        if os.pread(self.descriptor, len(piece), self.same) != piece:
            return False
        self.same += len(piece)
        return True

    def has(self, digest: bytes, size: int) -> bool:
        """Whether all of it has this SHA-256; all of it is alike then."""
        measured, position = hashlib.sha256(), 0
        while piece := os.pread(self.descriptor, _CHUNK, position):
            measured.update(piece)
            position += len(piece)
            self._content = piece if len(piece) == size else None
        if measured.digest() != digest:
            return False
        self.same = position
        return True

    def pieces(self) -> Iterator[bytes]:
        """What is alike."""
        if self._content is not None:
            yield self._content
            return
        done = 0
        while done < self.same:
            piece = os.pread(self.descriptor, min(_CHUNK, self.same - done), done)
            if not piece:
                raise OSError(errno.EIO, "a file of another slot became shorter while it was read")
            yield piece
            done += len(piece)


class Sharing:
    """Finds twins in another tree, which lies at `root` of the volume, and lets a new file share their data."""

    def __init__(self, other: Directories, root: PurePosixPath, *, links: bool, clones: bool = True) -> None:
        """With neither links nor reflinks, contents are copied."""
        self._other, self.root = other, root
        self._links, self._clones = links, clones and not links
        self._linked: set[int] = set()

    @property
    def is_of_use(self) -> bool:
        """Whether a file that is at hand anyway need be compared with its twin."""
        return self._links or self._clones

    @contextmanager
    def twin(self, entry: Entry) -> Iterator[Twin | None]:
        """The regular file of this path and size in the other tree; None if there is none."""
        try:
            directory = self._other.open(entry.parent)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(entry.name, flags, dir_fd=directory)
        except OSError:  # none, or something else: nothing to share
            yield None
            return
        try:
            status = os.fstat(descriptor)
            is_twin = stat.S_ISREG(status.st_mode) and status.st_size == entry.size
            yield Twin(descriptor, directory, entry.name) if is_twin else None
        finally:
            os.close(descriptor)

    def can_link(self, twin: Twin, entry: Entry) -> bool:
        """Whether the new file may be a hard link to its twin: all else is alike too, and no other file of the image
        was linked to it."""
        status = os.fstat(twin.descriptor)
        return self._links and status.st_ino not in self._linked and _is_alike(twin, status, entry)

    def link(self, twin: Twin, entry: Entry, directory: int) -> bool:
        """Make the new file a hard link to its twin. False if the filesystem allows no more links."""
        try:
            os.link(twin.name, entry.name, src_dir_fd=twin.directory, dst_dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.EMLINK, errno.EXDEV, errno.EPERM):
                return False
            raise
        self._linked.add(os.fstat(twin.descriptor).st_ino)
        return True

    def fill(self, twin: Twin, size: int, target: int) -> None:
        """Give a new, empty file what is alike in its twin: all of it by a reflink, where the filesystem can."""
        if twin.same == size and self._clones:
            try:
                fcntl.ioctl(target, _FICLONE, twin.descriptor)
                return
            except OSError as error:
                if error.errno not in _CANNOT_CLONE:
                    raise
                self._clones = False
        position = 0
        for piece in twin.pieces():
            position += write_all(target, piece, position)


def write_all(target: int, piece: bytes, position: int) -> int:
    """Write the whole piece at this offset; returns its length."""
    done = os.pwrite(target, piece, position)
    while done < len(piece):
        done += os.pwrite(target, memoryview(piece)[done:], position + done)
    return done


def _is_alike(twin: Twin, status: os.stat_result, entry: Entry) -> bool:
    path = by_descriptor(twin.directory, twin.name)
    same = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)
    if same != (entry.mode, entry.uid, entry.gid, entry.mtime):
        return False
    names = map(os.fsencode, os.listxattr(path, follow_symlinks=False))
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names} == dict(entry.xattrs)
