"""fs-verity: digests computed in user space, and the kernel's ioctls to enable and to measure it.

A digest is the hash of a descriptor that has the size, and the root of a Merkle tree over blocks of 4096 bytes, without
salt: what `fsverity digest` prints and the kernel measures. See Documentation/filesystems/fsverity.rst.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bootc.durable import explain as explain_failure
from bootc.errors import BootcError
from bootc_composefs.failures import VerityBusyError, VerityError, VerityMissingError, VerityUnsupportedError

BLOCK = 4096
_STEP = 1 << 20
_BLOCK_BITS = 12
_DESCRIPTOR = struct.Struct("<BBBBIQ64s32s144x")
_ENABLE = struct.Struct("<IIIIQIIQ88x")
_MEASURE = struct.Struct("<HH64s")
_SPARE = 64


class Algorithm(enum.Enum):
    """The hashes that fs-verity knows; the values are the names of hashlib and of the fsverity program."""

    SHA256 = "sha256"
    SHA512 = "sha512"

    @property
    def number(self) -> int:
        """FS_VERITY_HASH_ALG_* of linux/fsverity.h."""
        return 1 if self is Algorithm.SHA256 else 2

    @property
    def size(self) -> int:
        """Bytes of a digest."""
        return 32 if self is Algorithm.SHA256 else 64


class Reader(Protocol):
    """A binary stream: `read(n)` gives at most n bytes, and none only at the end."""

    def read(self, size: int, /) -> bytes: ...


class _Hash(Protocol):
    def digest(self) -> bytes: ...


class VerityHash:
    """The fs-verity digest of bytes that come in pieces, so that a file is hashed in the pass that writes it.

    Memory is that of the tree's unfinished blocks: under 64 KiB, whatever the size of the file.
    """

    __slots__ = ("_algorithm", "_hash", "_levels", "_part", "size")

    def __init__(self, algorithm: Algorithm = Algorithm.SHA256) -> None:
        self._algorithm = algorithm
        self._hash: Callable[[bytes | memoryview], _Hash] = getattr(hashlib, algorithm.value)
        self._part = b""
        self._levels: list[_Level] = [_Level()]
        self.size = 0
        """Bytes that came so far."""

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data).cast("B")
        self.size += len(view)
        start = 0
        if self._part:
            start = min(BLOCK - len(self._part), len(view))
            self._part += view[:start]
            if len(self._part) < BLOCK:
                return
            self._add(0, self._hash(self._part).digest())
        end = start + (len(view) - start) // BLOCK * BLOCK
        if end > start:
            self._add(0, self._hashes(view[start:end]))
        self._part = bytes(view[end:])

    def digest(self) -> bytes:
        """The fs-verity digest of what came so far. More may follow after it."""
        descriptor = _DESCRIPTOR.pack(1, self._algorithm.number, _BLOCK_BITS, 0, 0, self.size, self._root(), b"")
        return self._hash(descriptor).digest()

    def _add(self, number: int, hashes: bytes) -> None:
        """Append hashes to a level of the tree; its full blocks are hashed into the level above."""
        if number == len(self._levels):
            self._levels.append(_Level())
        level = self._levels[number]
        level.count += len(hashes)
        level.open += hashes
        if len(level.open) < BLOCK:
            return
        end = len(level.open) // BLOCK * BLOCK
        full, level.open = memoryview(level.open)[:end], level.open[end:]
        self._add(number + 1, self._hashes(full))

    def _hashes(self, blocks: memoryview) -> bytes:
        hash = self._hash
        return b"".join([hash(blocks[at : at + BLOCK]).digest() for at in range(0, len(blocks), BLOCK)])

    def _root(self) -> bytes:
        """The one hash on top; zeros for an empty file."""
        rest = self._padded(self._part)
        for level in self._levels:
            if level.count + len(rest) <= self._algorithm.size:
                return level.open + rest
            rest = self._padded(level.open + rest)
        return rest

    def _padded(self, block: bytes) -> bytes:
        """The hash of a block that is not full yet; nothing for nothing."""
        return self._hash(block.ljust(BLOCK, b"\0")).digest() if block else b""


class _Level:
    """Hashes of one level: bytes of all that there were, and those that do not fill a block yet."""

    __slots__ = ("count", "open")

    def __init__(self) -> None:
        self.count = 0
        self.open = b""


def digest_of(data: bytes | memoryview, algorithm: Algorithm = Algorithm.SHA256) -> bytes:
    """The fs-verity digest of bytes in memory."""
    verity = VerityHash(algorithm)
    verity.update(data)
    return verity.digest()


def digest_of_stream(stream: Reader, algorithm: Algorithm = Algorithm.SHA256) -> bytes:
    """The fs-verity digest of what is left in a stream."""
    verity = VerityHash(algorithm)
    while data := stream.read(_STEP):
        verity.update(data)
    return verity.digest()


# ---------------------------------------------------------------- the kernel's side


def _request(direction: int, number: int, size: int) -> int:
    """An ioctl number as `_IOC` makes it; powerpc has other bits for the direction (1 write, 2 read)."""
    if os.uname().machine.startswith("ppc"):
        return {1: 4, 2: 2, 3: 6}[direction] << 29 | size << 16 | ord("f") << 8 | number
    return direction << 30 | size << 16 | ord("f") << 8 | number


_FS_IOC_ENABLE_VERITY = _request(1, 133, _ENABLE.size)
_FS_IOC_MEASURE_VERITY = _request(3, 134, 4)


def enable(descriptor: int, algorithm: Algorithm = Algorithm.SHA256, path: str = "file") -> None:
    """Let the kernel build the tree of a file and refuse from then on what does not match it. The file becomes
    read-only for ever. One that has fs-verity already is left alone: measure it.

    `descriptor` must be open for reading only, and nothing may have the file open for writing. `path` is for errors.
    Raises VerityUnsupportedError, VerityBusyError, VerityError or NoSpaceError.
    """
    argument = _ENABLE.pack(1, algorithm.number, BLOCK, 0, 0, 0, 0, 0)
    try:
        fcntl.ioctl(descriptor, _FS_IOC_ENABLE_VERITY, argument)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise explain(error, path) from error


def measure(descriptor: int, path: str = "file") -> tuple[Algorithm, bytes]:
    """The digest that the kernel holds the file to, and its hash; the contents are not read for it.

    Raises VerityMissingError where the file has none, VerityUnsupportedError, or VerityError.
    """
    buffer = bytearray(_MEASURE.pack(0, _SPARE, b""))
    try:
        fcntl.ioctl(descriptor, _FS_IOC_MEASURE_VERITY, buffer)
    except OSError as error:
        raise explain(error, path) from error
    number, size, digest = _MEASURE.unpack(buffer)
    for algorithm in Algorithm:
        if (algorithm.number, algorithm.size) == (number, size):
            return algorithm, digest[:size]
    raise VerityUnsupportedError(path, f"fs-verity with hash {number} of {size} bytes, which is unknown here")


def unsupported_reason(directory: Path, algorithm: Algorithm = Algorithm.SHA256) -> str | None:
    """Why files in this directory cannot have fs-verity; None if they can. Found out with a file that has no name.

    Raises NoSpaceError, FileSystemError.
    """
    shown = str(directory)
    try:
        writable = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(writable, b"fs-verity")
            readable = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(writable)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR):
            return "the filesystem has no files without names to try it with, as those with fs-verity do"
        raise explain_failure(error, shown) from error
    try:
        enable(readable, algorithm, shown)
        measured = measure(readable, shown)
    except VerityUnsupportedError as error:
        return error.problem
    finally:
        os.close(readable)
    return None if measured == (algorithm, digest_of(b"fs-verity", algorithm)) else "the kernel measures another digest"


def explain(error: OSError, path: str) -> BootcError:
    """The typed error for what one of the two ioctls answered."""
    match error.errno:
        case errno.ENODATA:
            return VerityMissingError(path, "fs-verity is not enabled on this file")
        case errno.ENOTTY:
            return VerityUnsupportedError(path, "the filesystem or the kernel has no fs-verity", _ABLE)
        case errno.EOPNOTSUPP:
            return VerityUnsupportedError(path, "fs-verity is not enabled on this filesystem", _FEATURE)
        case errno.EINVAL | errno.ENOPKG:
            return VerityUnsupportedError(path, "no fs-verity with this hash and blocks of 4096 bytes here", _BLOCKS)
        case errno.ENOSPC | errno.EDQUOT:  # for the tree, which is kept beside the content
            return explain_failure(error, path)
        case errno.ETXTBSY | errno.EBUSY:
            return VerityBusyError(path, "the file is open for writing, or fs-verity is being enabled on it")
        case _:
            return VerityError(path, f"fs-verity: {os.strerror(error.errno or errno.EIO)}")


_ABLE = "ext4, btrfs and f2fs can have it, with a kernel that has CONFIG_FS_VERITY"
_BLOCKS = "the filesystem itself needs blocks of 4096 bytes: `mkfs.ext4 -b 4096` (small ones get 1024)"
_FEATURE = "on ext4, unmounted: `tune2fs -O verity DEVICE`"
