"""A FAT filesystem as a volume: where Linux has mounted it, or inside a block device or an image file, through mtools.

mtools is for kernels that mount no vfat (build machines, containers), and for disks in image files.
"""

from __future__ import annotations

import io
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias

from attrs import frozen

from bootc.durable import TEMPORARY, DirectoryVolume, Observer, Step, Volume, flush
from bootc.errors import BootcError, FileSystemError, NoSpaceError, ProgramError
from bootc.machine import Command, Outcome

_ROOT = PurePosixPath()
_PATIENCE = 600.0
"""seconds for one program: mtools can run for ever on a damaged FAT"""
_ENVIRONMENT = {
    "MTOOLSRC": "/dev/null",
    "MTOOLS_SKIP_CHECK": "1",
    "MTOOLS_DATE_STRING": "yyyy-mm-dd",
    "MTOOLS_TWENTY_FOUR_HOUR_CLOCK": "1",
    "MTOOLS_LOWER_CASE": "0",
    "MTOOLS_DOTTED_DIR": "0",
}
_NAME = re.compile(r"[A-Za-z0-9 ._+,;=@#$%&'()~^!{}-]{1,200}")
_LINE = re.compile(r"(.{8}) (.{3}) +(?:(<DIR>)|(\d+)) +\d{4}-\d\d-\d\d +\d?\d:\d\d ? ?(.*)")
_NO_CLUSTERS = re.compile(r"Fat problem while decoding")
_FULL = re.compile("No space left|No free cluster|Disk full|No directory slots", re.IGNORECASE)
_FREE = re.compile(r"^ +([\d ]+) bytes free", re.MULTILINE)


@frozen
class _File:
    """One line of a listing; `size` is None for a directory."""

    name: str
    size: int | None


_Listing: TypeAlias = Mapping[str, _File]


class MtoolsVolume(Volume):
    """A FAT filesystem at a byte offset of a device or image file. Names compare without case, as FAT does, and names
    of the form 8.3 may be stored in upper case.

    Every operation is one run of an mtools program, ended by an fsync of the device or file. FAT has no journal and
    mtools no replacing rename, so `replace` is a new file under a temporary name, then the removal of the old file,
    then the rename. A power cut between the last two leaves neither name: callers that need a file at every moment
    write the new one under a name of its own and remove the old one afterwards. A cut within one operation can lose
    clusters (`fsck.vfat` finds them), not files that were to stay. What it leaves of a file that was being removed, a
    name without clusters, reads as empty, and is replaced and removed like any other.
    """

    def __init__(self, path: Path, offset: int = 0, name: str = "esp", observer: Observer | None = None) -> None:
        self.device, self.offset, self.name, self._observer = path, offset, name, observer

    def read(self, path: PurePosixPath) -> bytes:
        if self.size(path) is None:
            raise FileNotFoundError(str(path))
        try:
            return self._run("mtype", _spelled(path)).stdout
        except FileSystemError as error:
            if _NO_CLUSTERS.search(error.message):
                return b""
            raise

    def open(self, path: PurePosixPath) -> BinaryIO:
        return io.BytesIO(self.read(path))

    def size(self, path: PurePosixPath) -> int | None:
        found = self._find(path)
        return found.size if found else None

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        return tuple(sorted(file.name for file in self._list(path).values()))

    def is_directory(self, path: PurePosixPath) -> bool:
        if not path.parts:
            return True
        found = self._find(path)
        return found is not None and found.size is None

    def make_directories(self, path: PurePosixPath, mode: int = 0o755) -> None:
        for directory in self.missing(path):
            self._step("mkdir", directory)
            self._run("mmd", _spelled(directory))
            self._sync(directory.parent)

    def replace(self, path: PurePosixPath, data: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        digits = max(12, len(path.name) - len(TEMPORARY))
        temporary = path.parent / (TEMPORARY + secrets.token_hex(digits)[:digits])
        try:
            self._write(temporary, data if isinstance(data, bytes) else b"".join(data))
            self.rename(temporary, path)
        except BaseException:
            self._run("mdel", _spelled(temporary), codes=frozenset({0, 1}))
            raise

    def rename(self, old: PurePosixPath, new: PurePosixPath) -> None:
        """Move it. A file that gets a longer name is written anew: mren of mtools 4.0.32 fails an assertion there."""
        if str(old).casefold() == str(new).casefold():  # one name to FAT, and mren refuses it
            return
        if self.size(new) is not None:
            self.remove(new)
        if _slots(new) > _slots(old) and self.size(old) is not None:
            self._write(new, self.read(old))
            self.remove(old)
            return
        self._step("rename", old, new)
        self._run("mren" if old.parent == new.parent else "mmove", _spelled(old), _spelled(new))
        self._sync(new.parent)

    def remove(self, path: PurePosixPath) -> None:
        found = self._find(path)
        if found is None:
            return
        if found.size is None:
            for name in self.names(path):
                self.remove(path / name)
        self._step("rmdir" if found.size is None else "unlink", path)
        self._run("mrd" if found.size is None else "mdel", _spelled(path))
        self._sync(path.parent)

    def sync(self) -> None:
        self._step("syncfs", _ROOT)
        flush(self.device, os.O_RDWR)

    def free(self) -> int:
        found = _FREE.search(self._run("mdir", _spelled(_ROOT)).text + "\n")
        if found is None:
            raise FileSystemError(self._place(), "mdir does not tell the free space")
        return int(found[1].replace(" ", ""))

    def _write(self, path: PurePosixPath, data: bytes) -> None:
        self._step("create", path)
        self._step("write", path, data=data)
        outcome = self._run("mcopy", "-", _spelled(path), input=data)
        if self.size(path) != len(data):  # mcopy ends with 0 on a full disk
            raise self._explain("mcopy", outcome.stderr.decode(errors="replace"))
        self._sync(path)

    def _find(self, path: PurePosixPath) -> _File | None:
        return self._list(path.parent).get(path.name.casefold()) if path.parts else None

    def _list(self, path: PurePosixPath) -> _Listing:
        """The files of a directory by their case-folded names; empty if there is no such directory."""
        outcome = self._run("mdir", "-a", f"{_spelled(path)}/", codes=frozenset({0, 1}))
        if outcome.code and b"not found" not in outcome.stderr and b"Not a directory" not in outcome.stderr:
            raise self._explain("mdir", outcome.stderr.decode(errors="replace"))
        found = (_parse(line) for line in outcome.text.splitlines())
        return {file.name.casefold(): file for file in found if file and file.name not in (".", "..")}

    def _run(self, program: str, *words: str, input: bytes = b"", codes: frozenset[int] = frozenset({0})) -> Outcome:
        argv = (program, "-i", f"{self.device}@@{self.offset}", *words)
        purpose = "write to an EFI system partition that is not mounted"
        try:
            return Command(argv, purpose, codes, _ENVIRONMENT, input, timeout=_PATIENCE).run()
        except ProgramError as error:
            raise self._explain(program, error.output) from error

    def _explain(self, program: str, output: str) -> BootcError:
        if _FULL.search(output):
            return NoSpaceError("a file", self._place())
        return FileSystemError(self._place(), output.strip() or f"{program} failed and does not say why")

    def _place(self, path: PurePosixPath = _ROOT) -> str:
        return f"{self.device}, EFI system partition, /{path if path.parts else ''}"

    def _sync(self, path: PurePosixPath) -> None:
        self._step("fsync", path)
        flush(self.device, os.O_RDWR)

    def _step(self, name: str, *paths: PurePosixPath, data: bytes | None = None) -> None:
        if self._observer:
            self._observer(Step(self.name, name, tuple(map(str, paths)), data))


def _spelled(path: PurePosixPath) -> str:
    """The path as mtools takes it; names that FAT or mtools' own patterns would not take to the letter are refused."""
    for name in path.parts:
        if not _NAME.fullmatch(name) or name[-1] in ". ":
            raise FileSystemError(str(path), "not a file name for an EFI system partition")
    return "::/" + "/".join(path.parts)


def _slots(path: PurePosixPath) -> int:
    """Directory entries that a long name takes, 13 characters in each (FAT specification)."""
    return -(-len(path.name) // 13)


def _parse(line: str) -> _File | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    stem, extension, directory, size, long_name = found.groups()
    short = stem.rstrip() + ("." + extension.rstrip() if extension.strip() else "")
    return _File(long_name.rstrip() or short, None if directory else int(size))


class MountedFatVolume(DirectoryVolume):
    """A FAT filesystem that Linux has mounted.

    Its vfat keeps where a renamed file begins in the file's inode: on disk the new name has no content, or still the
    clusters of the file that it replaced, which are free already, until that inode is written. So it is, at once.
    """

    def _rename(self, old: PurePosixPath, new: PurePosixPath) -> None:
        super()._rename(old, new)
        self._step("fsync", new)
        descriptor = os.open(self.path(new), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
