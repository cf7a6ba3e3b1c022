"""Backend dirimage, by the real command: damaged and newer records, plans and slots, and filesystems in the way.

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

from tests.integration.dirimage_sysroots import (
    STATE,
    BootedDirimage,
    dirimage_disk,
    dirimage_layers,
    install_dirimage,
    running_layers,
    unchanged,
)
from tests.integration.failing import World, error_of, fails
from tests.integration.sysroots import MIB, copy_mounted, images, install, make_disk, mounted
from tests.integration.test_bad_input_space import ADVICE, filled
from tests.ostree_images import Tar
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root

NEWER = "(use the newer version of bootc that wrote it)"
MOMENTS = 6


@pytest.fixture(scope="module")
def dirimage(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with version d1 on it; d2 and d3 are there to switch to."""
    for version in ("d1", "d2", "d3"):
        world.layout.add(version, dirimage_layers(version))
    return dirimage_disk(tmp_path_factory.mktemp("dirimage"), world.layout, "d1")


@pytest.fixture
def root(dirimage: Path, tmp_path: Path) -> Iterator[Path]:
    """A sysroot of one's own, with d1 on it."""
    with copy_mounted(dirimage, tmp_path) as mounted:
        yield mounted


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
    (path,) = (root / "dirimage").glob(pattern)
    return path


# ---------------------------------------------------------------- records

RECORDS = {
    "state": ("state.json", 'write {{"number": N, "order": [IDs of dirimage/deployments, the default first]}} to it'),
    "deployment": ("deployments/*/deployment.json", "move {folder} away while another deployment runs"),
    "image": (
        "slots/*/image.json",
        "remove the file: the slot then holds an unknown image, and `bootc upgrade` fetches the image anew",
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
    for words in (("status",), switch(world, "d2")):
        line = error(root, *words)
        assert line.startswith(f"{name}: {problem}"), line
        assert line.endswith(expected), line
        assert path.read_bytes() == change(good)
    path.write_bytes(good)
    assert images(root) == ["d1"]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_of_a_newer_format_that_may_be_read(root: Path, record: str) -> None:
    path = found(root, RECORDS[record][0])
    path.write_bytes(path.read_bytes().replace(b'"read-only-compatible": []', b'"read-only-compatible": ["quantum"]'))
    assert b"quantum" in path.read_bytes()
    assert images(root) == ["d1"]


def test_a_newer_state_is_not_written(world: World, root: Path) -> None:
    test_a_record_of_a_newer_format_that_may_be_read(root, "state")
    with unchanged(root):
        line = error(root, *switch(world, "d2"))
    assert line == f"{STATE}: uses what this version does not know: quantum {NEWER}"


def test_the_hint_of_a_missing_state_helps(world: World, root: Path) -> None:
    state, deployment = root / STATE, found(root, "deployments/*").name
    state.unlink()
    assert error(root, "status") == f"{STATE}: missing ({RECORDS['state'][1].format()})"
    state.write_text(f'{{"number": 2, "order": ["{deployment}"]}}')
    assert images(root) == ["d1"]
    succeed(root, *switch(world, "d2"))
    assert images(root) == ["d2", "d1"]


def test_the_hint_of_a_damaged_deployment_helps(world: World, root: Path) -> None:
    """The one that does not run is moved away, and the other one is left."""
    succeed(root, *switch(world, "d2"))
    old = found(root, "deployments/2-*")
    (old / "deployment.json").write_bytes(b"{")
    assert error(root, "status").startswith(f"{old.relative_to(root)}/deployment.json: damaged: ")
    old.rename(root / "away")
    assert images(root) == ["d2"]
    succeed(root, *switch(world, "d3"))
    assert images(root) == ["d3", "d2"]


def test_the_hint_of_a_damaged_image_helps_a_system_that_has_no_other(world: World, root: Path) -> None:
    """Its image is unknown then, and the upgrade brings it in again."""
    record = found(root, "slots/*/image.json")
    record.write_bytes(b"{")
    assert error(root, "upgrade").startswith(f"{record.relative_to(root)}: damaged: ")
    record.unlink()
    assert images(root) == [""]
    succeed(root, "upgrade")
    assert images(root) == ["d1", ""]
    succeed(root, *switch(world, "d2"))
    assert images(root) == ["d2", "d1"]


# ---------------------------------------------------------------- mount plans and slots

PLANS = {
    "missing": None,
    "empty": b"",
    "truncated": b"bootc-mount-plan 1\nroot dirimage/sl",
    "altered": b"bootc-mount-plan 1\nroot dirimage/slots/9/tree\n",
    "newer": b"bootc-mount-plan 99\nquantum leap\n",
}


@pytest.mark.parametrize("command", [("internals", "cleanup"), ("rollback",)], ids=" ".join)
@pytest.mark.parametrize("content", PLANS.values(), ids=PLANS)
def test_a_damaged_mount_plan_is_mended(
    world: World, root: Path, content: bytes | None, command: tuple[str, ...]
) -> None:
    """By the next command that makes a deployment the default, or cleans up: it follows from the record."""
    succeed(root, *switch(world, "d2"))
    good = {plan: plan.read_bytes() for plan in (root / "dirimage/deployments").glob("*/mounts")}
    for plan in good:
        plan.unlink()
        if content is not None:
            plan.write_bytes(content)
    assert images(root) == ["d2", "d1"]
    succeed(root, *command)
    assert len(good) == 2
    assert {plan: plan.read_bytes() for plan in good} == good


def leave_halves(root: Path) -> list[Path]:
    """What a power cut can leave: half-built and half-removed slots and deployments, and temporary files."""
    base = root / "dirimage"
    left = [base / "slots/9-0123456789ab.partial", base / "slots/8-0123456789ab.removed"]
    for slot in left:
        (slot / "tree/usr").mkdir(parents=True)
        (slot / "tree/usr/half").write_bytes(b"ha")
    deployments = [base / "deployments/7-0123456789ab.partial", base / "deployments/6-0123456789ab.removed"]
    for deployment in deployments:
        (deployment / "etc").mkdir(parents=True)
        (deployment / "deployment.json").write_bytes(b"{")
    unnamed = base / "deployments/5-0123456789ab"
    unnamed.mkdir()
    return [*left, *deployments, unnamed]


def test_what_a_power_cut_left_is_not_seen_and_goes_with_the_next_update(world: World, root: Path) -> None:
    left = leave_halves(root)
    assert images(root) == ["d1"]
    succeed(root, *switch(world, "d2"))
    assert images(root) == ["d2", "d1"]
    assert [path.name for path in left if path.exists()] == []


def test_what_a_power_cut_left_goes_with_cleaning_up(root: Path) -> None:
    left = leave_halves(root)
    with unchanged(root):
        run = bootc(*on(root, "status"))
        assert (run.code, run.err) == (0, "")
    succeed(root, "internals", "cleanup")
    assert [path.name for path in left if path.exists()] == []
    assert images(root) == ["d1"]


def test_a_slot_that_is_gone(world: World, root: Path) -> None:
    """Only the deployment in it is lost; the other one goes on."""
    succeed(root, *switch(world, "d2"))
    slot = found(root, "slots/1-*")
    slot.rename(root / "away")
    assert images(root) == ["d2", ""]
    succeed(root, *switch(world, "d3"))
    assert images(root) == ["d3", "d2"]


def test_two_deployments_of_one_digest(world: World, root: Path) -> None:
    """They share a slot, which stays as long as one of them does."""
    world.layout.add_documents("d1-again", world.layout.add("d1", dirimage_layers("d1")))
    succeed(root, *switch(world, "d1-again"))
    assert images(root) == ["d1", "d1"]
    assert len(list((root / "dirimage/slots").iterdir())) == 1
    (root / "dirimage" / found(root, "deployments/3-*").name).mkdir()
    succeed(root, "rollback")
    succeed(root, "internals", "cleanup")
    assert images(root) == ["d1", "d1"]
    succeed(root, *switch(world, "d2"))
    assert images(root) == ["d2", "d1"]
    succeed(root, *switch(world, "d3"))
    assert images(root) == ["d3", "d2"]
    assert len(list((root / "dirimage/slots").iterdir())) == 2


# ---------------------------------------------------------------- filesystems


@pytest.fixture(scope="module")
def large(world: World) -> str:
    """An image of which each part of an update needs room: 4 MiB come as they are, and are a tree."""
    layers = dirimage_layers("large", ballast=4 * MIB)
    settings = Tar().add("etc/large", data=os.urandom(MIB)).data
    world.layout.add("large", [*layers, settings])
    return "large"


@pytest.mark.parametrize("left", [0, 1, 4, 6])
def test_a_full_disk(world: World, root: Path, large: str, left: int) -> None:
    """The more MiB are left, the later it fails; with the last, /etc has no room."""
    with filled(root, left * MIB), unchanged(root):
        line = error(root, *switch(world, large))
        assert line.startswith("insufficient free space for "), line
        assert line.endswith(ADVICE)
        assert images(root) == ["d1"]
    succeed(root, *switch(world, large))
    assert images(root) == ["large", "d1"]


@pytest.fixture(scope="module")
def crowded(world: World, dirimage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed disk with files in place of all its free inodes: `fillers/0` and so on."""
    folder = tmp_path_factory.mktemp("crowded-dirimage")
    disk = dirimage_disk(folder, world.layout, "d1", "-N", "512")
    with mounted(disk, folder / "mounted") as root:
        (root / "fillers").mkdir()
        for number in range(os.statvfs(root).f_favail):
            (root / f"fillers/{number}").touch()
    return disk


@pytest.mark.parametrize("left", [0, 2, 20, 40])
def test_a_disk_that_runs_out_of_inodes(world: World, tmp_path: Path, crowded: Path, left: int) -> None:
    with copy_mounted(crowded, tmp_path) as root:
        for number in range(left):
            (root / f"fillers/{number}").unlink()
        with unchanged(root):
            line = error(root, *switch(world, "d2"))
        assert line.startswith("insufficient free space for "), line
        assert images(root) == ["d1"]
        for filler in (root / "fillers").iterdir():
            filler.unlink()
        succeed(root, *switch(world, "d2"))
        assert images(root) == ["d2", "d1"]


def test_a_filesystem_without_extended_attributes(world: World, root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", other], check=True)
    try:
        subprocess.run(["cp", "-dR", "--preserve=mode,ownership,timestamps,links", f"{root}/.", other], check=True)
        with unchanged(other):
            line = fails(tmp_path, *on(other, *switch(world, "d2")))
        assert "tree/usr/bin/tool: the filesystem cannot hold its extended attributes" in line, line
        assert line.endswith("(install on a filesystem with extended attributes, as ext4, xfs and btrfs)")
        assert images(other) == ["d1"]
    finally:
        subprocess.run(["umount", other], check=True)


def test_a_sysroot_that_is_mounted_read_only(world: World, root: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    line = error(root, *switch(world, "d2"))
    assert line.endswith("read-only file system (remount it writable, or choose another target)"), line
    assert images(root) == ["d1"]


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
    assert images(root) in (["d1"], ["large", "d1"])
    succeed(root, *switch(world, large))
    assert images(root) == ["large", "d1"]
    assert [path.name for path in (root / "dirimage").rglob("*.partial")] == []


# ---------------------------------------------------------------- at shutdown


@pytest.fixture(scope="module")
def running(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk whose system can run commands."""
    for version in ("r1", "r2"):
        world.layout.add(version, running_layers(version))
    return dirimage_disk(tmp_path_factory.mktemp("running"), world.layout, "r1")


@pytest.fixture
def booted(world: World, running: Path, tmp_path: Path) -> Iterator[BootedDirimage]:
    with copy_mounted(running, tmp_path) as root:
        yield BootedDirimage.boot(root, tmp_path, world.layout.folder)


def stage(world: World, booted: BootedDirimage) -> None:
    run = booted.bootc(*switch(world, "r2"))
    assert run.out.startswith("Queued for next boot: "), run


def test_a_disk_that_is_full_at_shutdown(world: World, booted: BootedDirimage) -> None:
    """The old system boots again, and the next update goes on."""
    stage(world, booted)
    order = (booted.root / STATE).read_bytes()
    with filled(booted.root, 0):
        assert error_of(booted.bootc("internals", "finalize-staged")).startswith("insufficient free space for ")
    assert (booted.root / STATE).read_bytes() == order
    again = BootedDirimage.boot(booted.root, booted.folder, world.layout.folder)
    assert again.id == booted.id
    stage(world, again)
    assert again.bootc("internals", "finalize-staged").code == 0
    assert images(booted.root) == ["r2", "r1"]


def test_a_staged_record_that_is_damaged_at_shutdown(world: World, booted: BootedDirimage) -> None:
    stage(world, booted)
    (marker,) = (booted.run / "bootc").glob("dirimage-staged.json")
    marker.write_bytes(b"{")
    line = error_of(booted.bootc("internals", "finalize-staged"))
    assert line.startswith("bootc/dirimage-staged.json: damaged: "), line
    assert line.endswith("(remove /run/bootc/dirimage-staged.json)")
    marker.unlink()
    assert booted.bootc("internals", "finalize-staged").code == 0
    assert images(booted.root) == ["r1"]


def test_what_runs_is_mounted_as_the_plan_says(world: World, booted: BootedDirimage) -> None:
    """The sysroot that these tests call booted is one: its root was mounted by the script of the initramfs."""
    lines = booted.execute("findmnt", "-no", "FSROOT,OPTIONS", "/").out.split()
    assert lines[0].startswith("/dirimage/slots/1-")
    assert lines[1].split(",")[0] == "ro"
    run = booted.execute("touch", "/etc/written", "/var/written")
    assert (run.code, run.err) == (0, "")
    assert booted.execute("touch", "/opt").code != 0


def test_a_transient_etc_is_forgotten_and_never_merged(world: World, running: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[backends.dirimage]\netc = "transient"\n')
    with mounted(make_disk(tmp_path / "disk"), tmp_path / "sysroot") as root:
        install_dirimage(root, world.layout.reference("r1"), config)
        first = BootedDirimage.boot(root, tmp_path, world.layout.folder)
        first.execute("sh", "-c", "echo mine | tee /etc/mine > /etc/default")
        assert first.execute("cat", "/etc/mine", "/etc/default").out == "mine\nmine\n"
        again = BootedDirimage.boot(root, tmp_path, world.layout.folder, tmp_path)
        assert again.execute("cat", "/etc/default").out == "shipped\n"
        again.execute("sh", "-c", "echo mine > /etc/default")
        run = again.bootc("--config", str(config), *switch(world, "r2"))
        assert run.out.startswith("Queued for next boot: "), run
        assert again.bootc("--config", str(config), "internals", "finalize-staged").code == 0
        second = BootedDirimage.boot(root, tmp_path, world.layout.folder)
        assert second.id != first.id
        assert second.execute("sh", "-c", "cat /etc/version /etc/default").out == "r2shipped\n"
        assert second.execute("test", "-e", "/etc/mine").code == 1


def test_an_installation_onto_what_holds_one(world: World, root: Path) -> None:
    line = error_of(install(root, world.layout.reference("d1"), "--backend", "dirimage"))
    assert "empty" in line.lower(), line
    assert images(root) == ["d1"]


def test_the_same_disk_can_be_installed_again(world: World, root: Path) -> None:
    for path in root.iterdir():
        if path.name != "lost+found":
            subprocess.run(["rm", "-rf", path], check=True)
    install_dirimage(root, world.layout.reference("d2"))
    assert images(root) == ["d2"]
