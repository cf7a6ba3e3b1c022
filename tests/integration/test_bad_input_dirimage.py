"""Backend dirimage, by the real command: what is its own among the harm that `test_bad_input_roots` does to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.bad_sysroots import DIRIMAGE, error, found, on, succeed
from tests.integration.dirimage_sysroots import (
    STATE,
    BootedDirimage,
    dirimage_disk,
    dirimage_layers,
    install_dirimage,
    running_layers,
    unchanged,
)
from tests.integration.failing import NEWER, World, error_of, fails, switch
from tests.integration.scarcity import filled
from tests.integration.sysroots import copy_mounted, images, make_disk, mounted
from tests.ostree_images import Tar
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root


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


# ---------------------------------------------------------------- records


@pytest.mark.parametrize("record", DIRIMAGE.records)
def test_a_record_of_a_newer_format_that_may_be_read(root: Path, record: str) -> None:
    path = found(root, DIRIMAGE.records[record].pattern)
    path.write_bytes(path.read_bytes().replace(b'"read-only-compatible": []', b'"read-only-compatible": ["quantum"]'))
    assert b"quantum" in path.read_bytes()
    assert images(root) == ["d1"]


def test_a_newer_state_is_not_written(world: World, root: Path) -> None:
    test_a_record_of_a_newer_format_that_may_be_read(root, "state")
    with unchanged(root):
        line = error(root, *switch(world, "d2"))
    assert line == f"{STATE}: uses what this version does not know: quantum {NEWER}"


def test_the_hint_of_a_missing_state_helps(world: World, root: Path) -> None:
    state, deployment = root / STATE, found(root, "dirimage/deployments/*").name
    state.unlink()
    assert error(root, "status") == f"{STATE}: missing ({DIRIMAGE.records['state'].hint.format()})"
    state.write_text(f'{{"number": 2, "order": ["{deployment}"]}}')
    assert images(root) == ["d1"]
    succeed(root, *switch(world, "d2"))
    assert images(root) == ["d2", "d1"]


def test_the_hint_of_a_damaged_deployment_helps(world: World, root: Path) -> None:
    """The one that does not run is moved away, and the other one is left."""
    succeed(root, *switch(world, "d2"))
    old = found(root, "dirimage/deployments/2-*")
    (old / "deployment.json").write_bytes(b"{")
    assert error(root, "status").startswith(f"{old.relative_to(root)}/deployment.json: damaged: ")
    old.rename(root / "away")
    assert images(root) == ["d2"]
    succeed(root, *switch(world, "d3"))
    assert images(root) == ["d3", "d2"]


def test_the_hint_of_a_damaged_image_helps_a_system_that_has_no_other(world: World, root: Path) -> None:
    """Its image is unknown then, and the upgrade brings it in again."""
    record = found(root, "dirimage/slots/*/image.json")
    record.write_bytes(b"{")
    assert error(root, "upgrade").startswith(f"{record.relative_to(root)}: damaged: ")
    record.unlink()
    assert images(root) == [""]
    succeed(root, "upgrade")
    assert images(root) == ["d1", ""]
    succeed(root, *switch(world, "d2"))
    assert images(root) == ["d2", "d1"]


# ---------------------------------------------------------------- slots


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
    slot = found(root, "dirimage/slots/1-*")
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
    (root / "dirimage" / found(root, "dirimage/deployments/3-*").name).mkdir()
    succeed(root, "rollback")
    succeed(root, "internals", "cleanup")
    assert images(root) == ["d1", "d1"]
    succeed(root, *switch(world, "d2"))
    assert images(root) == ["d2", "d1"]
    succeed(root, *switch(world, "d3"))
    assert images(root) == ["d3", "d2"]
    assert len(list((root / "dirimage/slots").iterdir())) == 2


# ---------------------------------------------------------------- filesystems


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
        assert len(list((other / "dirimage/slots").glob("*.partial"))) == 1
        succeed(other, "internals", "cleanup")
        assert list((other / "dirimage/slots").glob("*.partial")) == []
        assert images(other) == ["d1"]
    finally:
        subprocess.run(["umount", other], check=True)


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


def test_a_merge_that_fails_at_shutdown_is_told_after_the_boot(world: World, booted: BootedDirimage) -> None:
    """Nobody saw it: the conflict came after staging."""
    world.layout.add("r3", [*running_layers("r3"), Tar().directory("etc/thing").add("etc/thing/inside").data])
    assert booted.bootc(*switch(world, "r3")).out.startswith("Queued for next boot: ")
    booted.execute("sh", "-c", "echo mine > /etc/thing")
    assert error_of(booted.bootc("internals", "finalize-staged")).startswith("/etc cannot be merged: /etc/thing is ")
    again = BootedDirimage.boot(booted.root, booted.folder, world.layout.folder)
    assert again.id == booted.id
    (failed,) = json.loads(again.bootc("status", "--json").out)["status"]["failedDeployments"]
    assert failed["kind"] == "finalization"
    assert failed["reason"].startswith("/etc cannot be merged: /etc/thing is ")
    assert "/etc cannot be merged: /etc/thing is " in again.bootc("status").out
    again.execute("rm", "/etc/thing")
    assert again.bootc(*switch(world, "r3")).out.startswith("Queued for next boot: ")
    assert again.bootc("internals", "finalize-staged").code == 0
    assert images(booted.root) == ["r3", "r1"]
    assert "failedDeployments" not in again.bootc("status", "--json").out


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


def test_the_same_disk_can_be_installed_again(world: World, root: Path) -> None:
    for path in root.iterdir():
        if path.name != "lost+found":
            subprocess.run(["rm", "-rf", path], check=True)
    install_dirimage(root, world.layout.reference("d2"))
    assert images(root) == ["d2"]
