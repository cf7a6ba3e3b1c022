"""Regular files of a new tree: from what a layer holds, or from another tree that has the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen

from bootc.layers import Content, Entry
from bootc.roots.trees.metadata import set_metadata
from bootc.roots.trees.sharing import Sharing, Twin, write_all
from bootc.roots.trees.steps import TreeSteps

NOTHING = hashlib.sha256().digest()
"""of a file without content"""

_CHUNK = 1 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen
class Written:
    """A file that was made."""

    inode: int
    digest: bytes | None
    """SHA-256 of its content; None: nobody had the content, and the file is empty"""


class FileWriter:
    """Makes files of one layer, sharing with one other tree."""

    def __init__(self, steps: TreeSteps, sharing: Sharing | None) -> None:
        self._steps, self._sharing = steps, sharing
        self._owner = (os.geteuid(), os.getegid())

    def stream(self, entry: Entry, directory: int, content: Content) -> Written:
        """A file of which the layer is at hand."""
        digest, rest = hashlib.sha256(), b""
        with self._twin(entry, self._sharing if self._sharing and self._sharing.is_of_use else None) as twin:
            while twin and not rest and (piece := content.read(_CHUNK)):
                digest.update(piece)
                rest = b"" if twin.continues(piece) else piece
            if twin and not rest and self._linked(twin, entry, directory):
                return Written(os.fstat(twin.descriptor).st_ino, digest.digest())
            with self._made(entry, directory, twin) as target:
                position = twin.same if twin else 0
                while piece := rest or content.read(_CHUNK):
                    if not rest:
                        digest.update(piece)
                    rest = b""
                    self._steps.tell("write", entry.path, data=piece)
                    position += write_all(target, piece, position)
        return Written(os.stat(entry.name, dir_fd=directory, follow_symlinks=False).st_ino, digest.digest())

    def copy(self, entry: Entry, directory: int, digest: bytes) -> Written:
        """A file that the other tree has, if it has this digest there. Without it, an empty one, for the time being."""
        with self._twin(entry, self._sharing) as twin:
            found = twin if twin and twin.has(digest, entry.size) else None
            if found and self._linked(found, entry, directory):
                return Written(os.fstat(found.descriptor).st_ino, digest)
            with self._made(entry, directory, found) as target:
                inode = os.fstat(target).st_ino
        return Written(inode, digest if found or digest == NOTHING else None)

    @contextmanager
    def _twin(self, entry: Entry, sharing: Sharing | None) -> Iterator[Twin | None]:
        if sharing is None or not entry.size:
            yield None
            return
        with sharing.twin(entry) as twin:
            yield twin

    def _linked(self, twin: Twin, entry: Entry, directory: int) -> bool:
        sharing = self._sharing
        if sharing is None or not sharing.can_link(twin, entry):
            return False
        self._steps.tell_from(sharing.root, "link", entry.path)
        if sharing.link(twin, entry, directory):
            return True
        self._steps.tell("unlink", entry.path)
        return False

    @contextmanager
    def _made(self, entry: Entry, directory: int, twin: Twin | None) -> Iterator[int]:
        """A new file, open, with what is alike in its twin; at the end it gets all that makes it what it is."""
        self._steps.tell("create", entry.path, data=b"600")
        target = os.open(entry.name, _CREATE, 0o600, dir_fd=directory)
        try:
            if twin and twin.same and self._sharing:
                self._steps.tell_from(self._sharing.root, "clone", entry.path, data=b"%d" % twin.same)
                self._sharing.fill(twin, entry.size, target)
            yield target
            set_metadata(self._steps, entry, target, owner=self._owner)
        finally:
            os.close(target)
