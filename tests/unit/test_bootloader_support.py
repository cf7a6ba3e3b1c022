"""The table of what works together: the documentation shows it, the code obeys it, every bootloader is in it."""

from pathlib import Path

import pytest

from bootc.bootloaders import bootc_bootloaders, support
from bootc.bootloaders.none import NoBootloader
from bootc.bootloaders.support import Kind
from bootc.deployment import BootMenu
from bootc.errors import UnsupportedPairError
from bootc.machine import Filesystem, Firmware
from tests.boot_parts import DirectoryTree

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/bootloaders.md"
UEFI, BIOS = frozenset({Firmware.UEFI}), frozenset({Firmware.BIOS})


def test_the_documentation_shows_the_table_of_the_code() -> None:
    text = DOCUMENT.read_text()
    start = text.index("| bootloader |")
    assert text[start : text.index("<!-- end of table -->")] == support.render()


def test_every_bootloader_is_in_the_table() -> None:
    assert {row.bootloader for row in support.SUPPORTED} == {plugin.name for plugin in bootc_bootloaders()}


@pytest.mark.parametrize(
    "row", support.SUPPORTED, ids=lambda row: f"{row.bootloader}-{row.kind.name}-{row.firmware.name}"
)
def test_what_the_table_has_is_accepted(row: support.Combination) -> None:
    for type in row.filesystems or ("ext4", "zfs"):
        support.require(row.bootloader, {row.firmware}, Filesystem(type, "1"), row.kind)


REFUSED = {
    "GRUB without a directory": ("grub", UEFI, "ext4", Kind.OWN, "a menu written by the bootloader"),
    "systemd-boot on BIOS": ("systemd-boot", BIOS, "ext4", None, "does not start BIOS"),
    "GRUB on vfat": ("grub", UEFI, "vfat", None, "cannot read a /boot on vfat"),
    "no way of starting": ("grub", frozenset[Firmware](), "ext4", None, "without a boot partition"),
}


@pytest.mark.parametrize(("name", "firmware", "type", "kind", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_what_the_table_lacks_is_refused(
    name: str, firmware: frozenset[Firmware], type: str, kind: Kind | None, problem: str
) -> None:
    with pytest.raises(UnsupportedPairError) as caught:
        support.require(name, firmware, Filesystem(type, "1"), kind)
    assert problem in caught.value.message
    assert caught.value.hint == "docs/bootloaders.md has the table of what works together"


def test_none_writes_nothing_and_knows_nothing(tmp_path: Path) -> None:
    bootloader = NoBootloader()
    bootloader.check(DirectoryTree(tmp_path))
    bootloader.install(DirectoryTree(tmp_path))
    bootloader.write(BootMenu())
    assert bootloader.read() == BootMenu()
    assert list(tmp_path.iterdir()) == []
