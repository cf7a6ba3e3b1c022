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
