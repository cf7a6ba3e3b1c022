"""Targets that nothing can be installed to: refused before the first write, or empty again after a failure."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.failing import World, fails
from tests.integration.sysroots import MIB, held_below, images, install, make_disk, mounted, os_layers
from tests.ostree_images import Tar
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root

NO_KERNEL = (
    "no kernel in usr/lib/modules (install a kernel package and move the kernel to usr/lib/modules/VERSION/vmlinuz)"
)
OVERWRITE = "(use e.g. `wipefs` or --wipe if you intend to overwrite)"
DISK = 2048 * MIB


def to_filesystem(world: World, target: Path, *words: str, tag: str = "v1", code: int = 1) -> str:
    """The error of `install to-filesystem`; all of the target stays as it was."""
    options = ("--source-imgref", world.layout.reference(tag), *words)
    root = target if target.is_dir() else None
    return fails(target.parent, "install", "to-filesystem", *options, str(target), root=root, code=code)


def to_disk(world: World, target: Path, *words: str, tag: str = "v1", filesystem: str = "ext4") -> str:
    """The error of `install to-disk`."""
    options = ("--source-imgref", world.layout.reference(tag), "--bootloader", "none", "--filesystem", filesystem)
    return fails(target.parent, "install", "to-disk", *options, *words, str(target))


@pytest.fixture(scope="module")
def unfit(world: World) -> str:
    """The tag of an image without a kernel: it fails after its layers were imported."""
    world.layout.add("unfit", [Tar().directory("usr").directory("etc").add("etc/x").data])
    return "unfit"


@pytest.fixture
def target(own_mounts: None, tmp_path: Path) -> Iterator[Path]:
    """An empty ext4, mounted."""
    with mounted(make_disk(tmp_path / "disk"), tmp_path / "target") as root:
        yield root


# ---------------------------------------------------------------- to-filesystem


def test_no_mount_point(world: World, tmp_path: Path) -> None:
    hint = "(give the directory where the target filesystem is mounted)"
    assert to_filesystem(world, tmp_path / "absent") == f"{tmp_path}/absent: not a directory {hint}"
    (tmp_path / "file").touch()
    assert to_filesystem(world, tmp_path / "file") == f"{tmp_path}/file: not a directory {hint}"
    (tmp_path / "plain").mkdir()
    assert to_filesystem(world, tmp_path / "plain") == (
        f"{tmp_path}/plain: Not a mountpoint (mount the target filesystem there first)"
    )


def test_a_target_that_cannot_be_written(world: World, tmp_path: Path) -> None:
    with mounted(make_disk(tmp_path / "disk"), tmp_path / "target", "loop,ro") as root:
        assert to_filesystem(world, root) == f"{root}: read-only file system (mount -o remount,rw {root})"


def test_a_filesystem_that_no_system_can_live_on(world: World, tmp_path: Path, own_mounts: None) -> None:
    root = tmp_path / "memory"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", root], check=True)
    try:
        assert to_filesystem(world, root) == f"{root}: Unknown filesystem: tmpfs (supported: ext4, xfs, btrfs)"
    finally:
        subprocess.run(["umount", root], check=True)


def test_a_target_that_is_not_empty(world: World, target: Path) -> None:
    (target / "precious\x1b[31m").write_text("data")
    assert to_filesystem(world, target) == (
        f'{target}: Non-empty root filesystem; found "precious\\x1b[31m"'
        " (use --replace wipe to delete everything, or --replace alongside to keep it)"
    )


def test_a_target_with_other_filesystems_below_is_not_wiped(world: World, target: Path) -> None:
    (target / "data").mkdir()
    with mounted(make_disk(target.parent / "other", 8 * MIB), target / "data"):
        assert to_filesystem(world, target, "--replace", "wipe") == (
            f"{target}: Found unexpected mount point {target}/data (unmount it first)"
        )


def test_immutable_files_are_wiped(world: World, target: Path) -> None:
    (target / "etc/fixed.d").mkdir(parents=True)
    (target / "etc/fixed.d/log").write_text("mine")
    (target / "etc/fixed").write_text("mine")
    for attribute, name in (("+i", "etc/fixed"), ("+a", "etc/fixed.d/log"), ("+i", "etc/fixed.d")):
        subprocess.run(["chattr", attribute, target / name], check=True)
    run = install(target, world.layout.reference("v1"), "--replace", "wipe")
    assert run.code == 0, run.err
    assert not (target / "etc").exists()
    assert images(target) == ["v1"]


UNKNOWN = {
    "backend": (("--backend", "zfs"), (), "unknown backend 'zfs' (known: "),
    "fetcher": (("--fetcher", "pigeon"), (), "unknown fetcher 'pigeon' (known: "),
    "bootloader": ((), ("--bootloader", "lilo"), "unknown bootloader 'lilo' (known: "),
}


@pytest.mark.parametrize(("options", "more", "line"), UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_parts(world: World, target: Path, options: tuple[str, ...], more: tuple[str, ...], line: str) -> None:
    words = (*options, "install", "to-filesystem", "--source-imgref", world.layout.reference("v1"), *more, str(target))
    assert fails(target.parent, *words, root=target).startswith(line)


def test_a_bootloader_that_cannot_start_this(world: World, target: Path) -> None:
    assert to_filesystem(world, target).startswith("bootloader grub: does not start a machine without a boot partition")


def test_no_image_to_install(world: World, target: Path) -> None:
    assert fails(target.parent, "install", "to-filesystem", str(target), root=target).startswith(
        "Either --source-imgref must be defined or this command must be executed inside a podman container"
    )


def test_after_a_failure_an_empty_target_is_empty_again(world: World, target: Path, unfit: str) -> None:
    """Also a separate /boot; and what fsck found there stays."""
    (target / "boot").mkdir()
    (target / "lost+found/#12").write_text("found by fsck")
    with mounted(make_disk(target.parent / "other", 2 * MIB), target / "boot") as boot:
        assert NO_KERNEL in to_filesystem(world, target, "--bootloader", "none", tag=unfit)
        assert (target / "lost+found/#12").exists()

        kernel = Tar().add("usr/lib/modules/6.1.0-test/vmlinuz", data=os.urandom(4 * MIB)).data
        world.layout.add("big-kernel", [*os_layers("k"), kernel])
        line = to_filesystem(world, target, "--bootloader", "none", tag="big-kernel")
        assert "insufficient free space" in line, "the kernel did not fit into /boot"
        assert os.listdir(boot) == ["lost+found"]


def test_a_full_target(world: World, tmp_path: Path, own_mounts: None) -> None:
    world.layout.add("large", os_layers("l", ballast=6 * MIB))
    with mounted(make_disk(tmp_path / "small", 5 * MIB), tmp_path / "target") as root:
        line = to_filesystem(world, root, "--bootloader", "none", tag="large")
        assert line.startswith(
            f"insufficient free space for the layers of the image in {root}/ostree/repo (available: "
        )
    with mounted(make_disk(tmp_path / "few", 32 * MIB, "-N", "64"), tmp_path / "target") as root:
        line = to_filesystem(world, root, "--bootloader", "none")
        assert line.startswith("insufficient free space for ostree objects in ")


# ---------------------------------------------------------------- to-disk


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    """Room for a system, all holes."""
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, DISK)
    return path


def beginning(path: Path) -> str:
    """What tables and superblocks are in."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read(4 * MIB)).hexdigest()


def small(path: Path) -> Path:
    os.truncate(path, 100 * MIB)
    return path


DISKS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], str]] = {
    "too small": (
        small,
        ("--via-loopback",),
        "too small: it has 100 MiB, 1539 MiB are needed (use a larger disk, or a smaller --root-size)",
    ),
    "no block device": (lambda path: path, (), "Not a block device (use --via-loopback for an image file)"),
    "no such file": (
        lambda path: path.with_name("absent"),
        ("--via-loopback",),
        "No such file or directory (check the name, or choose another target)",
    ),
    "a directory": (
        lambda path: path.parent,
        ("--via-loopback",),
        "Not a regular file (to be used via loopback) (leave out --via-loopback)",
    ),
}


@pytest.mark.parametrize(("choose", "words", "problem"), DISKS.values(), ids=DISKS)
def test_no_disk(
    world: World, image_file: Path, choose: Callable[[Path], Path], words: tuple[str, ...], problem: str
) -> None:
    path = choose(image_file)
    before = beginning(image_file)
    assert to_disk(world, path, *words) == f"{path}: {problem}"
    assert beginning(image_file) == before


def test_no_root_filesystem_chosen(world: World, image_file: Path) -> None:
    words = ("install", "to-disk", "--source-imgref", world.layout.reference("v1"), "--via-loopback", str(image_file))
    assert fails(image_file.parent, *words) == (
        f"{image_file}: No root filesystem specified"
        " (give --filesystem, or set filesystem.root.type in the install configuration)"
    )
    assert "'zfs' is not one of 'ext4', 'xfs', 'btrfs'" in fails(
        image_file.parent, *words, "--filesystem", "zfs", code=2
    )


def test_a_disk_with_something_on_it(world: World, image_file: Path, own_mounts: None) -> None:
    disk = make_disk(image_file, DISK)
    before = beginning(disk)
    assert to_disk(world, disk, "--via-loopback") == f"{disk}: Detected an existing filesystem (ext4) {OVERWRITE}"
    subprocess.run(["sfdisk", "-q", "--wipe=always", disk], input=b"label: gpt\nsize=100MiB\n", check=True)
    partitioned = beginning(disk)
    assert partitioned != before
    assert to_disk(world, disk, "--via-loopback") == f"{disk}: Detected existing partitions {OVERWRITE}"
    assert beginning(disk) == partitioned


def test_a_disk_in_use_is_not_even_wiped(world: World, image_file: Path, own_mounts: None) -> None:
    with mounted(make_disk(image_file, DISK), image_file.parent / "target") as root:
        (root / "precious").write_text("data")
        lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
        device = next(source for source, at, *_ in lines if at == str(root))
        assert to_disk(world, image_file, "--via-loopback", "--wipe") == (
            f"{image_file}: in use by {device} (losetup -d {device})"
        )
        options = ("--source-imgref", world.layout.reference("v1"), "--filesystem", "ext4", "--bootloader", "none")
        line = fails(image_file.parent, "install", "to-disk", *options, "--wipe", device, root=root)
        assert line == f"{device}: Device {device} is mounted (it is mounted at {root}; unmount it)"


def test_a_failure_after_the_first_write_leaves_nothing_attached(world: World, image_file: Path, unfit: str) -> None:
    assert NO_KERNEL in to_disk(world, image_file, "--via-loopback", tag=unfit)
    assert held_below(image_file.parent) == []
    again = bootc(
        *("install", "to-disk", "--source-imgref", world.layout.reference("v1"), "--bootloader", "none"),
        *("--filesystem", "ext4", "--via-loopback", "--wipe", str(image_file)),
    )
    assert (again.code, held_below(image_file.parent)) == (0, []), again.err


def test_an_installation_goes_on_where_the_target_was_mended(world: World, target: Path, unfit: str) -> None:
    to_filesystem(world, target, "--bootloader", "none", tag=unfit)
    run = install(target, world.layout.reference("v1"))
    assert (run.code, run.out) == (0, "Bootloader: none\nInstallation complete!\n"), run.err
