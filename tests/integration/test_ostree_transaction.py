"""A transaction writes to the disk while it is open, and counts for nothing if that fails."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from bootc_ostree.glib import GLib, OSTree, file
from bootc_ostree.transaction import transaction

from bootc.durable import DirectoryVolume
from bootc.errors import FileSystemError

pytestmark = pytest.mark.root

PATIENCE = 30.0


class Counting(DirectoryVolume):
    """Says when it was synced; from a given time on, the disk is broken."""

    def __init__(self, root: Path, broken_from: int | None = None) -> None:
        super().__init__(root)
        self.syncs, self.synced, self._broken_from = 0, threading.Event(), broken_from

    def sync(self) -> None:
        self.syncs += 1
        self.synced.set()
        if self._broken_from is not None and self.syncs > self._broken_from:
            raise FileSystemError(str(self.root), "the disk is broken")
        super().sync()


@pytest.fixture
def repo(tmp_path: Path) -> OSTree.Repo:
    found = OSTree.Repo.new(file(tmp_path / "repo"))
    found.create(OSTree.RepoMode.BARE, None)
    return found


def write(repo: OSTree.Repo) -> str:
    """One object."""
    data = GLib.Bytes.new(b"content")
    return str(repo.write_regfile_inline(None, 0, 0, 0o100644, GLib.Variant("a(ayay)", []), data.get_data(), None))


def objects(repo: OSTree.Repo) -> list[Path]:
    return [path for path in Path(repo.get_path().get_path(), "objects").rglob("*") if path.is_file()]


def staging(repo: OSTree.Repo) -> list[str]:
    return [path.name for path in Path(repo.get_path().get_path(), "tmp").glob("staging-*") if path.is_dir()]


def test_objects_go_to_the_disk_while_more_are_made(tmp_path: Path, repo: OSTree.Repo) -> None:
    volume = Counting(tmp_path)
    with transaction(repo, volume):
        write(repo)
        assert volume.synced.wait(PATIENCE)
        assert objects(repo) == []
    assert len(objects(repo)) == 1
    before = volume.syncs
    with transaction(repo, volume):
        pass
    assert volume.syncs == before + 2


def test_a_disk_that_fails_meanwhile_fails_the_transaction(tmp_path: Path, repo: OSTree.Repo) -> None:
    volume = Counting(tmp_path, broken_from=0)
    with pytest.raises(FileSystemError, match="broken"), transaction(repo, volume) as names:
        write(repo)
        assert volume.synced.wait(PATIENCE)
        names["a"] = "0" * 64
    assert (objects(repo), staging(repo)) == ([], [])
    assert repo.list_refs(None, None)[1] == {}


def test_without_syncing_nothing_is_synced(tmp_path: Path, repo: OSTree.Repo) -> None:
    repo.set_disable_fsync(True)
    volume = Counting(tmp_path)
    with transaction(repo, volume):
        write(repo)
    assert (volume.syncs, len(objects(repo))) == (0, 1)
