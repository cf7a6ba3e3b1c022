"""Disks for real: image files and block devices, three filesystems, everything released in the end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from bootc import blockdev, disk, platform
from bootc.blockdev import EspLocation, Partition
from bootc.disk_target import FILESYSTEMS
from bootc.durable import DirectoryVolume
from bootc.errors import FileSystemError, TargetError
from bootc.esp import MtoolsVolume, open_esp
from bootc.esp.opening import is_dirty
from bootc.platform import BIOS_BOOT_TYPE, ESP_TYPE
from tests.boot_parts import cut_while_removing

MIB = 1 << 20
SIZE = 1640 * MIB
CHECKS = {
    "ext4": ("e2fsck", "-f", "-n"),
    "xfs": ("xfs_repair", "-n"),
    "btrfs": ("btrfs", "check", "--readonly"),
}

pytestmark = pytest.mark.root


def run(*argv: str | Path | int) -> str:
    return subprocess.run(list(map(str, argv)), check=True, capture_output=True, text=True).stdout.strip()


def find_esp(root: Path) -> EspLocation | None:
    return blockdev.find_esp(map(blockdev.read_table, blockdev.mount_of(root).disks))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An empty image file."""
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, SIZE)
    return path


@pytest.fixture
def device(image: Path) -> Iterator[Path]:
    """A block device of its own: a loop device over the whole image file."""
    name = run("losetup", "-f", "--show", image)
    yield Path(name)
    subprocess.run(["partx", "-d", name], capture_output=True, check=False)
    run("losetup", "-d", name)
    assert blockdev.partition_node(Path(name), 1) is None


def loops_of(image: Path) -> str:
    return run("losetup", "-n", "-O", "NAME", "-j", image)


@pytest.mark.parametrize("filesystem", FILESYSTEMS)
def test_an_image_file_becomes_a_disk_that_linux_and_grub_read(filesystem: str, image: Path, tmp_path: Path) -> None:
    root = tmp_path / "mounted"
    with disk.prepare(image, filesystem=filesystem, is_file=True, mount_at=root) as prepared:
        assert os.path.ismount(root)
        assert blockdev.mount_of(root).filesystem == prepared.filesystem
        assert prepared.filesystem.type == filesystem
        assert prepared.kernel_arguments.items == (f"root=UUID={prepared.filesystem.uuid}", "rw")
        assert blockdev.mount_of(root).disks == (image,)
        assert find_esp(root) == prepared.esp
        assert not blockdev.mount_of(root).is_mapped
        assert (root / "boot/efi").is_dir()
        (root / "boot/loader.1").mkdir()
        (root / "boot/loader").symlink_to("loader.1")
        (root / "boot/loader/menu.cfg").write_text("written at the very end\n")
    assert not os.path.ismount(root)
    assert loops_of(image) == ""
    check_root(image, filesystem, "written at the very end\n")


def check_root(image: Path, filesystem: str, menu: str) -> None:
    """The root partition is clean, and GRUB, which replays no journal, finds what was written last."""
    table = blockdev.read_table(image)
    assert table is not None
    part = table.partitions[-1]
    name = run("losetup", "-r", "-f", "--show", "-o", str(part.start), "--sizelimit", str(part.size), image)
    try:
        run(*CHECKS[filesystem], name)
        assert run("grub-fstest", name, "cat", "(loop0)/boot/loader/menu.cfg") + "\n" == menu
    finally:
        run("losetup", "-d", name)


def test_the_partition_table_is_the_documented_one(image: Path, tmp_path: Path) -> None:
    with disk.prepare(image, filesystem="ext4", is_file=True, mount_at=tmp_path / "m", root_size=1100 * MIB):
        pass
    table = blockdev.read_table(image)
    assert table is not None
    assert table.label == "gpt"
    assert table.partitions == (
        Partition(1, BIOS_BOOT_TYPE, MIB, MIB),
        Partition(2, ESP_TYPE, 2 * MIB, 512 * MIB),
        Partition(3, platform.current().root_type, 514 * MIB, 1100 * MIB),
    )


def test_the_esp_is_a_fat_filesystem_that_can_be_written(image: Path, tmp_path: Path) -> None:
    with disk.prepare(image, filesystem="ext4", is_file=True, mount_at=tmp_path / "m") as prepared:
        assert prepared.esp is not None
        assert prepared.esp.device == image
        with open_esp(prepared.esp, None) as esp:
            assert isinstance(esp, MtoolsVolume)
            assert esp.free() > 500 * MIB
            esp.make_directories(PurePosixPath("EFI/BOOT"))
            esp.replace(PurePosixPath("EFI/BOOT/BOOTX64.EFI"), b"MZ" * MIB)
        with open_esp(prepared.esp, tmp_path / "esp") as esp:
            assert esp.read(PurePosixPath("EFI/BOOT/BOOTX64.EFI")) == b"MZ" * MIB
    with image.open("rb") as file:
        file.seek(2 * MIB)
        (tmp_path / "esp.img").write_bytes(file.read(512 * MIB))
    run("fsck.vfat", "-n", tmp_path / "esp.img")


def test_every_disk_has_identities_of_its_own(tmp_path: Path) -> None:
    seen = set()
    for number in range(2):
        path = tmp_path / f"{number}.img"
        path.touch()
        os.truncate(path, SIZE)
        with disk.prepare(path, filesystem="ext4", is_file=True, mount_at=tmp_path / "m") as prepared:
            assert prepared.esp is not None
            seen |= {
                prepared.filesystem.uuid,
                prepared.esp.uuid,
                run("blkid", "-p", "-o", "value", "-s", "PTUUID", path),
            }
    assert len(seen) == 6


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_a_block_device_is_used_by_its_partition_nodes(filesystem: str, device: Path, tmp_path: Path) -> None:
    with disk.prepare(device, filesystem=filesystem, mount_at=tmp_path / "m") as prepared:
        node = blockdev.partition_node(device, 3)
        assert blockdev.mount_of(tmp_path / "m").source == str(node)
        assert blockdev.mount_of(tmp_path / "m").disks == (device,)
        assert prepared.esp is not None
        assert prepared.esp == EspLocation(Path(f"{device}p2"), 0, 512 * MIB, prepared.esp.uuid)
        assert find_esp(tmp_path / "m") == prepared.esp
    assert not os.path.ismount(tmp_path / "m")


def test_wiping_replaces_what_was_there(device: Path, tmp_path: Path) -> None:
    uuids = []
    for filesystem in ("btrfs", "ext4"):
        with disk.prepare(device, filesystem=filesystem, wipe=True, mount_at=tmp_path / "m") as prepared:
            uuids.append(prepared.filesystem.uuid)
            assert list((tmp_path / "m").iterdir()) != []
    assert blockdev.filesystem_uuid(Path(f"{device}p3")) == uuids[1] != uuids[0]


def test_a_failure_inside_releases_everything(image: Path, tmp_path: Path) -> None:
    class Failure(Exception):
        pass

    with pytest.raises(Failure), disk.prepare(image, filesystem="ext4", is_file=True, mount_at=tmp_path / "m"):
        raise Failure
    assert not os.path.ismount(tmp_path / "m")
    assert loops_of(image) == ""


def test_a_mount_point_that_cannot_be_made_releases_everything(image: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(FileSystemError, match="Not a directory"),
        disk.prepare(image, filesystem="ext4", is_file=True, mount_at=image / "m"),
    ):
        raise AssertionError
    assert loops_of(image) == ""


# ---------------------------------------------------------------- refused before anything is written


def refusal(
    target: Path, *, filesystem: str = "ext4", is_file: bool = True, root_size: int | None = None
) -> TargetError:
    with (
        pytest.raises(TargetError) as caught,
        disk.prepare(target, filesystem=filesystem, is_file=is_file, root_size=root_size, mount_at=Path("/nowhere")),
    ):
        raise AssertionError
    return caught.value


def state(path: Path) -> tuple[int, int]:
    """Changes with every write to a file."""
    found = path.stat()
    return found.st_mtime_ns, found.st_blocks


def test_kinds_of_target_are_told_apart(image: Path, device: Path, tmp_path: Path) -> None:
    assert refusal(image, is_file=False).problem == "Not a block device"
    assert refusal(device).problem == "Not a regular file (to be used via loopback)"
    assert refusal(tmp_path).problem == "Not a regular file (to be used via loopback)"
    assert refusal(Path("/dev/null"), is_file=False).problem == "Not a block device"
    assert refusal(tmp_path / "absent").problem == "No such file or directory"


def test_unknown_filesystems_are_refused(image: Path) -> None:
    assert refusal(image, filesystem="ntfs").problem == "unknown filesystem: ntfs"


def test_a_disk_that_is_too_small_says_how_much_is_needed(image: Path) -> None:
    os.truncate(image, 1000 * MIB)
    assert refusal(image).problem == "too small: it has 1000 MiB, 1539 MiB are needed"
    assert refusal(image, root_size=2048 * MIB).problem == "too small: it has 1000 MiB, 2563 MiB are needed"


def test_existing_partitions_are_kept(image: Path) -> None:
    subprocess.run(("sfdisk", "-q", str(image)), input=b"label: dos\nsize=10MiB\n", check=True)
    before = state(image)
    error = refusal(image)
    assert error.problem == "Detected existing partitions"
    assert error.hint == "use e.g. `wipefs` or --wipe if you intend to overwrite"
    assert state(image) == before


def test_an_existing_filesystem_is_kept(image: Path) -> None:
    run("mkfs.ext4", "-q", "-F", image)
    before = state(image)
    assert refusal(image).problem == "Detected an existing filesystem (ext4)"
    assert state(image) == before


def test_a_mounted_device_is_refused_even_with_wipe(device: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with disk.prepare(device, filesystem="ext4", mount_at=tmp_path / "prepared"):
        with (
            pytest.raises(TargetError, match=f"Device {device}p3 is mounted"),
            disk.prepare(device, filesystem="ext4", wipe=True, mount_at=tmp_path / "other"),
        ):
            raise AssertionError
        assert "is a partition" in refusal(Path(f"{device}p2"), is_file=False).problem


def test_an_image_file_in_use_is_refused(image: Path, device: Path) -> None:
    assert refusal(image).problem == f"in use by {device}"


def test_a_read_only_device_is_refused(image: Path) -> None:
    name = run("losetup", "-r", "-f", "--show", image)
    try:
        assert refusal(Path(name), is_file=False).problem == "the device is read-only"
    finally:
        run("losetup", "-d", name)


# ---------------------------------------------------------------- what lies below a directory


def test_places_without_a_disk_have_none(tmp_path: Path) -> None:
    run("mount", "-t", "tmpfs", "tmpfs", tmp_path)
    try:
        assert blockdev.mount_of(tmp_path).disks == ()
        assert find_esp(tmp_path) is None
        assert blockdev.mount_of(tmp_path).filesystem.type == "tmpfs"
    finally:
        run("umount", tmp_path)


def test_a_filesystem_without_a_partition_table_has_no_esp(image: Path, tmp_path: Path) -> None:
    run("mkfs.ext4", "-q", "-F", image)
    (tmp_path / "m").mkdir()
    run("mount", "-o", "loop", image, tmp_path / "m")
    try:
        assert find_esp(tmp_path / "m") is None
    finally:
        run("umount", tmp_path / "m")


def test_an_esp_that_is_mounted_is_used_where_it_is(tmp_path: Path) -> None:
    location = EspLocation(Path("/dev/none"), 0, 0, None, tmp_path)
    with open_esp(location) as esp:
        assert isinstance(esp, DirectoryVolume)
        assert esp.root == tmp_path


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("offset", [0, MIB])
def test_an_esp_that_was_not_unmounted_is_repaired(tmp_path: Path, bits: int, offset: int) -> None:
    """The clusters of a half removed file would be given to a new one, and be taken from it with the old name."""
    image, name, size = tmp_path / "esp", PurePosixPath("counting"), 40 * MIB
    with image.open("wb") as file:
        file.truncate(offset + size)
    run("mkfs.vfat", "-F", bits, "--offset", offset // 512, image, size // 1024)
    location, volume = EspLocation(image, offset, size, None), MtoolsVolume(image, offset)
    volume.replace(PurePosixPath("other"), b"stays")
    cut_while_removing(volume, name)
    with open_esp(location, None) as esp:
        assert esp.size(name) == 1024

    with image.open("r+b") as disk:
        disk.seek(offset + {16: 37, 32: 65}[bits])
        disk.write(b"\x01")
    with open_esp(location, None) as esp:
        assert esp.size(name) == 0
        esp.replace(PurePosixPath("new"), b"x" * 1024)
        esp.remove(name)
        assert esp.read(PurePosixPath("new")) == b"x" * 1024
        assert esp.read(PurePosixPath("other")) == b"stays"
    assert not loops_of(image)


def test_an_esp_that_somebody_else_has_mounted_is_not_repaired(tmp_path: Path) -> None:
    """A mount of another mount namespace is not seen, and holds the device as this does."""
    image, size = tmp_path / "esp", 40 * MIB
    run("mkfs.vfat", "-F", 32, "-C", image, size // 1024)
    with image.open("r+b") as disk:
        disk.seek(65)
        disk.write(b"\x01")
    with blockdev.loop_device(image, 0, size) as device:
        holder = os.open(device, os.O_RDONLY | os.O_EXCL)
        with open_esp(EspLocation(device, 0, size, None), None):
            assert is_dirty(device, 0)
        os.close(holder)
        with open_esp(EspLocation(device, 0, size, None), None):
            assert not is_dirty(device, 0)


def test_an_esp_that_is_mounted_read_only_is_writable_inside(tmp_path: Path) -> None:
    run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path)
    try:
        with open_esp(EspLocation(Path("/dev/none"), 0, 0, None, tmp_path)) as esp:
            esp.replace(PurePosixPath("x"), b"1")
        assert blockdev.mount_of(tmp_path).is_read_only
    finally:
        run("umount", tmp_path)


def test_a_mount_point_whose_name_is_no_text_is_found(tmp_path: Path) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    place.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", place)
    try:
        assert blockdev.mount_of(place).target == place
    finally:
        run("umount", place)
