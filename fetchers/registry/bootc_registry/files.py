"""Named, read-only files of an image on this machine: in a directory, or as members of a tar archive."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path

from bootc.errors import FetchError, IntegrityError, NotFoundError, ProtocolError
from bootc_registry.tar_index import Extent, index_tar

_MEDIUM_HINT = "mount the medium that it is on, or follow another image with `bootc switch`"

_CHUNK = 1 << 20


class FileReader:
    """A part of an open file, from `start` on. It owns the descriptor; for one thread."""

    def __init__(self, descriptor: int, extent: Extent, source: str) -> None:
        self.size = extent.size
        self._descriptor, self._extent, self._source = descriptor, extent, source
        self._position = 0

    def seek(self, start: int) -> None:
        """Go on at this offset."""
        self._position = start

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, or all that is left; b"" at the end. Raises IntegrityError if the file was cut."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        wanted = min(size, self.size - self._position)
        if wanted <= 0:
            return b""
        data = os.pread(self._descriptor, wanted, self._extent.offset + self._position)
        if not data:
            raise IntegrityError(self._source, "a file of the image is cut short")
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class Files(ABC):
    """Where the files are. `open` may be called from several threads."""

    @abstractmethod
    def open(self, name: str) -> FileReader:
        """A file by its relative name. Raises NotFoundError, or ProtocolError if it is no plain file."""

    @abstractmethod
    def close(self) -> None:
        """Close what holds the files; readers stay open."""

    def read(self, name: str, limit: int, source: str) -> bytes:
        """A whole small file. Raises ProtocolError if it has more than `limit` bytes."""
        reader = self.open(name)
        try:
            if reader.size > limit:
                raise ProtocolError(source, f"{name} is larger than {limit} bytes")
            return reader.read()
        finally:
            reader.close()


class Directory(Files):
    """Files below a directory. Symbolic links in it are refused: they could lead anywhere."""

    def __init__(self, path: Path, source: str) -> None:
        self._path, self._source = path, source
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _explained(error, str(path), source) from error

    def open(self, name: str) -> FileReader:
        *directories, last = name.split("/")
        holder = os.dup(self._descriptor)
        try:
            for directory in directories:
                inner = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=holder)
                os.close(holder)
                holder = inner
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(last, flags, dir_fd=holder)
        except OSError as error:
            raise _explained(error, str(self._path / name), self._source) from error
        finally:
            os.close(holder)
        return _whole(descriptor, str(self._path / name), self._source)

    def close(self) -> None:
        os.close(self._descriptor)


class Archive(Files):
    """Members of an uncompressed tar file: found in one pass over the headers, then read in place."""

    def __init__(self, path: Path, source: str) -> None:
        self._path, self._source = path, source
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _explained(error, str(path), source) from error
        self._archive = _whole(descriptor, str(path), source)
        self._descriptor = descriptor
        try:
            self._members = index_tar(descriptor, self._archive.size, source)
        except BaseException:
            self._archive.close()
            raise

    def open(self, name: str) -> FileReader:
        extent = self._members.get(name)
        if extent is None:
            raise NotFoundError(self._source, f"{self._path} has no member {name}")
        return FileReader(os.dup(self._descriptor), extent, self._source)

    def close(self) -> None:
        self._archive.close()


def _whole(descriptor: int, path: str, source: str) -> FileReader:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ProtocolError(source, f"{path} is not a regular file")
    return FileReader(descriptor, Extent(0, status.st_size), source)


def _explained(error: OSError, path: str, source: str) -> FetchError:
    if isinstance(error, FileNotFoundError):
        return NotFoundError(source, f"{path}: no such file or directory", _MEDIUM_HINT)
    return ProtocolError(source, f"{path} cannot be used: {(error.strerror or 'unknown error').lower()}")
