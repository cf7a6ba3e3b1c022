"""The volume over mtools, on real FAT32 filesystems."""

from pathlib import Path, PurePosixPath

import pytest

from bootc.durable import Step
from bootc.errors import FileSystemError, NoSpaceError
from bootc.esp import MountedFatVolume, MtoolsVolume
from tests.boot_parts import MIB, cut_while_removing, fat_volume

FILE = PurePosixPath("EFI/BOOT/BOOTX64.EFI")


@pytest.fixture
def steps() -> list[Step]:
    return []


@pytest.fixture
def volume(tmp_path: Path, steps: list[Step]) -> MtoolsVolume:
    return fat_volume(tmp_path / "esp.img", 36 * MIB, steps.append)


def test_a_new_filesystem_is_empty(volume: MtoolsVolume) -> None:
    assert volume.names(PurePosixPath()) == ()
    assert volume.is_directory(PurePosixPath())
    assert 30 * MIB < volume.free() < 36 * MIB


def test_files_read_back(volume: MtoolsVolume) -> None:
    volume.make_directories(FILE.parent)
    volume.replace(FILE, bytes(range(256)) * 5000)
    assert volume.read(FILE) == bytes(range(256)) * 5000
    with volume.open(FILE) as file:
        assert file.read(3) == b"\0\1\2"
    assert volume.size(FILE) == 1_280_000
    assert volume.exists(FILE)
    assert not volume.is_directory(FILE)


def test_chunks_are_joined(volume: MtoolsVolume) -> None:
    volume.replace(PurePosixPath("a.conf"), iter([b"one ", b"two"]))
    assert volume.read(PurePosixPath("a.conf")) == b"one two"


def test_replacing_leaves_nothing_of_the_old_file(volume: MtoolsVolume) -> None:
    for data in (b"long" * 1000, b"", b"short"):
        volume.replace(PurePosixPath("loader.conf"), data)
        assert volume.read(PurePosixPath("loader.conf")) == data
    assert volume.names(PurePosixPath()) == ("loader.conf",)


def test_names_compare_without_case(volume: MtoolsVolume) -> None:
    volume.make_directories(PurePosixPath("EFI"))
    volume.make_directories(PurePosixPath("efi/boot"))
    volume.replace(PurePosixPath("efi/BOOT/bootx64.efi"), b"MZ")
    assert volume.read(FILE) == b"MZ"
    assert volume.names(PurePosixPath()) == ("EFI",)


LONG = {
    "with a counter": "bootc-0123456789abcdef0123456789abcdef-12+3-1.conf",
    "13 characters": "a" * 13,
    "14 characters": "a" * 14,
    "200 characters": "a" * 195 + ".conf",
    "hidden": ".bootc-tmp-0123456789ab",
    "several dots": "vmlinuz-6.12.0+deb13.amd64",
    "spaces": "a b c.conf",
    "one letter": "a",
}


@pytest.mark.parametrize("name", LONG.values(), ids=LONG.keys())
def test_long_names_are_kept(volume: MtoolsVolume, name: str) -> None:
    volume.replace(PurePosixPath(name), b"x")
    volume.replace(PurePosixPath(name), b"y")
    assert volume.read(PurePosixPath(name)) == b"y"
    assert [found.casefold() for found in volume.names(PurePosixPath())] == [name]


@pytest.mark.parametrize("name", ["a*", "a?b", "[ab]", 'a"', "a:b", "a\\b", "a\nb", "ümlaut", "a" * 201, "dot.", "sp "])
def test_names_that_fat_or_mtools_would_not_take_to_the_letter_are_refused(volume: MtoolsVolume, name: str) -> None:
    with pytest.raises(FileSystemError, match="not a file name for an EFI system partition"):
        volume.replace(PurePosixPath(name), b"x")


def test_nothing_leads_out_of_the_volume(volume: MtoolsVolume) -> None:
    with pytest.raises(FileSystemError, match="not a file name"):
        volume.replace(PurePosixPath("EFI/../../x"), b"x")


def test_renaming_replaces_files_and_moves_directories(volume: MtoolsVolume) -> None:
    volume.make_directories(PurePosixPath("a/deep"))
    volume.replace(PurePosixPath("a/deep/old"), b"new content")
    volume.replace(PurePosixPath("a/deep/target.conf"), b"old content")
    volume.rename(PurePosixPath("a/deep/old"), PurePosixPath("a/deep/target.conf"))
    volume.make_directories(PurePosixPath("b"))
    volume.rename(PurePosixPath("a/deep"), PurePosixPath("b/moved"))
    assert volume.names(PurePosixPath("a")) == ()
    assert volume.read(PurePosixPath("b/moved/target.conf")) == b"new content"


@pytest.mark.parametrize(("old", "new"), [(1, 60), (60, 1), (13, 14), (14, 13), (25, 27), (100, 150)])
def test_renaming_to_longer_and_shorter_names(volume: MtoolsVolume, old: int, new: int) -> None:
    """mren of mtools 4.0.32 fails an assertion when the new name takes more directory entries and files surround it."""
    for neighbour in ("before-with-a-long-name.conf", "a" * old, "behind-with-a-long-name.conf"):
        volume.replace(PurePosixPath(neighbour), neighbour.encode())
    volume.rename(PurePosixPath("a" * old), PurePosixPath("b" * new))
    assert volume.read(PurePosixPath("b" * new)) == b"a" * old
    assert len(volume.names(PurePosixPath())) == 3


def test_removing_takes_whole_directories_and_what_is_absent(volume: MtoolsVolume) -> None:
    volume.make_directories(PurePosixPath("bootc/abc/deep"))
    volume.replace(PurePosixPath("bootc/abc/linux"), b"x")
    volume.remove(PurePosixPath("bootc"))
    volume.remove(PurePosixPath("bootc"))
    assert volume.names(PurePosixPath()) == ()


def test_what_is_absent_reads_as_absent(volume: MtoolsVolume) -> None:
    absent = PurePosixPath("no/such/file")
    assert volume.names(absent) == ()
    assert volume.size(absent) is None
    assert volume.read_optional(absent) is None
    with pytest.raises(FileNotFoundError):
        volume.read(absent)


def test_a_full_disk_leaves_the_old_file_and_no_leftovers(volume: MtoolsVolume) -> None:
    volume.replace(PurePosixPath("linux.img"), b"old")
    with pytest.raises(NoSpaceError):
        volume.replace(PurePosixPath("linux.img"), bytes(40 * MIB))
    assert volume.read(PurePosixPath("linux.img")) == b"old"
    assert volume.names(PurePosixPath()) == ("LINUX.IMG",)


def test_what_a_power_cut_left_of_a_removal_is_empty_and_can_be_replaced(volume: MtoolsVolume) -> None:
    name = PurePosixPath("counting")
    volume.replace(PurePosixPath("other"), b"stays")
    cut_while_removing(volume, name)
    assert volume.size(name) == 1024
    assert volume.read(name) == b""
    volume.replace(name, b"new")
    assert volume.read(name) == b"new"
    assert volume.read(PurePosixPath("other")) == b"stays"
    volume.remove(name)
    assert [found.lower() for found in volume.names(PurePosixPath())] == ["other"]


def test_what_is_no_filesystem_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(MIB))
    volume = MtoolsVolume(tmp_path / "zeros")
    for use in (lambda: volume.names(PurePosixPath()), volume.free, lambda: volume.replace(PurePosixPath("a"), b"")):
        with pytest.raises(FileSystemError, match="EFI system partition"):
            use()


def test_steps_are_announced_as_on_a_mounted_volume(volume: MtoolsVolume, steps: list[Step]) -> None:
    volume.make_directories(PurePosixPath("d"))
    volume.replace(PurePosixPath("d/f"), b"1")
    steps.clear()
    volume.replace(PurePosixPath("d/f"), b"2")
    temporary = steps[0].paths[0]
    assert temporary.startswith("d/.bootc-tmp-")
    assert [(step.name, step.paths, step.data) for step in steps] == [
        ("create", (temporary,), None),
        ("write", (temporary,), b"2"),
        ("fsync", (temporary,), None),
        ("unlink", ("d/f",), None),
        ("fsync", ("d",), None),
        ("rename", (temporary, "d/f"), None),
        ("fsync", ("d",), None),
    ]
    assert {step.volume for step in steps} == {"esp"}


def test_a_renamed_file_of_a_mounted_fat_is_written_itself(tmp_path: Path, steps: list[Step]) -> None:
    volume = MountedFatVolume(tmp_path, "esp", steps.append)
    volume.replace(PurePosixPath("counting"), b"block")
    assert (tmp_path / "counting").read_bytes() == b"block"
    assert [step.name for step in steps][-3:] == ["rename", "fsync", "fsync"]
    assert steps[-1].paths == ("counting",)
