"""Parts for tests of bootloaders: an image tree that is a directory, and an ESP in a file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bootc.durable import Observer
from bootc.esp import MtoolsVolume
from bootc.storage import Tree

MIB = 1 << 20


class DirectoryTree(Tree):
    """The files below a directory, taken as an image's."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, path: PurePosixPath) -> BinaryIO:
        return (self.root / path).open("rb")

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        directory = self.root / path
        return tuple(sorted(entry.name for entry in directory.iterdir())) if directory.is_dir() else ()

    @contextmanager
    def directory(self) -> Iterator[Path]:
        yield self.root


def fat_volume(path: Path, size: int, observer: Observer | None = None) -> MtoolsVolume:
    """A new FAT32 filesystem of `size` bytes, 1 MiB into an image file."""
    with path.open("wb") as file:
        file.truncate(size + 2 * MIB)
    argv = ("mkfs.vfat", "-F", "32", "-s", "1", "--offset", str(MIB // 512), str(path), str(size // 1024))
    subprocess.run(argv, check=True, capture_output=True)
    return MtoolsVolume(path, MIB, observer=observer)


def cut_while_removing(volume: MtoolsVolume, name: PurePosixPath) -> None:
    """A file of 1024 bytes whose clusters are free already, and the name is still there: as states of real disks had
    it."""
    volume.replace(name, b"x" * 1024)
    with volume.device.open("r+b", buffering=0) as disk:  # mtools writes it, too
        disk.seek(volume.offset)
        boot = disk.read(512)
        sector, reserved, fats = int.from_bytes(boot[11:13], "little"), int.from_bytes(boot[14:16], "little"), boot[16]
        size = (int.from_bytes(boot[22:24], "little") or int.from_bytes(boot[36:40], "little")) * sector
        first = volume.offset + reserved * sector
        disk.seek(first)
        before = disk.read(size)
        volume.remove(name)
        disk.seek(first)
        after = disk.read(size)
        volume.replace(name, b"x" * 1024)
        assert before != after
        for number in range(fats):
            disk.seek(first + number * size)
            disk.write(after)
