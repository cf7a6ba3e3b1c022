"""Objects: files that are named by the fs-verity digest of their content, written once and never changed.

A new object is written in `incoming` and renamed. Nothing is synced here: whoever writes a record that names objects
calls `settle` before. Until then a power cut may leave an object that is not whole; so an object that is there already,
and is brought by another layer, is read once and compared before it is taken for good.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import BinaryIO

from bootc.durable import DirectoryVolume, explain
from bootc.errors import BootcError
from bootc_composefs import fsverity
from bootc_composefs.failures import ObjectError, VerityMissingError
from bootc_composefs.fsverity import Algorithm, VerityHash
from bootc_composefs.layout import INCOMING, OBJECTS
from bootc_composefs.tree import Object

_BUFFER = 8 << 20
"""contents up to this size are hashed before anything is written"""
_CHUNK = 1 << 20
_PIECE = 1 << 16
"""bytes that are read at once; for much more, memory is asked for anew at each of many small files"""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_THREADS = 4


class Objects:
    """The objects of one sysroot."""

    def __init__(self, volume: DirectoryVolume, algorithm: Algorithm, *, has_verity: bool = False) -> None:
        self._volume, self._algorithm, self._has_verity = volume, algorithm, has_verity
        self._present: dict[str, set[str]] | None = None
        self._sound: set[bytes] = set()
        self.unsettled = 0
        """bytes that were written since they were last brought to the disk"""
        self._directories: set[bytes] = set()
        self._number, self._prefix = 0, secrets.token_hex(4).encode()
        self._objects_at = os.fsencode(volume.path(OBJECTS)) + b"/"
        self._incoming_at = os.fsencode(volume.path(INCOMING)) + b"/"

    # ------------------------------------------------------------ reading

    def path(self, object: Object) -> PurePosixPath:
        """Where it lies, below the sysroot."""
        return OBJECTS / os.fsdecode(object.path)

    def open(self, object: Object) -> BinaryIO:
        """For reading. Raises ObjectError if it is missing."""
        path = self.path(object)
        try:
            return self._volume.open(path)
        except FileNotFoundError as error:
            raise ObjectError(str(path), "is missing") from error

    def read(self, object: Object) -> bytes:
        """A small one, compared with its digest. Raises ObjectError."""
        with self.open(object) as file, self._explained(object):
            data = file.read()
        if fsverity.digest_of(data, self._algorithm) != object.digest:
            raise ObjectError(str(self.path(object)), "its content is not what its name says")
        return data

    def pieces(self, object: Object) -> Iterator[bytes]:
        """The content in pieces; at its end ObjectError is raised if it was not what the digest says."""
        measured = VerityHash(self._algorithm)
        with self._explained(object), self._opened(object) as descriptor:
            while piece := os.read(descriptor, _PIECE):
                measured.update(piece)
                yield piece
        if measured.digest() != object.digest:
            raise ObjectError(str(self.path(object)), "its content is not what its name says")

    def size(self, object: Object) -> int | None:
        """Of its file; None if there is none."""
        try:
            found = os.lstat(self._objects_at + object.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._explanation(object, error) from error
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def damage(self, object: Object) -> str | None:
        """What is wrong with it, found by reading all of it; None if nothing is."""
        try:
            for _ in self.pieces(object):
                pass
        except ObjectError as error:
            return error.problem
        return None

    def all(self) -> Iterator[Object]:
        """All that are there."""
        for directory in self._volume.names(OBJECTS):
            for name in self._volume.names(OBJECTS / directory):
                try:
                    digest = bytes.fromhex(directory + name)
                except ValueError:
                    continue
                if len(digest) == self._algorithm.size:
                    yield Object.of(digest)

    # ------------------------------------------------------------ writing

    def put(self, read: Callable[[int], bytes], size: int) -> Object:
        """Keep content of this size. Raises NoSpaceError, FileSystemError."""
        if size > _BUFFER:
            return self._put_large(read)
        return self.put_bytes(read(size))

    def put_bytes(self, data: bytes) -> Object:
        """Keep content that is in memory."""
        object = Object.of(fsverity.digest_of(data, self._algorithm))
        if not self.is_sound(object):
            with self._incoming() as (name, descriptor):
                self._write(name, descriptor, data)
                self._take(name, object)
        return object

    def _put_large(self, read: Callable[[int], bytes]) -> Object:
        measured = VerityHash(self._algorithm)
        with self._incoming() as (name, descriptor):
            while piece := read(_CHUNK):
                measured.update(piece)
                self._write(name, descriptor, piece)
            object = Object.of(measured.digest())
            if self.is_sound(object):
                self._volume.remove(INCOMING / os.fsdecode(name))
            else:
                self._take(name, object)
        return object

    def is_sound(self, object: Object) -> bool:
        """Whether it is there and whole: read once, in the life of this instance."""
        if object.digest in self._sound:
            return True
        if not self._has(object) or self.damage(object):
            return False
        self._sound.add(object.digest)
        return True

    def settle(self, objects: Collection[Object]) -> None:
        """Bring all to the disk, and give fs-verity to these where the filesystem can. Raises VerityError."""
        self._volume.sync()
        self.unsettled = 0
        if self._has_verity and self._protect(objects):
            self._volume.sync()

    def unprotected(self, objects: Iterable[Object]) -> Iterator[Object]:
        """Those among them that do not have fs-verity with the digest of their names."""
        for object in objects:
            with self._explained(object), self._opened(object) as descriptor:
                if not self._is_protected(descriptor, object):
                    yield object

    def remove(self, object: Object) -> None:
        """Remove it; no record may name it. It is gone for good after the next sync."""
        self._volume.remove(self.path(object))
        self._sound.discard(object.digest)

    # ------------------------------------------------------------ parts

    def _has(self, object: Object) -> bool:
        if self._present is None:
            names = self._volume.names(OBJECTS)
            self._present = {name: set(self._volume.names(OBJECTS / name)) for name in names}
        directory, _, name = os.fsdecode(object.path).partition("/")
        return name in self._present.get(directory, ())

    @contextmanager
    def _incoming(self) -> Iterator[tuple[bytes, int]]:
        """A new file; removed again if it does not become whole. Paths are bytes here: there are very many of them."""
        self._number += 1
        name = b"%s-%d" % (self._prefix, self._number)
        try:
            self._step("create", INCOMING, name, data=b"644")
            descriptor = os.open(self._incoming_at + name, _CREATE, 0o644)
            try:
                yield name, descriptor
            finally:
                os.close(descriptor)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(self._incoming_at + name)
                self._step("unlink", INCOMING, name)
            if isinstance(error, OSError):
                raise explain(error, str(self._volume.path(INCOMING))) from error
            raise

    def _write(self, name: bytes, descriptor: int, data: bytes) -> None:
        self._step("write", INCOMING, name, data=data)
        self.unsettled += len(data)
        done = os.write(descriptor, data)
        while done < len(data):
            done += os.write(descriptor, memoryview(data)[done:])

    def _take(self, name: bytes, object: Object) -> None:
        """Give a whole file its name."""
        with self._explained(object):
            directory = object.path[:2]
            if directory not in self._directories:
                self._make_directory(directory)
            if self._volume.is_observed:
                self._volume.announce("rename", INCOMING / os.fsdecode(name), self.path(object))
            os.rename(self._incoming_at + name, self._objects_at + object.path)
        self._sound.add(object.digest)

    def _make_directory(self, name: bytes) -> None:
        if not os.path.isdir(self._objects_at + name):
            self._step("mkdir", OBJECTS, name, data=b"755")
            os.mkdir(self._objects_at + name)
        self._directories.add(name)

    def _protect(self, objects: Collection[Object]) -> bool:
        """Give fs-verity to all; whether any did not have it. In threads: it is mostly waiting for the disk."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return any(list(pool.map(self._protect_one, {object.digest: object for object in objects}.values())))

    def _protect_one(self, object: Object) -> bool:
        with self._opened(object) as descriptor:
            if self._is_protected(descriptor, object):
                return False
            fsverity.enable(descriptor, self._algorithm, str(self._volume.path(self.path(object))))
            if self._is_protected(descriptor, object):
                return True
        self._replace(object)
        return True

    def _replace(self, object: Object) -> None:
        """Write its content anew, for it has an fs-verity of another kind, which cannot be changed."""
        with self._incoming() as (name, descriptor):
            for piece in self.pieces(object):
                self._write(name, descriptor, piece)
            self._take(name, object)
        with self._opened(object) as descriptor:
            fsverity.enable(descriptor, self._algorithm, str(self._volume.path(self.path(object))))
            if not self._is_protected(descriptor, object):
                raise ObjectError(str(self.path(object)), "the kernel measures another digest than its name")

    def _is_protected(self, descriptor: int, object: Object) -> bool:
        try:
            return fsverity.measure(descriptor, str(self.path(object))) == (self._algorithm, object.digest)
        except VerityMissingError:
            return False

    @contextmanager
    def _opened(self, object: Object) -> Iterator[int]:
        try:
            descriptor = os.open(self._objects_at + object.path, _READ)
        except FileNotFoundError as error:
            raise ObjectError(str(self.path(object)), "is missing") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _explained(self, object: Object) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explanation(object, error) from error

    def _explanation(self, object: Object, error: OSError) -> BootcError:
        """EIO is what the kernel answers where fs-verity finds other content; a link or a directory is no object."""
        if error.errno in (errno.EIO, errno.EBADMSG, errno.ELOOP, errno.EISDIR):
            return ObjectError(str(self.path(object)), error.strerror or "cannot be read")
        return explain(error, str(self._volume.path(self.path(object))))

    def _step(self, name: str, directory: PurePosixPath, file: bytes, data: bytes | None = None) -> None:
        if self._volume.is_observed:
            self._volume.announce(name, directory / os.fsdecode(file), data=data)
