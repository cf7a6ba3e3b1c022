"""Backend composefs, by the real command: damaged records, plans, images and objects, and filesystems in the way.

The old system stays as it was, one line says why, and the next command goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.dirimage_sysroots import dirimage_layers
from tests.integration.failing import World, error_of, fails
from tests.integration.sysroots import DISK_SIZE, MIB, copy_mounted, images, install, make_disk, mounted
from tests.integration.test_bad_input_space import ADVICE, filled
from tests.ostree_images import Tar, normal_form
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root

NEWER = "(use the newer version of bootc that wrote it)"
MOMENTS = 6
STATE = "composefs/state.json"
_UNCOMPARED = ("lost+found", "composefs/layers", "composefs/objects", "composefs/bootc/spool", "composefs/bootc/lock")


def composefs_disk(folder: Path, source: str, *options: str) -> Path:
    """A disk (`options` of `make_disk`) on which an image was installed."""
    disk = make_disk(folder / "disk", DISK_SIZE, *options)
    with mounted(disk, folder / "target") as root:
        run = install(root, source, "--skip-finalize", "--backend", "composefs")
        assert run.code == 0, run.err
    shutil.rmtree(folder / "target")
    return disk


@pytest.fixture(scope="module")
def disk(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version c1 is on it; c2 and c3 are there to switch to."""
    for version in ("c1", "c2", "c3"):
        world.layout.add(version, dirimage_layers(version))
    return composefs_disk(tmp_path_factory.mktemp("composefs"), world.layout.reference("c1"))


@pytest.fixture
def root(disk: Path, tmp_path: Path) -> Iterator[Path]:
    """A sysroot of one's own, with c1 on it."""
    with copy_mounted(disk, tmp_path) as sysroot:
        yield sysroot


@contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """Assert that deployments, images and their order stay; objects and layers that were fetched may be there."""

    def snapshot() -> tuple[object, ...]:
        state = json.loads((root / STATE).read_bytes())
        files = {path: found for path, found in normal_form(root).items() if not path.startswith((*_UNCOMPARED, STATE))}
        return files, state["order"], state["pinned"]

    before = snapshot()
    objects = {path: path.read_bytes() for path in (root / "composefs/objects").glob("??/*")}
    yield
    assert snapshot() == before
    assert {path: path.read_bytes() for path in objects} == objects


def on(root: Path, *words: str) -> tuple[str, ...]:
    return ("--sysroot", str(root), *words)


def switch(world: World, tag: str) -> tuple[str, ...]:
    return ("switch", "--transport", "oci", world.layout.name(tag))


def error(root: Path, *words: str) -> str:
    """The error of a command that leaves everything as it was."""
    return fails(root.parent, *on(root, *words))


def succeed(root: Path, *words: str) -> None:
    run = bootc(*on(root, *words))
    assert run.code == 0, run.err


def found(root: Path, pattern: str) -> Path:
    (path,) = (root / "composefs").glob(pattern)
    return path


def erofs_of(root: Path) -> Path:
    """The EROFS image of the only deployment."""
    (line,) = [text for text in found(root, "deployments/*/mounts").read_text().splitlines() if "composefs" in text][:1]
    return root / line.split()[1]


# ---------------------------------------------------------------- records

RECORDS = {
    "state": ("state.json", 'write {{"number": N, "order": [IDs of composefs/deployments, the default first]}} to it'),
    "deployment": ("deployments/*/deployment.json", "move {folder} away while another deployment runs"),
    "image": ("images/*.json", "move it away; the next import of the image writes it again"),
    "repository": (
        "repository.json",
        "write the algorithm that the names of objects have: 62 digits are sha256, 126 are sha512",
    ),
}
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


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("record", RECORDS)
def test_a_damaged_record(world: World, root: Path, record: str, damage: str) -> None:
    pattern, hint = RECORDS[record]
    change, problem = DAMAGES[damage]
    path = found(root, pattern)
    name, good = path.relative_to(root), path.read_bytes()
    path.write_bytes(change(good))
    expected = NEWER if damage == "newer" else f"({hint.format(folder=name.parent)})"
    for words in (switch(world, "c2"), *([] if record == "repository" else [("status",)])):
        line = error(root, *words)
        assert line.startswith(f"{name}: {problem}"), line
        assert line.endswith(expected), line
        assert path.read_bytes() == change(good)
    path.write_bytes(good)
    assert images(root) == ["c1"]


def test_the_hint_of_a_damaged_image_helps(world: World, root: Path) -> None:
    """Without its record the deployment goes on, and so do updates of it."""
    path = found(root, "images/*.json")
    path.write_bytes(b"{")
    assert error(root, *switch(world, "c2")).startswith(f"{path.relative_to(root)}: damaged: ")
    path.rename(root / "away")
    assert images(root) == [""]
    succeed(root, "internals", "cleanup")
    succeed(root, *switch(world, "c2"))
    assert images(root) == ["c2", ""]
    succeed(root, *switch(world, "c1"))
    assert images(root) == ["c1", "c2"]


# ---------------------------------------------------------------- plans, images, objects

PLANS = {
    "missing": None,
    "empty": b"",
    "truncated": b"bootc-mount-plan 2\ncomposefs composefs/ob",
    "altered": b"bootc-mount-plan 1\nroot composefs/objects\n",
    "newer": b"bootc-mount-plan 99\nquantum leap\n",
}


@pytest.mark.parametrize("content", PLANS.values(), ids=PLANS)
def test_a_damaged_mount_plan_is_mended(world: World, root: Path, content: bytes | None) -> None:
    succeed(root, *switch(world, "c2"))
    good = {plan: plan.read_bytes() for plan in (root / "composefs/deployments").glob("*/mounts")}
    for plan in good:
        plan.unlink()
        if content is not None:
            plan.write_bytes(content)
    assert images(root) == ["c2", "c1"]
    succeed(root, "rollback")
    assert len(good) == 2
    assert {plan: plan.read_bytes() for plan in good} == good


@pytest.mark.parametrize("content", [None, b"", b"altered"], ids=["missing", "truncated", "altered"])
def test_an_erofs_image_that_is_lost_is_made_again(world: World, root: Path, content: bytes | None) -> None:
    path = erofs_of(root)
    good = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert images(root) == ["c1"]
    succeed(root, *switch(world, "c2"))
    assert images(root) == ["c2", "c1"]
    assert path.read_bytes() == good


def test_an_object_that_is_lost_comes_with_the_next_image_that_has_it(world: World, root: Path) -> None:
    """The layer that has it is shared with the new image."""
    before = {path: path.read_bytes() for path in (root / "composefs/objects").glob("??/*")}
    lost = next(path for path, data in before.items() if b"tool" in data or len(data) < 4096)
    lost.unlink()
    succeed(root, *switch(world, "c1"))
    succeed(root, *switch(world, "c2"))
    assert images(root)[0] == "c2"


def test_what_a_power_cut_left_goes_with_cleaning_up(root: Path) -> None:
    base = root / "composefs"
    left = [base / "deployments/7-0123456789ab.partial/etc", base / "deployments/6-0123456789ab.removed/etc"]
    left += [base / "checkouts/abc/etc", base / "deployments/5-0123456789ab"]
    for path in left:
        path.mkdir(parents=True)
    files = [base / "incoming/1-1", base / "layers" / ("0" * 64), base / "objects/00" / ("1" * 62)]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"ha")
    assert images(root) == ["c1"]
    succeed(root, "internals", "cleanup")
    assert [path.name for path in (*left, *files) if path.exists()] == []
    assert images(root) == ["c1"]


def test_two_deployments_of_one_digest(world: World, root: Path) -> None:
    """They share all they have, which stays as long as one of them does."""
    world.layout.add_documents("c1-again", world.layout.add("c1", dirimage_layers("c1")))
    succeed(root, *switch(world, "c1-again"))
    assert images(root) == ["c1", "c1"]
    assert len(list((root / "composefs/images").iterdir())) == 1
    succeed(root, "rollback")
    succeed(root, "internals", "cleanup")
    for version in ("c2", "c3"):
        succeed(root, *switch(world, version))
    assert images(root) == ["c3", "c2"]
    assert len(list((root / "composefs/images").iterdir())) == 2


# ---------------------------------------------------------------- filesystems


@pytest.fixture(scope="module")
def large(world: World) -> str:
    """An image of which each part of an update needs room."""
    layers = dirimage_layers("large", ballast=4 * MIB)
    world.layout.add("large", [*layers, Tar().add("etc/large", data=os.urandom(MIB)).data])
    return "large"


@pytest.mark.parametrize("left", [0, 1, 4, 6])
def test_a_full_disk(world: World, root: Path, large: str, left: int) -> None:
    """The more MiB are left, the later it fails."""
    with filled(root, left * MIB), unchanged(root):
        line = error(root, *switch(world, large))
        assert line.startswith("insufficient free space for "), line
        assert line.endswith(ADVICE)
        assert images(root) == ["c1"]
    succeed(root, *switch(world, large))
    assert images(root) == ["large", "c1"]


@pytest.fixture(scope="module")
def crowded(world: World, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed disk with files in place of all its free inodes: `fillers/0` and so on."""
    folder = tmp_path_factory.mktemp("crowded-composefs")
    made = composefs_disk(folder, world.layout.reference("c1"), "-N", "768")
    with mounted(made, folder / "mounted") as root:
        (root / "fillers").mkdir()
        for number in range(os.statvfs(root).f_favail):
            (root / f"fillers/{number}").touch()
    return made


@pytest.mark.parametrize("left", [0, 2, 12])
def test_a_disk_that_runs_out_of_inodes(world: World, tmp_path: Path, crowded: Path, left: int) -> None:
    with copy_mounted(crowded, tmp_path) as root:
        for number in range(left):
            (root / f"fillers/{number}").unlink()
        with unchanged(root):
            line = error(root, *switch(world, "c2"))
        assert line.startswith("insufficient free space for "), line
        assert images(root) == ["c1"]
        for filler in (root / "fillers").iterdir():
            filler.unlink()
        succeed(root, *switch(world, "c2"))
        assert images(root) == ["c2", "c1"]


def test_a_sysroot_that_is_mounted_read_only(world: World, root: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    line = error(root, *switch(world, "c2"))
    assert line.endswith("read-only file system (remount it writable, or choose another target)"), line
    assert images(root) == ["c1"]


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_command_that_is_killed(world: World, root: Path, large: str, moment: int) -> None:
    """The old system, or the new one whole; and the next command brings the new one."""
    steps = "rename,mkdir,fsync,syncfs,unlink,link,symlink"
    inject = f"inject={steps}:signal=KILL:when={1 + moment * 4}"
    command = (sys.executable, "-m", "bootc", *on(root, *switch(world, large)))
    done = subprocess.run(
        ["strace", "-qq", "-e", f"trace={steps}", "-e", inject, "-o", "/dev/null", *command], capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert images(root) in (["c1"], ["large", "c1"])
    succeed(root, *switch(world, large))
    assert images(root) == ["large", "c1"]
    for directory in ("incoming", "checkouts"):
        assert list((root / "composefs" / directory).iterdir()) == []


def test_an_installation_onto_what_holds_one(world: World, root: Path) -> None:
    line = error_of(install(root, world.layout.reference("c1"), "--backend", "composefs"))
    assert "empty" in line.lower(), line
    assert images(root) == ["c1"]


def test_verity_that_is_required_and_cannot_be_leaves_the_target_empty(world: World, tmp_path: Path) -> None:
    config = tmp_path / "require.toml"
    config.write_text('[backends.composefs]\nverity = "require"\n')
    with mounted(make_disk(tmp_path / "disk"), tmp_path / "target") as root:
        run = bootc(
            "--config",
            str(config),
            "install",
            "to-filesystem",
            "--backend",
            "composefs",
            "--bootloader",
            "none",
            "--acknowledge-destructive",
            "--source-imgref",
            world.layout.reference("c1"),
            str(root),
        )
        assert "fs-verity is required, but " in error_of(run)
        assert [path.name for path in root.iterdir() if path.name != "lost+found"] == []
