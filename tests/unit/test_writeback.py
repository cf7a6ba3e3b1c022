"""Data goes to the disk while more is made: never in the way of who is observed, and no failure is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bootc.durable import DirectoryVolume, Step, Writeback
from bootc.errors import FileSystemError

MUCH = 70 << 20


class CountingVolume(DirectoryVolume):
    """Counts syncs, and can have them wait or fail."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.syncs: list[threading.Thread] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.failure: FileSystemError | None = None

    def sync(self) -> None:
        self.syncs.append(threading.current_thread())
        assert self.may_go_on.wait(20)
        if self.failure:
            raise self.failure


def test_much_is_synced_beside_the_caller_and_little_is_not(tmp_path: Path) -> None:
    volume = CountingVolume(tmp_path)
    with Writeback(volume) as writeback:
        for _ in range(60):
            writeback.made(1 << 20)
        assert volume.syncs == []
        writeback.made(MUCH)
    assert len(volume.syncs) == 1
    assert volume.syncs[0] is not threading.current_thread()
    assert not volume.syncs[0].is_alive()


def test_a_second_sync_does_not_begin_while_one_goes_on(tmp_path: Path) -> None:
    volume = CountingVolume(tmp_path)
    volume.may_go_on.clear()
    with Writeback(volume) as writeback:
        for _ in range(5):
            writeback.made(MUCH)
        assert len(volume.syncs) == 1
        volume.may_go_on.set()
        volume.syncs[0].join(20)
        writeback.made(1)
    assert len(volume.syncs) == 2


def test_what_a_sync_failed_with_is_told(tmp_path: Path) -> None:
    volume = CountingVolume(tmp_path)
    volume.failure = FileSystemError("disk", "Input/output error")
    with pytest.raises(FileSystemError, match="Input/output error"), Writeback(volume) as writeback:
        writeback.made(MUCH)


def test_an_error_inside_wins(tmp_path: Path) -> None:
    volume = CountingVolume(tmp_path)
    volume.failure = FileSystemError("disk", "Input/output error")
    with pytest.raises(ValueError, match="mine"), Writeback(volume) as writeback:
        writeback.made(MUCH)
        raise ValueError("mine")


def test_an_observed_volume_is_left_alone(tmp_path: Path) -> None:
    steps: list[Step] = []
    with Writeback(DirectoryVolume(tmp_path, observer=steps.append)) as writeback:
        writeback.made(MUCH)
    assert steps == []
