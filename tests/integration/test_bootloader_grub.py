"""GRUB by its own tools: images from grub-mkimage, scripts checked and menus converted by GRUB's programs."""

import re
import struct
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve

from bootc import blockdev
from bootc.bootloaders import grub_bios, grub_config, grub_image, grub_menu
from bootc.bootloaders.grub import Grub
from bootc.durable import DirectoryVolume
from bootc.errors import BootloaderError, UnsupportedPairError
from bootc.esp import MtoolsVolume
from bootc.machine import Filesystem, Firmware, Machine
from bootc.platform import BIOS_BOOT_TYPE, ESP_TYPE
from bootc.storage import MenuFormat
from tests.boot_parts import MIB, DirectoryTree, fat_volume

HOST = DirectoryTree(Path("/"))
"""an image tree with grub-mkimage and its modules: this very system"""
BOTH = frozenset({Firmware.UEFI, Firmware.BIOS})


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A GPT disk in a file: BIOS boot partition, and an ESP with a FAT filesystem."""
    path = tmp_path / "disk.img"
    fat_volume(path, 40 * MIB)
    script = f"label: gpt\nstart=1MiB, size=40MiB, type={ESP_TYPE}\nsize=1MiB, type={BIOS_BOOT_TYPE}\n"
    with path.open("r+b") as file:
        file.truncate(44 * MIB)
    subprocess.run(("sfdisk", "-q", str(path)), input=script.encode(), check=True)
    return path


@pytest.fixture
def machine(tmp_path: Path, disk: Path) -> Machine:
    root = tmp_path / "sysroot"
    (root / "boot").mkdir(parents=True)
    filesystem = Filesystem("ext4", "0b75e037-2166-45a3-8360-de0fa795b40d")
    esp = MtoolsVolume(disk, MIB)
    return Machine(DirectoryVolume(root), PurePosixPath("s"), esp=esp, filesystem=filesystem, disk=disk, firmware=BOTH)


def syslinux_to_grub(path: Path) -> str:
    """What GRUB makes of a syslinux.cfg."""
    return subprocess.run(
        ("grub-syslinux2cfg", "-s", "-r", "/", str(path)), check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("format", MenuFormat)
@pytest.mark.parametrize("loader", ["/boot/loader", "/loader"])
def test_grub_accepts_our_configuration(format: MenuFormat, loader: str, tmp_path: Path) -> None:
    config = grub_config.render(format, "0b75e037-2166-45a3-8360-de0fa795b40d", PurePosixPath(loader), 3)
    (tmp_path / "grub.cfg").write_bytes(config)
    subprocess.run(("grub-script-check", str(tmp_path / "grub.cfg")), check=True)
    assert grub_config.format_of(config) is format


@pytest.mark.parametrize("config", [b"", b"set timeout=3\n", b"# menu: other\n", bytes(range(256))])
def test_configurations_of_others_have_no_format(config: bytes) -> None:
    assert grub_config.format_of(config) is None


LABELS = (
    "LABEL Debian 13 (ostree:0)\n\tKERNEL /boot/ostree/b/vmlinuz-6\n\tINITRD /boot/ostree/b/initramfs-6.img\n"
    '\tAPPEND root=UUID=x rw a="b c" ostree=/ostree/boot.1/x/b/0\n'
    "LABEL Debian 13 (ostree:1)\n\tKERNEL /boot/ostree/a/vmlinuz-6\n\tINITRD /boot/ostree/a/initramfs-6.img\n"
    "\tAPPEND root=UUID=x ostree=/ostree/boot.1/x/a/0\n"
)
SYSLINUX = {
    "default first": f"DEFAULT Debian 13 (ostree:0)\n\n{LABELS}",
    "default second": f"DEFAULT Debian 13 (ostree:1)\n{LABELS}",
    "default in other case": f"default DEBIAN 13 (OSTREE:1)\n{LABELS}",
    "menu": f"TIMEOUT 30\nDEFAULT Debian 13 (ostree:0)\n{LABELS}",
    "no default": LABELS,
    "comments": f"# DEFAULT x\n\n  # LABEL y\nTIMEOUT 1\n{LABELS}",
    "indented otherwise": LABELS.replace("\t", "    "),
    "lower case": LABELS.replace("KERNEL", "kernel").replace("APPEND", "append").replace("INITRD", "initrd"),
    "linux instead of kernel": LABELS.replace("KERNEL", "LINUX"),
    "two images": LABELS.replace("b/initramfs-6.img", "b/initramfs-6.img,/boot/extra.img"),
}


@pytest.mark.parametrize("text", SYSLINUX.values(), ids=SYSLINUX.keys())
def test_a_syslinux_configuration_is_read_as_grub_reads_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "syslinux.cfg"
    path.write_text(text)
    found = grub_menu.read_syslinux(text.encode())
    script = syslinux_to_grub(path)
    kernels = re.findall(r"^  linux\S* '/'/'(\S+)' (.*)$", script, re.MULTILINE)
    images = [tuple(re.findall(r"'/'/'(\S+)'", line)) for line in re.findall(r"^  initrd.*$", script, re.MULTILINE)]
    assert [(keys.linux, keys.options) for keys in found][: len(kernels)] == kernels
    assert [keys.initrd for keys in found][: len(images)] == images


def test_a_direct_start_leaves_no_timeout_and_a_menu_does(tmp_path: Path) -> None:
    """What our grub.cfg tells them apart by."""
    path = tmp_path / "syslinux.cfg"
    for name, has_timeout in (("default first", False), ("menu", True), ("no default", True)):
        path.write_text(SYSLINUX[name])
        assert ("set timeout=" in syslinux_to_grub(path)) is has_timeout


@pytest.mark.root
def test_install_puts_grub_and_its_configuration_in_place(machine: Machine) -> None:
    grub = Grub(machine)
    grub.check(HOST)
    assert grub.menu_format is grub_image.menu_format(HOST, "x86_64-efi")
    grub.install(HOST)
    assert machine.esp is not None
    image = machine.esp.read(PurePosixPath("EFI/BOOT/BOOTX64.EFI"))
    assert image[:2] == b"MZ"
    assert b"/EFI/bootc" in image
    config = machine.esp.read(PurePosixPath("EFI/bootc/grub.cfg"))
    assert b"search --no-floppy --set=root --fs-uuid 0b75e037-2166-45a3-8360-de0fa795b40d\n" in config
    assert Grub(machine).menu_format is grub.menu_format


@pytest.mark.root
def test_installing_again_changes_nothing(machine: Machine) -> None:
    Grub(machine).install(HOST)
    assert machine.disk is not None
    before = machine.disk.read_bytes(), machine.disk.stat().st_mtime_ns
    Grub(machine).install(HOST)
    assert (machine.disk.read_bytes(), machine.disk.stat().st_mtime_ns) == before


@pytest.mark.root
def test_bios_starts_a_core_that_looks_on_the_esp(machine: Machine, disk: Path) -> None:
    table = blockdev.read_table(disk)
    Grub(machine).install(HOST)
    content = disk.read_bytes()
    start = 41 * MIB
    assert blockdev.read_table(disk) == table
    assert content[:440] != bytes(440)
    assert struct.unpack_from("<Q", content, 0x5C) == (start // 512,)
    core = grub_image.make(HOST, grub_image.BIOS_TARGET, "(,gpt1)/EFI/bootc")
    lba, sectors, segment = struct.unpack_from("<QHH", content, start + 500)
    assert (lba, sectors, segment) == (start // 512 + 1, -(-len(core) // 512) - 1, 0x820)
    assert content[start + 512 : start + len(core)] == core[512:]


def test_a_core_that_does_not_fit_is_refused(disk: Path) -> None:
    table = blockdev.read_table(disk)
    assert table is not None
    before = disk.read_bytes()
    with pytest.raises(BootloaderError, match="does not fit in the BIOS boot partition"):
        grub_bios.embed(table, bytes(512), bytes(MIB + 1))
    assert disk.read_bytes() == before


def test_a_disk_without_bios_boot_partition_is_refused(tmp_path: Path, machine: Machine) -> None:
    path = tmp_path / "other.img"
    path.write_bytes(bytes(4 * MIB))
    subprocess.run(("sfdisk", "-q", str(path)), input=b"label: gpt\nsize=1MiB\n", check=True)
    with pytest.raises(BootloaderError, match="has no BIOS boot partition"):
        Grub(evolve(machine, disk=path)).check(HOST)


@pytest.mark.parametrize(
    ("filesystem", "problem"),
    [(Filesystem("vfat", "1"), "cannot read a /boot on vfat"), (None, "not known which filesystem")],
    ids=["vfat", "unknown"],
)
def test_filesystems_that_grub_does_not_read_are_refused(
    machine: Machine, filesystem: Filesystem | None, problem: str
) -> None:
    with pytest.raises(UnsupportedPairError, match=problem):
        Grub(evolve(machine, filesystem=filesystem)).check(HOST)


@pytest.mark.root
def test_a_btrfs_subvolume_is_refused(machine: Machine, tmp_path: Path) -> None:
    image, root = tmp_path / "btrfs.img", tmp_path / "subvolume"
    with image.open("wb") as file:
        file.truncate(256 * MIB)
    root.mkdir()
    subprocess.run(("mkfs.btrfs", "-q", str(image)), check=True)
    subprocess.run(("mount", "-o", "loop", str(image), str(root)), check=True)
    subprocess.run(("btrfs", "subvolume", "create", str(root / "@")), check=True, capture_output=True)
    subprocess.run(("umount", str(root)), check=True)
    subprocess.run(("mount", "-o", "loop,subvol=@", str(image), str(root)), check=True)
    try:
        with pytest.raises(UnsupportedPairError, match="on a btrfs subvolume"):
            Grub(evolve(machine, sysroot=DirectoryVolume(root), filesystem=Filesystem("btrfs", "1"))).check(HOST)
    finally:
        subprocess.run(("umount", str(root)), check=True)


def test_an_image_without_grub_is_refused(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(BootloaderError, match=r"the image has no usr/lib/grub/.*/moddep.lst") as caught:
        Grub(machine).check(DirectoryTree(tmp_path))
    assert caught.value.hint is not None


def test_an_image_whose_grub_lacks_modules_is_refused(machine: Machine, tmp_path: Path) -> None:
    for target in ("x86_64-efi", "i386-pc"):
        folder = tmp_path / "tree/usr/lib/grub" / target
        folder.mkdir(parents=True)
        (folder / "moddep.lst").write_text("syslinuxcfg: extcmd\nnormal:\n")
    with pytest.raises(BootloaderError, match="lacks modules: part_gpt"):
        Grub(machine).check(DirectoryTree(tmp_path / "tree"))


@pytest.mark.root
def test_an_image_without_grub_for_bios_starts_by_uefi_only(machine: Machine, tmp_path: Path) -> None:
    class UefiTree(DirectoryTree):
        def names(self, path: PurePosixPath) -> tuple[str, ...]:
            return () if path.name == grub_image.BIOS_TARGET else super().names(path)

    Grub(machine).install(UefiTree(Path("/")))
    assert machine.esp is not None
    assert machine.disk is not None
    assert machine.esp.size(PurePosixPath("EFI/BOOT/BOOTX64.EFI")) is not None
    assert machine.disk.read_bytes()[:440] == bytes(440)


def test_grub_since_2_14_reads_entries(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/grub/x86_64-efi"
    folder.mkdir(parents=True)
    (folder / "moddep.lst").write_text("blsuki: normal\nsyslinuxcfg: extcmd\n")
    assert grub_image.menu_format(DirectoryTree(tmp_path), "x86_64-efi") is MenuFormat.BLS
