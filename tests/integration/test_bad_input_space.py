"""Filesystems without room, in bytes and in inodes, at every step of an update; and read-only ones."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.failing import World, fails
from tests.integration.scarcity import ADVICE, crowd, filled, free, uncrowd
from tests.integration.sysroots import (
    MIB,
    copy_mounted,
    images,
    install,
    installed_disk,
    make_disk,
    mounted,
    os_layers,
)
from tests.ostree_images import MODULES, Tar
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root

ZEROS = 20 * MIB
"""content that takes no room on the way, and much in the store"""


@pytest.fixture(scope="module")
def large(world: World) -> str:
    """The name of an image, in the registry and in the layout, that needs more room than its layers have bytes."""
    zeros = Tar().add("usr/zeros", data=bytes(ZEROS)).data
    world.publish("large", [zeros, *os_layers("large", ballast=4 * MIB)])
    return "large"


def switch(world: World, root: Path, name: str, *, registry: bool = False) -> tuple[str, ...]:
    target = (world.reference(name),) if registry else ("--transport", "oci", world.layout.name(name))
    return ("--config", str(world.config), "--sysroot", str(root), "switch", *target)


def test_no_byte_is_left(world: World, root: Path) -> None:
    with filled(root, 0):
        line = fails(root.parent, *switch(world, root, "v2"), root=root)
        assert line.startswith("insufficient free space for ")
        assert line.endswith(ADVICE)
        assert images(root) == ["v1"]
    assert bootc(*switch(world, root, "v2")).code == 0
    assert images(root) == ["v2", "v1"]


@pytest.mark.parametrize(
    ("left", "what"),
    [
        (4 * MIB, "the layers of the image in {spool} (available: "),
        (12 * MIB, "ostree objects in {store} "),
        (ZEROS + 6 * MIB, "ostree objects in {store} "),
    ],
    ids=["too little for the download", "too little for the first layer", "too little for the last layer"],
)
def test_a_disk_that_fills_during_the_fetch_and_import(
    world: World, root: Path, large: str, left: int, what: str
) -> None:
    """What was taken is given back at once: the system that runs on this disk needs it."""
    with filled(root, left):
        before = free(root)
        places = {"store": f"{root}/ostree/repo", "spool": f"{root}/ostree/bootc/spool"}
        line = fails(root.parent, *switch(world, root, large, registry=True), root=root)
        assert line.startswith(f"insufficient free space for {what.format(**places)}")
        assert before - free(root) < MIB // 4
    assert bootc(*switch(world, root, large, registry=True)).code == 0
    assert images(root) == [large, "v1"]


def test_a_boot_partition_that_is_full(world: World, tmp_path: Path, own_mounts: None) -> None:
    """The import goes well, the deployment does not."""
    kernel = Tar().add(f"{MODULES}/vmlinuz", data=os.urandom(4 * MIB)).data
    world.layout.add("big-kernel", [*os_layers("k"), kernel])
    with ExitStack() as stack:
        root = stack.enter_context(mounted(make_disk(tmp_path / "disk"), tmp_path / "root"))
        (root / "boot").mkdir()
        boot = stack.enter_context(mounted(make_disk(tmp_path / "boot-disk", 3 * MIB), root / "boot"))
        run = install(root, world.layout.reference("v1"), "--skip-finalize")
        assert run.code == 0, run.err
        assert bootc("--sysroot", str(root), "internals", "cleanup").code == 0
        before = free(root), free(boot)
        line = fails(tmp_path, *switch(world, root, "big-kernel"), root=root)
        assert line == f"insufficient free space for ostree objects in {root} {ADVICE}"
        assert before[0] - free(root) < MIB // 4
        assert before[1] == free(boot)
        assert images(root) == ["v1"]
        assert bootc(*switch(world, root, "v2")).code == 0
        assert images(root) == ["v2", "v1"]


# ---------------------------------------------------------------- inodes


@pytest.fixture(scope="module")
def crowded(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed disk with files in place of all its free inodes."""
    folder = tmp_path_factory.mktemp("crowded")
    disk = installed_disk(folder, world.layout, "v1", "-N", "1024")
    with mounted(disk, folder / "mounted") as root:
        crowd(root)
    return disk


@pytest.mark.parametrize("left", [0, 3, 10, 25, 40, 55, 70])
def test_a_disk_that_runs_out_of_inodes(world: World, tmp_path: Path, crowded: Path, left: int) -> None:
    """The more are left, the later it fails: in the lock, in the layers, in the merge, in the checkout, in /boot."""
    with copy_mounted(crowded, tmp_path) as root:
        uncrowd(root, left)
        line = fails(tmp_path, *switch(world, root, "v2"), root=root)
        assert line.startswith("insufficient free space for "), line
        assert images(root) == ["v1"]
        assert left - os.statvfs(root).f_favail < 20, "what was taken is given back"


def test_with_inodes_again_the_update_goes_on(world: World, tmp_path: Path, crowded: Path) -> None:
    with copy_mounted(crowded, tmp_path) as root:
        fails(tmp_path, *switch(world, root, "v2"), root=root)
        uncrowd(root)
        assert bootc(*switch(world, root, "v2")).code == 0
        assert images(root) == ["v2", "v1"]


# ---------------------------------------------------------------- read-only


WRITERS = {"upgrade": ("upgrade",), "rollback": ("rollback",)}


@pytest.mark.parametrize("words", WRITERS.values(), ids=WRITERS)
def test_a_sysroot_that_is_mounted_read_only(root: Path, words: tuple[str, ...]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    line = fails(root.parent, "--sysroot", str(root), *words, root=root)
    assert line.endswith("read-only file system (remount it writable, or choose another target)"), line
    assert images(root) == ["v1"]


def test_a_write_protected_device(world: World, tmp_path: Path) -> None:
    with copy_mounted(world.disk, tmp_path, "loop,ro") as root:
        line = fails(tmp_path, "--sysroot", str(root), "upgrade", root=root)
        assert line == (
            f"Cannot perform this operation: {root} is on a read-only block device (e.g. a live ISO)"
            " (make the device writable, or start the system from one that is)"
        )
        assert images(root) == ["v1"]
