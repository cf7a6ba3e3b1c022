"""Backends with deployments of `bootc.roots`, by the real command: damaged records and plans, filesystems in the way.

The old system stays as it was, one line says why, and the next command goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.bad_sysroots import KINDS, Kind, error, found, on, succeed
from tests.integration.dirimage_sysroots import dirimage_layers
from tests.integration.failing import NEWER, World, error_of, switch
from tests.integration.scarcity import ADVICE, crowd, filled, uncrowd
from tests.integration.sysroots import MIB, copy_mounted, images, install, mounted
from tests.ostree_images import Tar
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root

MOMENTS = 6
STEPS = "rename,mkdir,fsync,syncfs,unlink,link,symlink"


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.backend)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def disk(world: World, kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version b1 is on it; b2 is there to switch to."""
    for version in ("b1", "b2"):
        world.layout.add(version, dirimage_layers(version))
    return kind.disk(tmp_path_factory.mktemp(kind.backend), world.layout.reference("b1"))


@pytest.fixture
def root(disk: Path, tmp_path: Path) -> Iterator[Path]:
    """A sysroot of one's own, with b1 on it."""
    with copy_mounted(disk, tmp_path) as sysroot:
        yield sysroot


@pytest.fixture(scope="module")
def large(world: World) -> str:
    """An image of which each part of an update needs room: 4 MiB come as they are, and are a tree."""
    settings = Tar().add("etc/large", data=os.urandom(MIB)).data
    world.layout.add("large", [*dirimage_layers("large", ballast=4 * MIB), settings])
    return "large"


# ---------------------------------------------------------------- records and plans

DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda good: b"", "damaged: Expecting value: line 1 column 1 (char 0)"),
    "truncated": (lambda good: good[: len(good) // 2], "damaged: "),
    "garbage": (lambda good: b"\0\x1b[31m", "damaged: Expecting value: line 1 column 1 (char 0)"),
    "another kind": (lambda good: b"[]", "damaged: not a JSON object"),
    "nothing in it": (lambda good: b"{}", "damaged: '"),
    "newer": (
        lambda good: b'{"format": {"incompatible": ["quantum\\u001b[31m"]}}',
        "uses what this version does not know: quantum\\x1b[31m ",
    ),
}
RECORDS = {f"{kind.backend} {name}": (kind, name) for kind in KINDS for name in kind.records}
LEFT = {f"{kind.backend} {left}": (kind, left) for kind in KINDS for left in kind.left}
"""free inodes"""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("kind", "record"), RECORDS.values(), ids=RECORDS, indirect=["kind"])
def test_a_damaged_record(world: World, kind: Kind, root: Path, record: str, damage: str) -> None:
    of, (change, problem) = kind.records[record], DAMAGES[damage]
    path = found(root, of.pattern)
    name, good = path.relative_to(root), path.read_bytes()
    path.write_bytes(change(good))
    expected = NEWER if damage == "newer" else f"({of.hint.format(folder=name.parent)})"
    for words in (switch(world, "b2"), *([("status",)] if of.is_told_by_status else ())):
        line = error(root, *words)
        assert line.startswith(f"{name}: {problem}"), line
        assert line.endswith(expected), line
        assert path.read_bytes() == change(good)
    path.write_bytes(good)
    assert images(root) == ["b1"]


@pytest.mark.parametrize(("kind", "record"), RECORDS.values(), ids=RECORDS, indirect=["kind"])
def test_a_missing_record(world: World, kind: Kind, root: Path, record: str) -> None:
    of = kind.records[record]
    path = found(root, of.pattern)
    name = path.relative_to(root)
    path.rename(root / "away")
    if record == "image":
        assert images(root) == [""]
        succeed(root, "upgrade")
        assert images(root)[0] == "b1"
        return
    for words in (switch(world, "b2"), *([("status",)] if of.is_told_by_status else ())):
        assert error(root, *words) == f"{name}: missing ({of.hint.format(folder=name.parent)})"
    (root / "away").rename(path)
    assert images(root) == ["b1"]


def test_a_missing_etc(world: World, kind: Kind, root: Path) -> None:
    etc = found(root, f"{kind.backend}/deployments/*/etc")
    etc.rename(root / "away")
    line = error(root, *switch(world, "b2"))
    assert line.startswith(f"the /etc of deployment {etc.parent.name} is missing (restore "), line
    (root / "away").rename(etc)
    succeed(root, *switch(world, "b2"))
    assert images(root) == ["b2", "b1"]


def test_what_is_mounted_in_an_old_etc_is_not_removed_with_it(world: World, kind: Kind, root: Path) -> None:
    place = found(root, f"{kind.backend}/deployments/*/etc") / "mounted here"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    old = place.parent.parent
    try:
        (place / "precious").write_text("of another filesystem")
        succeed(root, *switch(world, "b2"))
        run = bootc(*on(root, *switch(world, "b1")))
        assert "a filesystem is mounted here, in what is to be removed" in run.err
        assert [path.name for path in root.rglob("precious")] == ["precious"]
    finally:
        subprocess.run(["umount", found(root, f"{kind.backend}/deployments/{old.name}*/etc/mounted here")], check=True)
    succeed(root, "internals", "cleanup")
    assert list((root / kind.backend / "deployments").glob(f"{old.name}*")) == []


PLANS: dict[str, Callable[[Kind], bytes | None]] = {
    "missing": lambda kind: None,
    "empty": lambda kind: b"",
    "truncated": lambda kind: kind.plan,
    "altered": lambda kind: f"bootc-mount-plan 1\nroot {kind.backend}/elsewhere\n".encode(),
    "newer": lambda kind: b"bootc-mount-plan 99\nquantum leap\n",
}


@pytest.mark.parametrize("command", [("internals", "cleanup"), ("rollback",)], ids=" ".join)
@pytest.mark.parametrize("content", PLANS.values(), ids=PLANS)
def test_a_damaged_mount_plan_is_mended(
    world: World, kind: Kind, root: Path, content: Callable[[Kind], bytes | None], command: tuple[str, ...]
) -> None:
    """By the next command that makes a deployment the default, or cleans up: it follows from the record."""
    succeed(root, *switch(world, "b2"))
    good = {plan: plan.read_bytes() for plan in (root / kind.backend / "deployments").glob("*/mounts")}
    damaged = content(kind)
    for plan in good:
        plan.unlink()
        if damaged is not None:
            plan.write_bytes(damaged)
    assert images(root) == ["b2", "b1"]
    succeed(root, *command)
    assert len(good) == 2
    assert {plan: plan.read_bytes() for plan in good} == good


# ---------------------------------------------------------------- filesystems


@pytest.mark.parametrize("left", [0, 1, 4, 6])
def test_a_full_disk(world: World, kind: Kind, root: Path, large: str, left: int) -> None:
    """The more MiB are left, the later it fails."""
    with filled(root, left * MIB), kind.unchanged(root):
        line = error(root, *switch(world, large))
        assert line.startswith("insufficient free space for "), line
        assert line.endswith(ADVICE)
        assert images(root) == ["b1"]
    succeed(root, *switch(world, large))
    assert images(root) == ["large", "b1"]


@pytest.fixture(scope="module")
def crowded(world: World, kind: Kind, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed disk with files in place of all its free inodes."""
    folder = tmp_path_factory.mktemp(f"crowded-{kind.backend}")
    made = kind.disk(folder, world.layout.reference("b1"), "-N", str(kind.inodes))
    with mounted(made, folder / "mounted") as root:
        crowd(root)
    return made


@pytest.mark.parametrize(("kind", "left"), LEFT.values(), ids=LEFT, indirect=["kind"])
def test_a_disk_that_runs_out_of_inodes(world: World, kind: Kind, tmp_path: Path, crowded: Path, left: int) -> None:
    with copy_mounted(crowded, tmp_path) as root:
        uncrowd(root, left)
        with kind.unchanged(root):
            line = error(root, *switch(world, "b2"))
        assert line.startswith("insufficient free space for "), line
        assert images(root) == ["b1"]
        uncrowd(root)
        succeed(root, *switch(world, "b2"))
        assert images(root) == ["b2", "b1"]


def test_a_sysroot_that_is_mounted_read_only(world: World, root: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    line = error(root, *switch(world, "b2"))
    assert line.endswith("read-only file system (remount it writable, or choose another target)"), line
    assert images(root) == ["b1"]


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_command_that_is_killed(world: World, kind: Kind, root: Path, large: str, moment: int) -> None:
    """The old system, or the new one whole; and the next command brings the new one."""
    inject = f"inject={STEPS}:signal=KILL:when={1 + moment * 4}"
    command = (sys.executable, "-m", "bootc", *on(root, *switch(world, large)))
    done = subprocess.run(
        ["strace", "-qq", "-e", f"trace={STEPS}", "-e", inject, "-o", "/dev/null", *command], capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert images(root) in (["b1"], ["large", "b1"])
    succeed(root, *switch(world, large))
    assert images(root) == ["large", "b1"]
    assert [path.name for pattern in kind.unfinished for path in root.glob(pattern)] == []


def test_an_installation_onto_what_holds_one(world: World, kind: Kind, root: Path) -> None:
    line = error_of(install(root, world.layout.reference("b1"), "--backend", kind.backend))
    assert "empty" in line.lower(), line
    assert images(root) == ["b1"]
