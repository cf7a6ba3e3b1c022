"""A transaction of the repository: objects first, whole and on the disk, then the names that make them count."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootc.durable import DirectoryVolume
from bootc_ostree.glib import GLib, OSTree

_STAGING = "staging-*"


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
