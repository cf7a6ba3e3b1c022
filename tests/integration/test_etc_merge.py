"""Merging /etc as root: owners, capabilities, ACLs, labels, devices, mounts, immutable files, full disks."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest

from bootc.durable import DirectoryVolume
from bootc.errors import FileSystemError, NoSpaceError
from bootc.etc_merge import MergePlan, Reason, apply, build, diff, plan, preview_ostree
from bootc.testing.attributes import CAPABILITY
from tests.integration.sysroots import MIB, make_disk, mounted
from tests.unit.etc_trees import Link, Sides, Tree, normal, write

pytestmark = pytest.mark.root

SELINUX = "security.selinux"


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An ACL as its extended attribute holds it; each entry is tag, permissions, id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACL = acl((1, 6, 0xFFFFFFFF), (2, 6, 1234), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))


def build_in(folder: Path, sides: Sides, label: Callable[[str, int], str | None] | None = None) -> Path:
    build(plan(*sides.paths), *sides.paths[1:], DirectoryVolume(folder), PurePosixPath("etc"), label=label)
    return folder / "etc"


def test_owners_are_kept_and_counted(tmp_path: Path) -> None:
    tree: Tree = {"f": b"f", "d": {"x": b"x"}, "l": Link("x")}
    sides = Sides.of(tmp_path, tree, {**tree, "added": b"", "image": b""}, {**tree, "image": b""})
    for path in ("f", "d", "l", "added"):
        os.chown(tmp_path / "current" / path, 1000, 1001, follow_symlinks=False)
    os.chown(tmp_path / "new/d/x", 7, 8)
    expected = normal(tmp_path / "current")
    expected["d/x"] = normal(tmp_path / "new")["d/x"]

    assert [str(found) for found in diff(*sides.paths[:2])] == ["added", "d", "f", "image", "l"]
    assert normal(build_in(tmp_path, sides)) == expected
    assert sides.merged() == expected


def test_capabilities_and_setuid_bits_survive_the_change_of_owner(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {"local": b"#!", "suid": b"#!"}, {"image": b"#!"})
    for path in ("current/local", "new/image"):
        os.chown(tmp_path / path, 5, 6)
        os.setxattr(tmp_path / path, "security.capability", CAPABILITY)
    os.chown(tmp_path / "current/suid", 5, 6)
    (tmp_path / "current/suid").chmod(0o6755)
    etc = build_in(tmp_path, sides)

    for name in ("local", "image"):
        assert os.getxattr(etc / name, "security.capability") == CAPABILITY
    assert stat.S_IMODE((etc / "suid").stat().st_mode) == 0o6755


def test_acls_are_carried_over_and_not_inherited(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {"d": {}}, {"d": {"plain": b"", "sub": {}}, "f": b""}, {"d": {}})
    os.setxattr(tmp_path / "current/f", "system.posix_acl_access", ACL)
    os.setxattr(tmp_path / "new/d", "system.posix_acl_default", ACL)
    etc = build_in(tmp_path, sides)

    assert os.getxattr(etc / "f", "system.posix_acl_access") == ACL
    assert os.listxattr(etc / "d") == ["system.posix_acl_default"]
    assert os.listxattr(etc / "d/plain") == os.listxattr(etc / "d/sub") == []
    assert normal(etc) == sides.merged()


def test_labels_and_integrity_attributes_are_no_change(tmp_path: Path) -> None:
    tree: Tree = {"f": b"f", "d": {"x": b"x"}}
    sides = Sides.of(tmp_path, tree, tree, {"f": b"n", "d": {"x": b"x"}})
    for path in ("f", "d", "d/x", ""):
        os.setxattr(tmp_path / "current" / path, SELINUX, b"system_u:object_r:etc_t:s0\0")
        os.setxattr(tmp_path / "current" / path, "trusted.overlay.opaque", b"y")
        os.setxattr(tmp_path / "new" / path, SELINUX, b"system_u:object_r:image_t:s0\0")

    assert plan(*sides.paths) == MergePlan((), ())
    assert list(diff(*sides.paths[:2])) == []
    assert preview_ostree(*sides.paths) == ()


def test_labels_are_those_of_the_new_policy(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {"d": {}}, {"d": {"mine": b""}, "l": Link("x")}, {"d": {}, "n": b"n", "none": b""})
    for path in ("d", "d/mine"):
        os.setxattr(tmp_path / "current" / path, SELINUX, b"old\0")
    asked: dict[str, int] = {}

    def label(path: str, mode: int) -> str | None:
        asked[path] = stat.S_IFMT(mode)
        return None if path == "/etc/none" else f"system_u:object_r:{path.rsplit('/', maxsplit=1)[-1]}_t:s0"

    etc = build_in(tmp_path, sides, label)

    assert asked == {
        "/etc": stat.S_IFDIR,
        "/etc/d": stat.S_IFDIR,
        "/etc/d/mine": stat.S_IFREG,
        "/etc/l": stat.S_IFLNK,
        "/etc/n": stat.S_IFREG,
        "/etc/none": stat.S_IFREG,
    }
    for path, kind in (("", "etc"), ("d", "d"), ("d/mine", "mine"), ("l", "l"), ("n", "n")):
        found = os.getxattr(etc / path, SELINUX, follow_symlinks=False)
        assert found == f"system_u:object_r:{kind}_t:s0\0".encode(), path
    assert os.listxattr(etc / "none") == []


def test_what_overlayfs_and_evm_keep_for_themselves_is_not_copied(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {"local": {}}, {"image": {}})
    for path in ("current/local", "new/image"):
        for name in ("trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.mine", "user.overlay.opaque"):
            os.setxattr(tmp_path / path, name, b"y")
    etc = build_in(tmp_path, sides)

    assert {name: os.listxattr(etc / name) for name in os.listdir(etc)} == {
        "local": ["trusted.mine"],
        "image": ["trusted.mine"],
    }


def test_devices_are_kept(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {"d": {}}, {})
    for path, number in (
        ("current/null", 3),
        ("current/d/zero", 5),
        ("old/full", 7),
        ("current/full", 8),
        ("new/full", 7),
    ):
        os.mknod(tmp_path / path, stat.S_IFCHR | 0o640, os.makedev(1, number))

    assert plan(*sides.paths).findings == ()
    assert normal(build_in(tmp_path, sides)) == normal(tmp_path / "current")


def test_devices_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {"f": b"f"}, {})
    os.mknod(tmp_path / "current/null", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    code = (
        "import sys; from pathlib import Path; from bootc.etc_merge import apply, plan\n"
        "old, current, new = map(Path, sys.argv[1:])\n"
        "for found in apply(plan(old, current, new), current, new): print(found.subject, found.reason.name)"
    )
    drop = ["setpriv", "--bounding-set=-mknod", "--inh-caps=-mknod"]
    run = subprocess.run([*drop, sys.executable, "-c", code, *sides.paths], check=True, capture_output=True, text=True)

    assert run.stdout.split("\n") == ["/etc/null NO_DEVICE", ""]
    assert os.listdir(tmp_path / "new") == ["f"]


@contextmanager
def mount(*words: object) -> Iterator[None]:
    subprocess.run(["mount", *map(str, words)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(words[-1])], check=True)


def test_mount_points_are_told_and_not_gone_into(tmp_path: Path) -> None:
    tree: Tree = {"resolv.conf": b"image", "kept": {"f": b"f"}}
    sides = Sides.of(tmp_path, tree, {**tree, "mine": {}, "d": {"deep": {}, "f": b"f"}, "file": b""}, tree)
    (tmp_path / "elsewhere").write_text("bound")
    current = tmp_path / "current"
    with (
        mount("--bind", tmp_path / "elsewhere", current / "resolv.conf"),
        mount("--bind", tmp_path / "elsewhere", current / "file"),
        mount("-t", "tmpfs", "none", current / "kept"),
        mount("-t", "tmpfs", "none", current / "mine"),
        mount("--bind", tmp_path / "old", current / "d/deep"),
    ):
        (current / "mine/secret").write_text("not part of /etc")
        found = plan(*sides.paths)
        assert list(map(str, diff(*sides.paths[:2]))) == ["d", "d/f"]
        merged = sides.merged()

    assert {finding.subject: finding.reason for finding in found.findings} == dict.fromkeys(
        ("/etc/d/deep", "/etc/file", "/etc/kept", "/etc/mine", "/etc/resolv.conf"), Reason.MOUNT_POINT
    )
    assert not found.conflicts
    assert [path for path in merged if path != "."] == [
        "d",
        "d/deep",
        "d/f",
        "kept",
        "kept/f",
        "mine",
        "resolv.conf",
    ]
    assert (tmp_path / "new/resolv.conf").read_text() == "image"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small ext4 with few inodes."""
    with mounted(make_disk(tmp_path / "disk", 8 * MIB, "-N", "64"), tmp_path / "mount") as root:
        yield root


def test_immutable_files_are_told_and_their_content_is_carried_over(disk: Path) -> None:
    sides = Sides.of(disk, {"same": b"s"}, {"same": b"s", "mine": b"m", "d": {"log": b"l"}}, {"same": b"n"})
    attributes = (("+i", "same"), ("+i", "mine"), ("+a", "d/log"), ("+i", "d"))
    for attribute, path in attributes:
        subprocess.run(["chattr", attribute, disk / "current" / path], check=True)
    try:
        found, foretold = plan(*sides.paths), preview_ostree(*sides.paths)
        merged = sides.merged()
    finally:
        for attribute, path in reversed(attributes):
            subprocess.run(["chattr", attribute.replace("+", "-"), disk / "current" / path], check=True)

    assert {finding.subject: finding.reason for finding in found.findings} == dict.fromkeys(
        ("/etc/d", "/etc/d/log", "/etc/mine", "/etc/same"), Reason.FIXED
    )
    assert {finding.subject: finding.reason for finding in foretold} == {
        finding.subject: finding.reason for finding in found.findings
    }
    assert merged == normal(write(disk / "expected", {"same": b"n", "mine": b"m", "d": {"log": b"l"}}))


def test_an_immutable_target_is_a_typed_error(disk: Path) -> None:
    sides = Sides.of(disk, {"f": b"f"}, {"f": b"mine"}, {"f": b"f"})
    subprocess.run(["chattr", "+i", disk / "new/f"], check=True)
    try:
        with pytest.raises(FileSystemError, match=r"new/f: Operation not permitted"):
            sides.merged()
    finally:
        subprocess.run(["chattr", "-i", disk / "new/f"], check=True)


@pytest.mark.parametrize("content", ["bytes", "files"])
def test_a_full_disk_is_a_typed_error_and_leaves_the_old_one(tmp_path: Path, disk: Path, content: str) -> None:
    many = {str(number): b"" for number in range(80)}
    local = {"large": os.urandom(9 * MIB)} if content == "bytes" else {"many": many}
    sides = Sides.of(tmp_path, {}, {"f": b"mine", **local}, {"n": b"n"})
    before = normal(write(disk / "etc", {"f": b"old"}))

    with pytest.raises(NoSpaceError):
        build_in(disk, sides)
    assert sorted(os.listdir(disk)) == ["etc", "lost+found"]
    assert normal(disk / "etc") == before
    for path in (tmp_path / "current/large", *(tmp_path / "current").glob("many/*")):
        path.unlink(missing_ok=True)
    assert (build_in(disk, sides) / "f").read_bytes() == b"mine"


def test_a_filesystem_without_extended_attributes_is_a_typed_error(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {"f": b"f"}, {})
    os.setxattr(tmp_path / "current/f", "user.x", b"1")
    (tmp_path / "bare").mkdir()
    with mount("-t", "ramfs", "none", tmp_path / "bare"), pytest.raises(FileSystemError) as caught:
        build_in(tmp_path / "bare", sides)

    assert caught.value.problem == "cannot hold the extended attribute user.x"
    assert caught.value.hint == "use a filesystem with extended attributes"


def test_an_overlay_is_read_through_its_mount(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {"f": b"f", "gone": b"g", "d": {"x": b"x"}}, {}, {"f": b"f", "gone": b"g", "n": b"n"})
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/old,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    current = tmp_path / "current"
    with mount("-t", "overlay", "overlay", "-o", options, current):
        (current / "gone").unlink()
        (current / "f").write_text("mine")
        assert plan(*sides.paths).findings == ()
        merged = sides.merged()

    assert merged == normal(write(tmp_path / "expected", {"f": b"mine", "n": b"n"}))


def test_a_device_in_the_place_of_a_file_is_not_opened(tmp_path: Path) -> None:
    """A FIFO would hang for ever, and a tape rewind."""
    sides = Sides.of(tmp_path, {"f": b"f", "g": b"g"}, {}, {"f": b"f", "g": b"g"})
    for side, path in (("current", "f"), ("current", "g"), ("current", "new")):
        os.mkfifo(tmp_path / side / path)
    (tmp_path / "new/f").unlink()
    os.mkfifo(tmp_path / "new/f")
    expected = normal(tmp_path / "current")

    apply(plan(*sides.paths), *sides.paths[1:])
    assert normal(tmp_path / "new") == expected
