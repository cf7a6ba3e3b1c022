"""The merged /etc appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from bootc.durable import DirectoryVolume, Step
from bootc.errors import EtcConflictError, NoSpaceError
from bootc.etc_merge import apply, build, plan
from tests.unit.etc_trees import Link, Mode, Sides, Tree, normal, write

PLACE = PurePosixPath("state/etc")
OLD: Tree = {"f": b"f", "gone": b"g", "d": {"f": b"f"}, "gone-d": {"f": b"f", "g": b"g"}}
CURRENT: Tree = {
    "f": Mode(b"mine", 0o600, (("user.x", b"1"),)),
    "d": Mode({"f": b"f", "new": {"l": Link("/run"), "empty": b""}}, 0o700),
    "gone-d": {"f": b"mine", "g": b"g"},
}
NEW: Tree = {"f": b"image", "gone": b"g", "d": Mode({"f": b"image"}, None, (("user.y", b"2"),)), "n": b"x" * 1_100_000}
MERGED: Tree = {
    "f": Mode(b"mine", 0o600, (("user.x", b"1"),)),
    "d": Mode({"f": b"image", "new": {"l": Link("/run"), "empty": b""}}, 0o700),
    "gone-d": {"f": b"mine"},
    "n": b"x" * 1_100_000,
}


class PowerCutError(Exception):
    """The power failed before a step."""


def cut_at(number: int) -> Callable[[Step], None]:
    steps = iter(range(number))

    def observe(step: Step) -> None:
        if next(steps, None) is None:
            raise PowerCutError

    return observe


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    (tmp_path / "state").mkdir()
    write(tmp_path / "expected", MERGED)
    return Sides.of(tmp_path, OLD, CURRENT, NEW)


def build_into(volume: DirectoryVolume, sides: Sides) -> None:
    assert build(plan(*sides.paths), *sides.paths[1:], volume, PLACE) == ()


def test_it_is_built_where_nothing_is(sides: Sides) -> None:
    build_into(sides.volume, sides)

    assert normal(sides.folder / PLACE) == normal(sides.folder / "expected")
    assert os.listdir(sides.folder / "state") == ["etc"]


def test_it_replaces_what_is_there(sides: Sides) -> None:
    build_into(sides.volume, sides)
    first = normal(sides.folder / PLACE)
    write(sides.folder / PLACE / "other", b"x")
    write(sides.folder / "state/etc.partial", {"left": {"over": b""}})
    build_into(sides.volume, sides)

    assert normal(sides.folder / PLACE) == first
    assert os.listdir(sides.folder / "state") == ["etc"]


def test_times_are_those_of_the_sources(sides: Sides) -> None:
    for side, name in (("current", "f"), ("current", "d/new"), ("new", "n"), ("new", "d/f")):
        os.utime(sides.folder / side / name, ns=(5, 123_456_789))
    build_into(sides.volume, sides)

    for name in ("f", "d/new", "n", "d/f"):
        assert (sides.folder / PLACE / name).stat().st_mtime_ns == 123_456_789, name


@pytest.mark.parametrize("is_replaced", [False, True], ids=["new", "replaced"])
def test_the_power_may_fail_before_every_step(sides: Sides, is_replaced: bool) -> None:
    steps: list[Step] = []
    build_into(DirectoryVolume(sides.folder, observer=steps.append), sides)
    merged = normal(sides.folder / PLACE)
    before = None
    for number in range(len(steps) + 100):
        place = sides.folder / PLACE
        sides.volume.remove(PLACE)
        if is_replaced:
            before = normal(write(place, {"before": {"x": b"x"}}))
        try:
            build_into(DirectoryVolume(sides.folder, observer=cut_at(number)), sides)
        except PowerCutError:
            found = normal(place) if place.exists() else None
            assert found in (before, merged), number
        else:
            assert number >= len(steps)
            break
    else:
        pytest.fail("it never ended")
    assert normal(sides.folder / PLACE) == merged


def test_nothing_is_renamed_before_it_is_on_disk(sides: Sides) -> None:
    steps: list[str] = []
    build_into(DirectoryVolume(sides.folder, observer=lambda step: steps.append(step.name)), sides)

    assert steps[-3:] == ["syncfs", "rename", "fsync"]
    assert steps.count("rename") == 1


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def set_xattr(path: Path, data: bytes) -> None:
    name, _, value = data.partition(b"=")
    os.setxattr(path, name, value, follow_symlinks=False)


def chown(path: Path, data: bytes) -> None:
    uid, gid = map(int, data.split(b":"))
    os.chown(path, uid, gid, follow_symlinks=False)


REPLAYED: dict[str, Callable[[Path, bytes], object]] = {
    "mkdir": lambda path, data: path.mkdir(),
    "create": lambda path, data: path.touch(),
    "write": append,
    "symlink": lambda path, data: path.symlink_to(os.fsdecode(data)),
    "unlink": lambda path, data: path.unlink(),
    "rmdir": lambda path, data: path.rmdir(),
    "chmod": lambda path, data: path.chmod(int(data, 8)),
    "chown": chown,
    "setxattr": set_xattr,
    "removexattr": lambda path, data: os.removexattr(path, data, follow_symlinks=False),
    "utimens": lambda path, data: os.utime(path, ns=(int(data), int(data)), follow_symlinks=False),
    "fsync": lambda path, data: None,
    "syncfs": lambda path, data: None,
}


def replay(steps: list[Step], root: Path) -> None:
    """Carry recorded steps out, without looking at what they were made from."""
    for step in steps:
        paths = [root / path for path in step.paths]
        if step.name == "link":
            os.link(*paths)
        elif step.name == "rename":
            os.rename(*paths)
        else:
            REPLAYED[step.name](paths[0], step.data or b"")


def test_the_announced_steps_are_all_that_is_done(sides: Sides, tmp_path: Path) -> None:
    os.link(tmp_path / "current/f", tmp_path / "current/hard")
    os.link(tmp_path / "new/n", tmp_path / "new/hard-n")
    steps: list[Step] = []
    build_into(DirectoryVolume(sides.folder, observer=steps.append), sides)
    (tmp_path / "replayed/state").mkdir(parents=True)
    replay(steps, tmp_path / "replayed")

    assert normal(tmp_path / "replayed" / PLACE) == normal(tmp_path / PLACE)
    for first, second in (("f", "hard"), ("n", "hard-n")):
        assert (tmp_path / "replayed" / PLACE / first).samefile(tmp_path / "replayed" / PLACE / second)


def test_a_failure_leaves_nothing(sides: Sides) -> None:
    def full(step: Step) -> None:
        if step.name == "write":
            raise NoSpaceError("a file", "/state")

    with pytest.raises(NoSpaceError):
        build_into(DirectoryVolume(sides.folder, observer=full), sides)
    assert os.listdir(sides.folder / "state") == []


def test_conflicts_are_found_before_anything_is_written(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {"f": b"f", "g": b"g"}, {"f": {}, "g": {}})
    steps: list[Step] = []

    with pytest.raises(EtcConflictError) as caught:
        build(plan(*sides.paths), *sides.paths[1:], DirectoryVolume(tmp_path, observer=steps.append), PLACE)
    assert steps == []
    assert [conflict.split()[0] for conflict in caught.value.conflicts] == ["/etc/f", "/etc/g"]


def test_what_vanished_since_the_plan_counts_as_removed(tmp_path: Path) -> None:
    sides = Sides.of(
        tmp_path,
        {"f": b"f", "d": {"f": b"f"}, "m": {}},
        {"f": b"c", "d": {"f": b"c"}, "m": Mode({}, 0o700), "a": {"x": b"x"}},
        {"f": b"n", "m": {}},
    )
    found = plan(*sides.paths)
    for path in ("f", "d/f", "a/x"):
        (tmp_path / "current" / path).unlink()
    for path in ("d", "m", "a"):
        (tmp_path / "current" / path).rmdir()

    assert apply(found, *sides.paths[1:]) == ()
    assert normal(tmp_path / "new") == normal(write(tmp_path / "expected", {"m": {}}))


def test_what_became_another_kind_since_the_plan_is_copied_as_it_is(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {"f": b"c", "d": {"x": b"x"}}, {})
    found = plan(*sides.paths)
    (tmp_path / "current/f").unlink()
    write(tmp_path / "current/f", {"in": b"in"})

    apply(found, *sides.paths[1:])
    assert normal(tmp_path / "new") == normal(tmp_path / "current")
