"""Open directories of one tree, reached component by component: whatever links an image brings, none is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from attrs import frozen

from bootc.layers import Entry, EntryKind

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 270
"""more than a path may have components (`bootc.layers.Limits.depth`), so that of two opened in a row both stay"""


class Directories:
    """Descriptors by path (bytes, relative, normalised; empty for the root); those used last stay open."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, OPEN_DIRECTORY)
        self._open: dict[bytes, int] = {}

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.forget()
        os.close(self._root)

    def open(self, path: bytes) -> int:
        """The directory's descriptor, which others keep open for a while. OSError if it is none, or a link."""
        if not path:
            return self._root
        descriptor = self._open.pop(path, None)
        if descriptor is None:
            parent, _, name = path.rpartition(b"/")
            descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=self.open(parent))
        self._open[path] = descriptor
        if len(self._open) > _KEPT:
            os.close(self._open.pop(next(iter(self._open))))
        return descriptor

    def present(self) -> Iterator[Entry]:
        """All directories that there are, with what they have, as entries of an image."""
        for where, _, _, opened in os.fwalk(b".", dir_fd=self._root):
            status = os.fstat(opened)
            yield Entry(
                where.removeprefix(b".").removeprefix(b"/"),
                EntryKind.DIRECTORY,
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                xattrs={os.fsencode(name): os.getxattr(opened, name) for name in os.listxattr(opened)},
            )

    def forget(self) -> None:
        """Close all: what their paths mean has changed."""
        while self._open:
            os.close(self._open.popitem()[1])


@frozen
class Found:
    """A name in a directory."""

    name: bytes
    inode: int
    is_directory: bool
    is_file: bool


def scan(directory: int) -> list[Found]:
    """What is in a directory now, by name. Of a descriptor that was open before, btrfs (Linux 6.5 and later) shows only
    what was there when it was opened, so another is opened."""
    descriptor = os.open(b".", OPEN_DIRECTORY, dir_fd=directory)
    try:
        with os.scandir(descriptor) as entries:
            found = [
                Found(
                    os.fsencode(entry.name),
                    entry.inode(),
                    entry.is_dir(follow_symlinks=False),
                    entry.is_file(follow_symlinks=False),
                )
                for entry in entries
            ]
    finally:
        os.close(descriptor)
    return sorted(found, key=lambda one: one.name)


def by_descriptor(directory: int, name: bytes) -> bytes:
    """A path for system calls that take no directory descriptor; its last part is not followed if they do not."""
    return b"/proc/self/fd/%d/%s" % (directory, name)
