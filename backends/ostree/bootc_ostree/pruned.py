"""Whether pruning would find anything. It reads all that is needed, which takes long where images are large; what it
finds follows from the objects that are there and the commits that refs name, which are told quickly."""

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
    objects = os.path.join(os.fsencode(repo.get_path().get_path()), b"objects")
    for folder in _names(objects):
        digest.update(b"/%s/%s" % (folder, b" ".join(_names(os.path.join(objects, folder)))))
    return b"%s\n" % digest.hexdigest().encode()


def _names(directory: bytes) -> list[bytes]:
    """What is in a directory; none if it is a file that somebody left there, or gone."""
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise explain(error, os.fsdecode(directory)) from error
