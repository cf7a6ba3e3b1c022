"""Boot entries of an older libostree, given the form of a current one; and damaged ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from bootc_ostree import menu
from bootc_ostree.glib import OSTree, file

from bootc.durable import DirectoryVolume, Step
from bootc.storage import MenuFormat
from tests.integration.sysroots import Layout, copy_mounted, installed_disk, mounted, os_layers
from tests.unit.cli_runs import bootc

OLD = """\
title Test (ostree:0)
version 2
options quiet ostree=/ostree/boot.1/default/ab/0
linux /ostree/default-ab/vmlinuz-6.1
initrd /ostree/default-ab/initramfs-6.1.img
initrd /ostree/initramfs-overlays/cd.img
devicetree /ostree/default-ab/devicetree
"""
NEW = OLD.replace(" /ostree/", " /boot/ostree/")


@pytest.fixture
def entries(tmp_path: Path) -> Path:
    directory = tmp_path / "loader.1/entries"
    directory.mkdir(parents=True)
    (tmp_path / "loader").symlink_to("loader.1")
    return directory


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ostree-2-default.conf", "ostree-2.conf"),
        ("ostree-12-my-os.conf", "ostree-12.conf"),
        ("ostree-2+3-default.conf", "ostree-2+3.conf"),
        ("ostree-2+1-2-default.conf", "ostree-2+1-2.conf"),
        ("ostree-2.conf", "ostree-2.conf"),
        ("ostree-2+3.conf", "ostree-2+3.conf"),
    ],
)
def test_names_and_paths_are_those_of_a_current_version(tmp_path: Path, entries: Path, old: str, new: str) -> None:
    (entries / old).write_text(OLD)
    menu.normalize(DirectoryVolume(tmp_path))
    assert contents(entries) == {new: NEW}


def test_what_is_right_is_not_written_again(tmp_path: Path, entries: Path) -> None:
    (entries / "ostree-1.conf").write_text(NEW)
    (entries / "other-system.conf").write_text("linux /ostree/is-not-ours\n")
    steps: list[Step] = []
    menu.normalize(DirectoryVolume(tmp_path, observer=steps.append))
    assert steps == []


def test_every_step_leaves_each_entry_once(tmp_path: Path, entries: Path) -> None:
    for number in (1, 2):
        (entries / f"ostree-{number}-default.conf").write_text(OLD)
    seen: list[set[str]] = []

    def look(step: Step) -> None:
        seen.append({name.partition("-")[2][0] for name in contents(entries) if name.startswith("ostree-")})
        assert len([name for name in contents(entries) if name.startswith("ostree-")]) == 2

    menu.normalize(DirectoryVolume(tmp_path, observer=look))
    assert seen
    assert all(numbers == {"1", "2"} for numbers in seen)


def test_without_a_menu_there_is_nothing_to_do(tmp_path: Path) -> None:
    menu.normalize(DirectoryVolume(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert PurePosixPath("boot/loader/entries") == menu.ENTRIES


# ---------------------------------------------------------------- syslinux.cfg, which GRUB before 2.14 reads


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two deployments, and a menu in both forms."""
    folder = tmp_path_factory.mktemp("syslinux")
    layout = Layout(folder / "os")
    for version in ("1", "2"):
        layout.add(version, os_layers(version))
    found = installed_disk(folder, layout, "1")
    with mounted(found, folder / "mounted") as root:
        repo = OSTree.Repo.new(file(root / "ostree/repo"))
        repo.open(None)
        menu.configure(DirectoryVolume(root / "boot"), repo, MenuFormat.SYSLINUX)
        del repo
        switched = bootc("--sysroot", str(root), "switch", "--transport", "oci", layout.name("2"))
        assert switched.code == 0, switched.err
    return found


@pytest.fixture
def root(disk: Path, tmp_path: Path) -> Iterator[Path]:
    with copy_mounted(disk, tmp_path) as sysroot:
        yield sysroot


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda good: None,
    "empty": lambda good: b"",
    "in its first entry": lambda good: good[: good.index(b"KERNEL") + 3],
    "in its last entry": lambda good: good[: good.rindex(b"LABEL") + 9],
    "altered": lambda good: good.replace(b"APPEND", b"APPEND evil=1"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_syslinux_cfg_is_written_anew(root: Path, damage: Callable[[bytes], bytes | None]) -> None:
    path = root / "boot/loader/syslinux.cfg"
    good, command = path.read_bytes(), ("--sysroot", str(root), "--bootloader", "none", "rollback")
    damaged = damage(good)
    path.unlink() if damaged is None else path.write_bytes(damaged)
    for _ in range(2):
        run = bootc(*command)
        assert run.code == 0, run.err
    lines = [
        line for line in path.read_text().splitlines() if line.startswith(("LABEL", "\tKERNEL", "\tINITRD", "\tAPPEND"))
    ]
    assert lines == [line for line in good.decode().splitlines() if line.startswith(("LABEL", "\t"))]
