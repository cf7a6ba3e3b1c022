"""Boot entries of an older libostree, given the form of a current one."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from bootc_ostree import menu

from bootc.durable import DirectoryVolume, Step

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
