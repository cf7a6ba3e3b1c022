"""What a volume can do, in which steps, and how its failures are told."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from attrs import frozen

from bootc.errors import BootcError, FileSystemError, NoSpaceError

TEMPORARY = ".bootc-tmp-"
"""prefix of files that are being written; any that are found later are leftovers"""

_CHUNK = 1 << 20


@frozen
class Step:
    """One state-changing operation: `name` is the system call, `paths` what it touches, `data` what is written.

    With what lay there before, a log of steps is enough to make every state again. Names, paths and data:
    `create`, `mkdir` (octal mode), `mknod` (`mode:device`, octal and decimal), `write` (bytes that are appended),
    `clone` (source, target; bytes that are appended from the source's beginning), `symlink` (target), `link` and
    `rename` (old, new), `exchange` (two paths), `unlink`, `rmdir`, `chown` (`uid:gid`), `chmod` (octal), `setxattr`
    (`name=value`), `removexattr` (name), `utimens` (nanoseconds), `fsync` and `syncfs`. An `unlink` of what is absent
    or a directory changes nothing.
    """

    volume: str
    name: str
    paths: tuple[str, ...]
    data: bytes | None = None


Observer = Callable[[Step], None]


class Volume(ABC):
    """One filesystem, written only by steps that survive a power cut."""

    name: str

    @abstractmethod
    def read(self, path: PurePosixPath) -> bytes:
        """The whole file. FileNotFoundError passes; other failures are FileSystemError."""

    @abstractmethod
    def open(self, path: PurePosixPath) -> BinaryIO:
        """The file, for reading. FileNotFoundError passes."""

    @abstractmethod
    def size(self, path: PurePosixPath) -> int | None:
        """Size of a file in bytes; None if there is no such regular file."""

    @abstractmethod
    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        """Sorted names in a directory; empty if there is none."""

    @abstractmethod
    def is_directory(self, path: PurePosixPath) -> bool:
        """Whether it is a directory (not a link to one)."""

    @abstractmethod
    def make_directories(self, path: PurePosixPath, mode: int = 0o755) -> None:
        """Make a directory and its parents; existing ones stay as they are."""

    @abstractmethod
    def replace(self, path: PurePosixPath, data: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        """Write a file whole: a temporary file, synced, renamed over `path`, its directory synced."""

    @abstractmethod
    def rename(self, old: PurePosixPath, new: PurePosixPath) -> None:
        """Move a file or a directory; a file at `new` is replaced."""

    @abstractmethod
    def remove(self, path: PurePosixPath) -> None:
        """Remove a file, link or whole directory; it may be absent."""

    @abstractmethod
    def sync(self) -> None:
        """Everything that was written reaches the disk (syncfs)."""

    @abstractmethod
    def free(self) -> int:
        """Bytes that can still be written."""

    def replace_from(self, path: PurePosixPath, source: Path) -> None:
        """Write a file whole, as `replace` does, with the contents of another one."""
        with source.open("rb") as file:
            self.replace(path, iter(lambda: file.read(_CHUNK), b""))

    def sweep(self, directory: PurePosixPath) -> None:
        """Remove files of a directory that a power cut left half written. Nobody else may be writing there."""
        for name in self.names(directory):
            if name.startswith(TEMPORARY):
                self.remove(directory / name)

    def exists(self, path: PurePosixPath) -> bool:
        """Whether there is a regular file or a directory."""
        return self.size(path) is not None or self.is_directory(path)

    def read_optional(self, path: PurePosixPath) -> bytes | None:
        """The whole file, or None if it is absent."""
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def missing(self, path: PurePosixPath) -> tuple[PurePosixPath, ...]:
        """The directories on the way to a path, and it itself, that are not there; the topmost first."""
        found = []
        while path.parts and not self.is_directory(path):
            found.append(path)
            path = path.parent
        return tuple(reversed(found))


def flush(path: Path, mode: int = os.O_RDONLY) -> None:
    """All that was written to a file, a directory or a device reaches the disk; it is opened in this mode for that."""
    descriptor = os.open(path, mode | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain(error: OSError, path: str) -> BootcError:
    """The typed error for a system call that failed on `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError("a file", path)
    if error.errno == errno.EROFS:
        return FileSystemError(path, "read-only file system", "remount it writable, or choose another target")
    return FileSystemError(path, error.strerror or str(error))
