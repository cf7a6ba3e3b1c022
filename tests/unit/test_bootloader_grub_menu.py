"""What GRUB will read at power-on, and the comparison with the menu."""

import os
from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve, frozen

from bootc.bootloaders import grub_menu
from bootc.bootloaders.bls import Keys
from bootc.bootloaders.grub import Grub
from bootc.deployment import BootEntry, BootMenu, DeploymentId, KernelArguments
from bootc.durable import DirectoryVolume
from bootc.errors import BootloaderError, UnsupportedPairError
from bootc.machine import Filesystem, Machine
from bootc.storage import MenuFormat

FORMATS = pytest.mark.parametrize("format", MenuFormat)
DIRECTORY = PurePosixPath("boot/loader/entries")


@frozen
class Sysroot:
    """A sysroot as libostree leaves it, with bootprefix: /boot/loader is a link, so are the deployments' boot links."""

    root: Path
    format: MenuFormat

    @classmethod
    def make(cls, root: Path, format: MenuFormat) -> "Sysroot":
        (root / "boot").mkdir()
        (root / "boot/boot").symlink_to(".")
        return cls(root, format)

    def deploy(self, *names: str, version: int = 1) -> None:
        """Make these the deployments, the default first, as bootversion `version`."""
        loader = self.root / f"boot/loader.{version}"
        (loader / "entries").mkdir(parents=True)
        blocks = ["DEFAULT OS (ostree:0)\n"] if names else [""]
        for index, name in enumerate(names):
            keys = self.keys(name, version)
            self._make_files(name, version)
            text = f"title OS (ostree:{index})\nversion {len(names) - index}\noptions {keys.options}\n"
            text += f"linux {keys.linux}\ninitrd {keys.initrd[0]}\n"
            (loader / f"entries/ostree-{len(names) - index}.conf").write_text(text)
            blocks.append(f"LABEL OS (ostree:{index})\n\tKERNEL {keys.linux}\n")
            blocks.append(f"\tINITRD {keys.initrd[0]}\n\tAPPEND {keys.options}\n")
        if self.format is MenuFormat.SYSLINUX:
            (loader / "syslinux.cfg").write_text("".join(blocks))
        os.symlink(loader.name, self.root / "boot/loader.tmp")
        os.rename(self.root / "boot/loader.tmp", self.root / "boot/loader")

    def keys(self, name: str, version: int = 1) -> Keys:
        """An entry as libostree writes it."""
        folder = f"/boot/ostree/default-{name[0]}"
        options = f"root=UUID=1 rw ostree=/ostree/boot.{version}/default/{name}/0"
        return Keys("", "", f"{folder}/vmlinuz-6", (f"{folder}/initramfs-6.img",), options)

    def entry(self, name: str, *options: str) -> BootEntry:
        """The same entry as the backend describes it: by a link of its own that survives the swap."""
        stable = self.root / f"ostree/boot-0/default/{name}"
        stable.parent.mkdir(parents=True, exist_ok=True)
        if not stable.is_symlink():
            stable.symlink_to(f"../../deploy/default/deploy/{name}.0")
        keys = self.keys(name)
        arguments = (*(options or ("root=UUID=1", "rw")), f"ostree=/ostree/boot-0/default/{name}")
        return BootEntry(
            DeploymentId(f"{name}.0"),
            "OS",
            "1",
            PurePosixPath(keys.linux.lstrip("/")),
            (PurePosixPath(keys.initrd[0].lstrip("/")),),
            KernelArguments(arguments),
        )

    def menu(self, *names: str) -> BootMenu:
        return BootMenu(tuple(map(self.entry, names)), directory=DIRECTORY)

    @property
    def grub(self) -> Grub:
        machine = Machine(DirectoryVolume(self.root), PurePosixPath("s"), filesystem=Filesystem("ext4", "1"))
        return Grub(machine)

    def _make_files(self, name: str, version: int) -> None:
        folder = self.root / f"boot/ostree/default-{name[0]}"
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("vmlinuz-6", "initramfs-6.img"):
            (folder / file).write_text(name[0])
        (self.root / f"ostree/deploy/default/deploy/{name}.0").mkdir(parents=True, exist_ok=True)
        link = self.root / f"ostree/boot.{version}/default/{name}/0"
        link.parent.mkdir(parents=True)
        link.symlink_to(f"../../../deploy/default/deploy/{name}.0")


@pytest.fixture(params=MenuFormat)
def sysroot(request: pytest.FixtureRequest, tmp_path: Path) -> Sysroot:
    return Sysroot.make(tmp_path, request.param)


def test_the_menu_that_the_backend_keeps_is_accepted_and_nothing_is_written(sysroot: Sysroot) -> None:
    sysroot.deploy("b1", "a1")
    before = sorted(sysroot.root.rglob("*"))
    sysroot.grub.write(sysroot.menu("b1", "a1"))
    assert [path for path in sorted(sysroot.root.rglob("*")) if "boot-0" not in str(path)] == before


def test_the_format_is_known_by_what_the_backend_keeps(sysroot: Sysroot) -> None:
    sysroot.deploy("a1")
    assert sysroot.grub.menu_format is sysroot.format


def test_reading_names_deployments_by_their_directories(sysroot: Sysroot) -> None:
    sysroot.deploy("b1", "a1")
    menu = sysroot.grub.read()
    assert [entry.deployment for entry in menu.entries] == ["b1.0", "a1.0"]
    assert menu.directory == DIRECTORY
    assert menu.entries[0].kernel == PurePosixPath("boot/ostree/default-b/vmlinuz-6")


def test_another_default_is_an_error(sysroot: Sysroot) -> None:
    sysroot.deploy("a1", "b1")
    with pytest.raises(BootloaderError, match="GRUB would start /boot/ostree/default-a/vmlinuz-6 by default, not"):
        sysroot.grub.write(sysroot.menu("b1", "a1"))


def test_what_the_next_step_destroys_may_still_be_first_in_the_directory(sysroot: Sysroot) -> None:
    """After a rollback was queued, an upgrade leaves it out of the menu before libostree drops it."""
    sysroot.deploy("b1", "a1")
    sysroot.grub.write(sysroot.menu("a1"))


def test_a_default_of_others_is_an_error(sysroot: Sysroot) -> None:
    sysroot.deploy("a1")
    entries = sysroot.root / "boot/loader/entries"
    (entries / "zz.conf").write_text("title other\nlinux /other\noptions quiet\n")
    config = sysroot.root / "boot/loader/syslinux.cfg"
    if config.exists():
        config.write_text("LABEL other\n\tKERNEL /other\n" + config.read_text().replace("DEFAULT", "# "))
    with pytest.raises(BootloaderError, match="GRUB would start /other by default"):
        sysroot.grub.write(sysroot.menu("a1"))


def test_another_deployment_with_the_same_kernel_is_an_error(sysroot: Sysroot) -> None:
    sysroot.deploy("b1", "b2")
    with pytest.raises(BootloaderError, match=r"would not boot b2\.0"):
        sysroot.grub.write(sysroot.menu("b2", "b1"))


def test_other_arguments_are_an_error(sysroot: Sysroot) -> None:
    sysroot.deploy("a1")
    menu = BootMenu((sysroot.entry("a1", "root=UUID=1", "rw", "quiet"),), directory=DIRECTORY)
    with pytest.raises(BootloaderError, match=r"would not boot a1\.0: its options are"):
        sysroot.grub.write(menu)


def test_a_link_that_leads_nowhere_is_an_error(sysroot: Sysroot) -> None:
    sysroot.deploy("a1")
    (sysroot.root / "ostree/boot.1/default/a1/0").unlink()
    with pytest.raises(BootloaderError, match=r"would not boot a1\.0"):
        sysroot.grub.write(sysroot.menu("a1"))


def test_an_empty_boot_directory_is_an_error(sysroot: Sysroot) -> None:
    sysroot.deploy("a1")
    sysroot.deploy(version=0)
    with pytest.raises(BootloaderError, match="GRUB would find no boot entry") as failure:
        sysroot.grub.write(sysroot.menu("a1"))
    assert "has the backend write its menu anew" in (failure.value.hint or "")


def test_a_missing_kernel_is_an_error(sysroot: Sysroot) -> None:
    sysroot.deploy("a1")
    (sysroot.root / "boot/ostree/default-a/vmlinuz-6").unlink()
    with pytest.raises(BootloaderError, match="GRUB would start"):
        sysroot.grub.write(sysroot.menu("a1"))


def test_a_menu_without_a_directory_is_refused(sysroot: Sysroot) -> None:
    with pytest.raises(UnsupportedPairError, match="does not work with a menu written by the bootloader"):
        sysroot.grub.write(BootMenu())


def test_a_prepared_entry_that_grub_would_misread_is_refused_when_staging(sysroot: Sysroot) -> None:
    sysroot.deploy("a1")
    menu = evolve(sysroot.menu("a1"), prepared=(sysroot.entry("b1", "memmap=4G$8G"),))
    with pytest.raises(BootloaderError, match=r"entry b1.0: GRUB would interpret '\$'"):
        sysroot.grub.write(menu)


# ---------------------------------------------------------------- what GRUB's script would not take to the letter

SPECIAL = {
    "variable": ("memmap=4G$8G", "$"),
    "quoted variable": ('a="x $y"', "$"),
    "escape": ("a=\\x", "\\"),
    "command": ("a=1;reboot", ";"),
    "pipe": ("a|b", "|"),
    "background": ("a&b", "&"),
    "brace": ("a={b}", "{"),
    "redirection": ("crashkernel=>1G", ">"),
    "single quote": ("a='b'", "'"),
    "comment": ("#a", "#"),
}


@FORMATS
@pytest.mark.parametrize(("argument", "char"), SPECIAL.values(), ids=SPECIAL.keys())
def test_arguments_with_a_meaning_in_grubs_script_are_refused(argument: str, char: str, format: MenuFormat) -> None:
    entry = BootEntry(DeploymentId("a"), "", "", PurePosixPath("v"), (), KernelArguments(("ro", argument)))
    with pytest.raises(BootloaderError) as caught:
        grub_menu.require_plain(entry, format)
    assert f"would interpret {char!r}" in caught.value.message


PLAIN = ('dyndbg="file a.c +p; x {y} | z"', "a#b", "crashkernel=1G-4G:192M,4G-:256M", "a=b=c", "rd.x=*?[a]", "a~!@%^()")


@FORMATS
@pytest.mark.parametrize("argument", PLAIN)
def test_other_arguments_are_accepted(argument: str, format: MenuFormat) -> None:
    entry = BootEntry(DeploymentId("a"), "", "", PurePosixPath("v"), (), KernelArguments((argument, "ro")))
    grub_menu.require_plain(entry, format)


@pytest.mark.parametrize("name", ["vmlinuz-6.12.0", "linux.img", "linux.BIN", "vmlinuz.com"])
def test_kernel_names_that_syslinux_takes_for_something_else_are_refused(name: str) -> None:
    entry = BootEntry(DeploymentId("a"), "", "", PurePosixPath("boot", name), (), KernelArguments(("ro",)))
    grub_menu.require_plain(entry, MenuFormat.BLS)
    with pytest.raises(BootloaderError, match="for no Linux kernel"):
        grub_menu.require_plain(entry, MenuFormat.SYSLINUX)


# ---------------------------------------------------------------- reading


def test_entries_come_in_the_order_of_blscfg(tmp_path: Path) -> None:
    for name in ("ostree-9.conf", "ostree-10.conf", "ostree-1-default.conf", "notes.txt", "ostree-2.conf.bak"):
        (tmp_path / name).write_text(f"title {name}\nlinux /x\n")
    (tmp_path / "ostree-11.conf").write_text("title no kernel\n")
    assert [keys.title for keys in grub_menu.read_entries(tmp_path)] == [
        "ostree-10.conf",
        "ostree-9.conf",
        "ostree-1-default.conf",
    ]
