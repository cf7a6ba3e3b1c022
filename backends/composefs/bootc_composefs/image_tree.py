"""The files of an image, out of its tree and the objects: nothing is mounted."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bootc.durable import DirectoryVolume
from bootc.roots.images import ImageTree
from bootc_composefs.checkout import check_out, checked_out
from bootc_composefs.objects import Objects
from bootc_composefs.tree import Child, Directory, File, HardLink, Node, Object, Symlink

_SMALL = 4 << 20
"""bytes up to which a file is compared with its digest before anything of it is used"""


class ComposefsTree(ImageTree):
    """Files are compared with their digests when they are opened, except large ones."""

    def __init__(self, root: Directory, objects: Objects, volume: DirectoryVolume) -> None:
        self.root, self._objects, self._volume = root, objects, volume

    def open(self, path: PurePosixPath) -> BinaryIO:
        file = self.find(self.resolve(path))
        if not isinstance(file, File):
            raise FileNotFoundError(str(path))
        if not isinstance(file.content, Object):
            return io.BytesIO(file.content)
        return io.BytesIO(self._objects.read(file.content)) if file.size <= _SMALL else self._objects.open(file.content)

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        try:
            found = self.find(self.resolve(path))
        except FileNotFoundError:
            return ()
        return tuple(sorted(map(os.fsdecode, found.children))) if isinstance(found, Directory) else ()

    def directory(self) -> AbstractContextManager[Path]:
        """All files, checked out for as long as the block lasts."""
        return self.checked_out(PurePosixPath())

    @contextmanager
    def checked_out(self, path: PurePosixPath) -> Iterator[Path]:
        """A directory of the image (a path without links), checked out for as long as the block lasts."""
        with checked_out(self._directory_at(path), self._objects, self._volume) as where:
            yield where

    def check_out(self, path: PurePosixPath, place: PurePosixPath) -> None:
        """The same, to stay at a place of the volume, where nothing is."""
        check_out(self._directory_at(path), self._objects, self._volume, place)

    def link_target(self, path: PurePosixPath) -> str | None:
        found = self.find(path)
        return os.fsdecode(found.target) if isinstance(found, Symlink) else None

    def is_directory(self, path: PurePosixPath) -> bool:
        try:
            return isinstance(self.find(path), Directory)
        except FileNotFoundError:
            return False

    def find(self, path: PurePosixPath) -> Node:
        """What stands at a path, no links followed. Raises FileNotFoundError."""
        found: Child = self.root
        for name in path.parts:
            child = found.children.get(os.fsencode(name)) if isinstance(found, Directory) else None
            if child is None:
                raise FileNotFoundError(str(path))
            found = child
        return found.target if isinstance(found, HardLink) else found

    def _directory_at(self, path: PurePosixPath) -> Directory:
        found = self.find(path)
        if not isinstance(found, Directory):
            raise FileNotFoundError(str(path))
        return found
