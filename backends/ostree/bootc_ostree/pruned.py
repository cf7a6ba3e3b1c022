"""Whether pruning would find anything. It reads all that is needed, which takes long where images are large; what it
finds follows from the objects that are there and the commits that refs name. When objects came or went is told by the
times at which their folders changed (st_ctime, which nobody can set)."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume, explain
from bootc.errors import BootcError
from bootc_ostree import index
from bootc_ostree.glib import OSTree


@frozen
class Pruned:
    """The state in which the last pruning left the repository, in a file of 64 hex digits (SHA-256) and a newline.

    Any other content, or none, makes the next pruning a real one: it can be removed at any time.
    """

    volume: DirectoryVolume
    path: PurePosixPath

    def is_current(self, repo: OSTree.Repo) -> bool:
        """Whether nothing came, went or lost its name since."""
        return self.volume.read_optional(self.path) == _state(repo)

    def remember(self, repo: OSTree.Repo) -> None:
        """Keep the state as it is now. Where that fails (a full filesystem), the next pruning is a real one."""
        with suppress(BootcError):
            state = _state(repo)
            if self.volume.read_optional(self.path) != state:
                self.volume.make_directories(self.path.parent)
                self.volume.replace(self.path, state)


def _state(repo: OSTree.Repo) -> bytes:
    digest = hashlib.sha256()
    for commit in sorted(set(index.names(repo, None).values())):
        digest.update(commit.encode())
    path = os.path.join(repo.get_path().get_path(), "objects")
    try:
        with os.scandir(path) as folders:
            for name, changed in sorted(
                (folder.name, folder.stat(follow_symlinks=False).st_ctime_ns) for folder in folders
            ):
                digest.update(b"/%s %d" % (os.fsencode(name), changed))
    except OSError as error:
        raise explain(error, path) from error
    return b"%s\n" % digest.hexdigest().encode()
