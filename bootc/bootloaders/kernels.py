"""Kernels and initramfs images on an ESP, as `bootc/DIGEST.linux` and `.initrd`, shared by all that have the same.

They share one directory, which is there since the installation: FAT makes a directory in several writes that come in
any order, and one that a power cut left half made can neither be read nor removed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from attrs import frozen

from bootc.durable import Volume
from bootc.errors import BootloaderError, FileSystemError, NoSpaceError

FOLDER = PurePosixPath("bootc")
_CHUNK = 1 << 20
_SLACK = 64 * 1024
"""bytes that a file may take beyond its size: clusters and directory entries"""


@frozen
class File:
    """A file to be on the ESP: its place there, where it comes from, its size in bytes and SHA-256."""

    path: PurePosixPath
    source: Path
    size: int
    digest: str


@frozen
class Kernel:
    """A kernel and what is loaded with it."""

    linux: File
    initrd: tuple[File, ...]

    @property
    def files(self) -> tuple[File, ...]:
        """All of them, the kernel first."""
        return (self.linux, *self.initrd)


class Measurer:
    """Reads source files to know their digests; one that did not change since is not read again."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int, int], str] = {}

    def kernel(self, sources: Sequence[Path]) -> Kernel:
        """Where a kernel (the first source) and its initramfs images belong: named by their SHA-256."""
        linux, *initrd = (self._file(source, "initrd" if number else "linux") for number, source in enumerate(sources))
        return Kernel(linux, tuple(initrd))

    def _file(self, source: Path, kind: str) -> File:
        size, digest = self._measure(source)
        return File(FOLDER / f"{digest}.{kind}", source, size, digest)

    def _measure(self, source: Path) -> tuple[int, str]:
        try:
            with source.open("rb") as file:
                found = os.fstat(file.fileno())
                key = (source, found.st_ino, found.st_size, found.st_ctime_ns)
                if key not in self._known:
                    self._known[key] = _digest(file)
        except OSError as error:
            raise FileSystemError(str(source), error.strerror or str(error)) from error
        return found.st_size, self._known[key]


def missing(esp: Volume, kernels: Sequence[Kernel], doubted: Sequence[Kernel] = ()) -> tuple[File, ...]:
    """The files that are not on the ESP yet, each once. Of the doubted kernels what is there is read and compared."""
    files = dict.fromkeys(file for kernel in kernels for file in kernel.files)
    read = {file for kernel in doubted for file in kernel.files}
    return tuple(
        file for file in files if esp.size(file.path) != file.size or (file in read and not _is_right(esp, file))
    )


def _is_right(esp: Volume, file: File) -> bool:
    try:
        with esp.open(file.path) as there:
            return _digest(there) == file.digest
    except (FileSystemError, OSError):
        return False


def require_room(esp: Volume, files: Sequence[File], entries: int) -> None:
    """Raise NoSpaceError unless these files and so many entries fit."""
    required = sum(file.size + _SLACK for file in files) + entries * _SLACK
    available = esp.free()
    if required > available:
        raise NoSpaceError("kernels and initramfs images", "the EFI system partition", available, required)


def copy(esp: Volume, files: Sequence[File]) -> None:
    """Copy files to the ESP, each whole or not at all, and read them back."""
    esp.make_directories(FOLDER)
    for file in files:
        esp.replace_from(file.path, file.source)
        with esp.open(file.path) as copied:
            if _digest(copied) != file.digest:
                raise BootloaderError("systemd-boot", f"/{file.path} on the ESP is not the same as {file.source}")


def sweep(esp: Volume, keep: Container[PurePosixPath]) -> None:
    """Remove all files of kernels but these, and what a power cut left half written."""
    for name in esp.names(FOLDER):
        if FOLDER / name not in keep:
            esp.remove(FOLDER / name)


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
