"""Power cuts in a model: logs are complete, and what a filesystem may lose is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve

from bootc.durable import DirectoryVolume, Observer
from bootc.testing.power import Crash, End, Recording, crashes, power_cut, record
from bootc.testing.power_model import Contents, differences
from bootc.testing.power_states import Filesystem
from bootc.testing.power_translator import ReplayError

A, B, D = PurePosixPath("a"), PurePosixPath("b"), PurePosixPath("d")
ANY, JOURNAL, FAT = ({"root": kind} for kind in (Filesystem.ANY, Filesystem.JOURNAL, Filesystem.FAT))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The one volume of these tests; `a` is in it."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").write_bytes(b"old")
    return tmp_path / "root"


def recorded(root: Path, scenario: Callable[[DirectoryVolume], None]) -> Recording:
    return record({"root": root}, lambda observer: scenario(DirectoryVolume(root, observer=observer)))


def files(crash: Crash) -> dict[str, bytes]:
    """Names and contents, but not the names of temporary files."""
    held = crash.contents["root"]
    names = {path.partition(".bootc-tmp-")[0] or "*": inode for path, inode in held.walk() if path}
    return {name: held.inodes[inode].data for name, inode in names.items()}


def states(
    recording: Recording, filesystems: Mapping[str, Filesystem], end: End = End.POWER_CUT
) -> list[dict[str, bytes]]:
    found = [files(crash) for crash in crashes(recording, filesystems=filesystems) if crash.end is end]
    return [state for number, state in enumerate(found) if state not in found[:number]]


# ---------------------------------------------------------------- the log is complete


def everything(volume: DirectoryVolume) -> None:
    volume.make_directories(D / "e", 0o2750)
    volume.replace(D / "e/f", [b"one", b"two"], 0o600)
    volume.link("e/f", D / "l")
    volume.rename(A, D / "a")
    volume.exchange(D / "e", D / "l")
    volume.remove(D / "l")
    volume.at(volume.path(D)).replace(B, b"below")


def test_the_replay_of_all_steps_makes_what_was_made(root: Path) -> None:
    recording = recorded(root, everything)

    assert len(recording.steps) > 20
    *_, last = [c for c in crashes(recording) if (c.end, c.loss) == (End.POWER_CUT, "nothing")]
    assert list(differences(last.contents["root"], Contents.scan(root))) == []


@pytest.mark.root
def test_a_state_is_made_in_a_directory_as_it_is(root: Path, tmp_path: Path) -> None:
    os.link(root / "a", root / "hard")
    os.mkfifo(root / "pipe", 0o640)
    os.setxattr(root / "a", "user.x", b"1")
    os.chown(root / "a", 3, 4)
    (root / "a").chmod(0o4755)
    contents = Contents.scan(root)
    (tmp_path / "copy").mkdir()
    contents.write(tmp_path / "copy")

    assert list(differences(contents, Contents.scan(tmp_path / "copy"))) == []
    assert (tmp_path / "copy/a").samefile(tmp_path / "copy/hard")


BYPASSES: Mapping[str, Callable[[Path], object]] = {
    "a file": lambda root: (root / "b").write_bytes(b""),
    "content": lambda root: (root / "a").write_bytes(b"new"),
    "a mode": lambda root: (root / "a").chmod(0o600),
    "an owner": lambda root: os.chown(root / "a", 1, 1),
    "an attribute": lambda root: os.setxattr(root / "a", "user.x", b""),
    "a time": lambda root: os.utime(root / "a", (1, 1)),
    "a removal": lambda root: (root / "a").unlink(),
    "a hard link": lambda root: os.link(root / "a", root / "d/x"),
    "a hard link in place of a copy": lambda root: os.rename(root / "d/hard", root / "d/copy"),
}


@pytest.mark.root
@pytest.mark.parametrize("bypass", BYPASSES.values(), ids=BYPASSES)
def test_what_bypasses_the_recorder_is_noticed(root: Path, bypass: Callable[[Path], object]) -> None:
    (root / "d").mkdir()
    os.link(root / "a", root / "d/hard")
    (root / "d/copy").write_bytes(b"old")
    os.utime(root / "d/copy", ns=((root / "a").stat().st_mtime_ns,) * 2)

    def scenario(volume: DirectoryVolume) -> None:
        volume.replace(D / "y", b"")
        bypass(root)

    with pytest.raises(ReplayError):
        recorded(root, scenario)


def test_a_log_that_cannot_have_happened_is_refused(root: Path) -> None:
    recording = recorded(root, lambda volume: volume.replace(A, b"new"))
    with pytest.raises(ReplayError):
        list(crashes(evolve(recording, steps=recording.steps[1:])))


# ---------------------------------------------------------------- what may be lost


@pytest.mark.parametrize("rules", [ANY, JOURNAL], ids=["any", "journal"])
def test_a_replaced_file_is_the_old_or_the_new_one(root: Path, rules: Mapping[str, Filesystem]) -> None:
    found = states(recorded(root, lambda volume: volume.replace(A, b"new!")), rules)

    assert {state["a"] for state in found} == {b"old", b"new!"}
    assert {"a": b"old", "*": b""} in found
    assert {"a": b"old", "*": b"ne"} in found
    assert {"a": b"old", "*": b"\0\0\0\0"} in found


def test_a_kill_loses_nothing(root: Path) -> None:
    found = states(recorded(root, lambda volume: volume.replace(A, b"new!")), ANY, End.KILL)

    assert found == [{"a": b"old"}, {"a": b"old", "*": b""}, {"a": b"old", "*": b"new!"}, {"a": b"new!"}]


def without_fsync(volume: DirectoryVolume) -> None:
    volume.announce("create", B, data=b"644")
    volume.announce("write", B, data=b"new!")
    volume.path(B).write_bytes(b"new!")
    volume.path(B).chmod(0o644)
    volume.announce("rename", B, A)
    volume.path(B).rename(volume.path(A))


def test_a_file_that_is_renamed_before_it_is_synced_may_be_empty(root: Path) -> None:
    recording = recorded(root, without_fsync)
    for rules in (ANY, JOURNAL):
        contents = {state["a"] for state in states(recording, rules)}
        assert contents == {b"old", b"", b"ne", b"\0\0\0\0", b"new!"}


def test_fat_may_have_both_names_of_a_renamed_file_or_none(root: Path) -> None:
    found = states(recorded(root, lambda volume: volume.rename(A, B)), FAT)

    assert sorted(map(sorted, found)) == [[], ["a"], ["a", "b"], ["b"]]


def test_without_order_a_later_change_may_be_there_and_an_earlier_one_not(root: Path) -> None:
    def scenario(volume: DirectoryVolume) -> None:
        for path in (D, PurePosixPath("e")):
            volume.announce("mkdir", path, data=b"755")
            volume.path(path).mkdir(0o755)

    recording = recorded(root, scenario)
    assert {"a": b"old", "e": b""} in states(recording, ANY)
    assert {"a": b"old", "e": b""} not in states(recording, JOURNAL)
    assert {"a": b"old", "d": b""} in states(recording, JOURNAL)


def test_what_was_synced_is_never_lost(root: Path) -> None:
    def scenario(volume: DirectoryVolume) -> None:
        volume.replace(B, b"synced")
        volume.rename(B, D)
        volume.announce("create", B, data=b"644")
        volume.path(B).touch(0o644)
        volume.sync()
        volume.remove(A)

    recording = recorded(root, scenario)
    synced = next(number for number, step in enumerate(recording.steps) if step.name == "syncfs")
    before, after = (
        [c for c in crashes(recording, filesystems=ANY) if (c.taken > synced) is it] for it in (False, True)
    )
    assert {frozenset(files(crash)) for crash in after} == {frozenset("bd")}
    assert frozenset("a") in {frozenset(files(crash)) for crash in before}


def test_run_is_empty_after_a_power_cut_and_kept_after_a_kill(tmp_path: Path) -> None:
    volumes = {"root": tmp_path / "root", "run": tmp_path / "run"}
    for path in volumes.values():
        path.mkdir()

    def scenario(observer: Observer) -> None:
        DirectoryVolume(volumes["root"], observer=observer).at(volumes["run"], "run").replace(A, b"here")

    found = list(crashes(record(volumes, scenario)))
    ends = {(crash.end, "a" in dict(crash.contents["run"].walk())) for crash in found}
    assert ends == {(End.POWER_CUT, False), (End.KILL, False), (End.KILL, True)}


# ---------------------------------------------------------------- checks


def test_the_check_gets_every_state_in_a_directory_of_its_own(root: Path, tmp_path: Path) -> None:
    recording, seen = recorded(root, lambda volume: volume.replace(A, b"new")), []

    def check(crash: Crash, volumes: Mapping[str, Path]) -> None:
        seen.append((volumes["root"] / "a").read_bytes())
        (volumes["root"] / "a").unlink()
        assert seen[-1] == b"old", "it is new"

    ground = tmp_path / "ground"
    ground.mkdir()
    report = power_cut(recording, check, ground)
    assert report.states == len(seen) == len(list(crashes(recording)))
    assert len(report.violations) == seen.count(b"new") > 0
    assert "AssertionError: it is new" in str(report)
    assert os.listdir(ground) == []


def test_processes_share_the_states(root: Path, tmp_path: Path) -> None:
    recording = recorded(root, everything)
    counts = [power_cut(recording, lambda crash, volumes: None, tmp_path, share=(k, 3)).states for k in range(3)]

    assert sum(counts) == power_cut(recording, lambda crash, volumes: None, tmp_path).states
    assert max(counts) - min(counts) <= 1


def test_some_moments_are_enough_for_a_sample_and_a_seed_chooses_them(root: Path) -> None:
    recording = recorded(root, everything)
    found = [{crash.taken for crash in crashes(recording, every=5, seed=seed)} for seed in range(5)]

    assert max(map(len, found)) < len(recording.steps) / 3
    assert set().union(*found) >= {crash.taken for crash in crashes(recording)}
