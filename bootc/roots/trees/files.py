"""The files of an image that lies in a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bootc.roots.images import ImageTree


class DirectoryTree(ImageTree):
    """The tree below a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, path: PurePosixPath) -> BinaryIO:
        found = self._root / self.resolve(path)
        if not found.is_file():
            raise FileNotFoundError(str(path))
        return found.open("rb")

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(self._root / self.resolve(path))))
        except (FileNotFoundError, NotADirectoryError):
            return ()

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """The tree itself: nothing in it may be written to."""
        yield self._root

    def link_target(self, path: PurePosixPath) -> str | None:
        try:
            mode = os.lstat(self._root / path).st_mode
        except NotADirectoryError as error:
            raise FileNotFoundError(str(path)) from error
        return os.readlink(self._root / path) if stat.S_ISLNK(mode) else None

    def is_directory(self, path: PurePosixPath) -> bool:
        return (self._root / path).is_dir()
