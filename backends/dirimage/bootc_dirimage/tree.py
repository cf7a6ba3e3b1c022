"""The files of an image in its slot."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bootc.storage import Tree

_LINKS = 40
"""as many symbolic links as Linux follows in one path (ELOOP)"""


class SlotTree(Tree):
    """The tree below a directory; links are followed as if that were the root of the system."""

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
        """The slot's own tree: nothing in it may be written to."""
        yield self._root

    def resolve_optional(self, path: PurePosixPath) -> PurePosixPath | None:
        """The directory's path without links; None if there is no directory."""
        try:
            found = self.resolve(path)
        except FileNotFoundError:
            return None
        return found if (self._root / found).is_dir() else None

    def resolve(self, path: PurePosixPath) -> PurePosixPath:
        """The path without links. Raises FileNotFoundError if something in it is missing."""
        pending, real, links = list(reversed(path.parts)), PurePosixPath(), 0
        while pending:
            name = pending.pop()
            if name in ("/", ".", "..", ""):
                real = PurePosixPath() if name == "/" else real.parent if name == ".." else real
                continue
            try:
                mode = os.lstat(self._root / real / name).st_mode
            except NotADirectoryError as error:
                raise FileNotFoundError(str(path)) from error
            if not stat.S_ISLNK(mode):
                real /= name
                continue
            links += 1
            if links > _LINKS:
                raise FileNotFoundError(f"{path}: too many symbolic links")
            target = os.readlink(self._root / real / name)
            pending += reversed(["/", *target.split("/")] if target.startswith("/") else target.split("/"))
        return real
