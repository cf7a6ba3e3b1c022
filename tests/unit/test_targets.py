"""Whether a directory is fit to be installed to."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootc import targets
from bootc.errors import TargetError


def test_a_directory_that_is_no_mount_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="Not a mountpoint"):
        targets.require_mount_point(tmp_path)
    with pytest.raises(TargetError, match="not a directory"):
        targets.require_mount_point(tmp_path / "absent")


def test_an_unknown_filesystem_is_refused() -> None:
    targets.require_filesystem(Path("/t"), "xfs")
    with pytest.raises(TargetError, match="Unknown filesystem: vfat"):
        targets.require_filesystem(Path("/t"), "vfat")


def test_lost_and_found_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    targets.require_empty(tmp_path)


@pytest.mark.parametrize("name", ["file", "a\x1b[31m"])
def test_anything_else_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(TargetError, match="Non-empty root filesystem; found") as caught:
        targets.require_empty(tmp_path)
    assert caught.value.message.isprintable()


def test_an_empty_directory_is_something_too(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    with pytest.raises(TargetError, match='found "boot"'):
        targets.require_empty(tmp_path)


def test_emptying_removes_all_but_the_directory_and_does_not_follow_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("")
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_text("")
    (root / "link").symlink_to(outside)
    targets.empty(root)
    assert list(root.iterdir()) == []
    assert (outside / "keep").exists()


def test_the_hosts_own_root_needs_a_word_more(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="root filesystem of the running system"):
        targets.require_other_than_host(tmp_path, host=tmp_path)
    targets.require_other_than_host(Path("/proc"), host=tmp_path / "kept from us")


def test_only_what_is_new_is_removed(tmp_path: Path) -> None:
    rescued = tmp_path / "lost+found" / "#11"
    rescued.parent.mkdir()
    rescued.write_text("a file that fsck found")
    before = targets.listing(tmp_path)
    (tmp_path / "ostree/repo").mkdir(parents=True)
    (tmp_path / "link").symlink_to(rescued.parent)
    targets.remove_new(tmp_path, before)
    assert sorted(tmp_path.rglob("*")) == [rescued.parent, rescued]


def test_a_backend_says_on_which_filesystems_it_works() -> None:
    targets.require_backend(Path("/target"), "ext4", "any", ())
    targets.require_backend(Path("/target"), "btrfs", "snapshots", ("btrfs",))
    with pytest.raises(TargetError, match="backend 'snapshots' does not work on ext4") as caught:
        targets.require_backend(Path("/target"), "ext4", "snapshots", ("btrfs",))
    assert caught.value.hint == "use btrfs, or another backend"
