"""A transaction of the repository: objects first, whole and on the disk, then the names that make them count."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootc.durable import DirectoryVolume
from bootc_ostree.glib import GLib, OSTree

_STAGING = "staging-*"
_FLUSH_EVERY = 0.2
"""seconds"""


@contextmanager
def transaction(repo: OSTree.Repo, volume: DirectoryVolume) -> Iterator[dict[str, str]]:
    """Objects written inside are all there when it ends; after an error, none. Yields the refs to set in the end.

    libostree keeps unfinished objects for its next transaction. None of ours would go on with them, and on a full
    filesystem it may not even be able to remove them, so that is done here.
    """
    names: dict[str, str] = {}
    temporary = Path(repo.get_path().get_path(), "tmp")
    before = set(temporary.glob(_STAGING))
    repo.prepare_transaction(None)
    staging = set(temporary.glob(_STAGING)) - before
    try:
        with _flushed(repo, volume):
            yield names
        with _synced(repo, volume):
            repo.commit_transaction(None)
    except BaseException:
        with contextlib.suppress(GLib.Error):
            repo.abort_transaction(None)
        for path in staging:
            shutil.rmtree(path, ignore_errors=True)
        raise
    for name, commit in names.items():
        repo.set_ref_immediate(None, name, commit, None)


@contextmanager
def _flushed(repo: OSTree.Repo, volume: DirectoryVolume) -> Iterator[None]:
    """Write to the disk what is made inside while more is made, so that there is little to wait for in the end.

    Linux would begin only after seconds. What fails is raised at the end: the kernel tells it only once.
    """
    if repo.get_disable_fsync():
        yield
        return
    flusher = _Flusher(volume)
    flusher.start()
    try:
        yield
    finally:
        flusher.end()
    if flusher.error:
        raise flusher.error


class _Flusher(threading.Thread):
    def __init__(self, volume: DirectoryVolume) -> None:
        super().__init__(name="ostree-flusher", daemon=True)
        self._volume = volume
        self._ended = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._ended.wait(_FLUSH_EVERY):
                self._volume.sync()
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        """Come back when nothing is being written any more."""
        self._ended.set()
        self.join()


@contextmanager
def _synced(repo: OSTree.Repo, volume: DirectoryVolume) -> Iterator[None]:
    """Objects are on the disk before they get their names, and the names before a ref names them.

    libostree does the same, but for the names it syncs each of its 256 directories, and each of those can cost a flush
    of the disk's cache; one syncfs costs one.
    """
    if repo.get_disable_fsync():
        yield
        return
    volume.sync()
    repo.set_disable_fsync(True)
    try:
        yield
    finally:
        repo.set_disable_fsync(False)
    volume.sync()
