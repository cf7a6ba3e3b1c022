"""GRUB's environment block, and what of it the bootloader writes, reads and forgets. GRUB itself runs in VM tests."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from bootc.bootloader import Count
from bootc.bootloaders import grub_block, grub_config
from bootc.bootloaders.grub import Grub
from bootc.bootloaders.grub_block import Block
from bootc.deployment import BootEntry, BootMenu, DeploymentId, KernelArguments
from bootc.durable import DirectoryVolume
from bootc.errors import BootloaderError
from bootc.machine import Filesystem, Machine
from bootc.storage import MenuFormat

B = DeploymentId("b.0-1f")
BLOCK = Block("0123456789abcdef", B, tries=3, left=2)
TEXT = (
    "# GRUB Environment Block\nbootc_key=0123456789abcdef\nbootc_good=\nbootc_left=2\nbootc_tries=3\nbootc_last=\n"
    "bootc_deployment=b.0-1f\n"
)


def test_the_block_is_one_that_grub_s_own_program_reads(tmp_path: Path) -> None:
    path = tmp_path / "block"
    path.write_bytes(BLOCK.render())
    assert BLOCK.render() == TEXT.encode() + b"#" * (1024 - len(TEXT))
    listed = subprocess.run(("grub-editenv", str(path), "list"), check=True, capture_output=True, text=True).stdout
    assert listed.splitlines() == TEXT.splitlines()[1:]


def test_what_grub_saves_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "block"
    path.write_bytes(BLOCK.render())
    subprocess.run(("grub-editenv", str(path), "set", "bootc_left=1", "bootc_last=this"), check=True)
    found = Block.parse(path.read_bytes())
    assert found == evolve(BLOCK, left=1, was_last=True)
    subprocess.run(("grub-editenv", str(path), "set", "bootc_last=other"), check=True)
    assert Block.parse(path.read_bytes()) == evolve(BLOCK, left=1)


def test_what_was_chosen_last_and_does_not_run_could_not_be_started() -> None:
    assert evolve(BLOCK, was_last=True).count == Count(2, 1, "GRUB could not start its kernel")
    assert evolve(BLOCK, was_last=True, left=0).count == Count(0, 3)
    assert BLOCK.count == Count(2, 1)


@given(st.binary() | st.text().map(str.encode) | st.sampled_from(TEXT.splitlines()).map(lambda line: line.encode()))
def test_no_file_is_taken_for_a_block_by_mistake(data: bytes) -> None:
    assert Block.parse(data) is None


def test_a_name_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        evolve(BLOCK, deployment=DeploymentId("x" * 1024)).render()


@pytest.mark.parametrize("format", MenuFormat)
def test_grub_accepts_the_script_that_counts(format: MenuFormat, tmp_path: Path) -> None:
    path, uuid = tmp_path / "grub.cfg", "0b75e037-2166-45a3-8360-de0fa795b40d"
    config = grub_config.render(format, uuid, PurePosixPath("/boot/loader"), 3, is_counting=True)
    path.write_bytes(config)
    subprocess.run(("grub-script-check", str(path)), check=True)
    assert (grub_config.is_counting(config), grub_config.format_of(config)) == (True, format)
    for left in range(grub_block.MOST, 0, -1):
        assert f'[ "$bootc_left" = {left} ]; then set bootc_left={left - 1}\n' in config.decode()


# ---------------------------------------------------------------- the bootloader


class Lab:
    """A sysroot with a menu, and an ESP with the grub.cfg that counts."""

    def __init__(self, root: Path, *, is_counting: bool = True) -> None:
        self.root = root / "sysroot"
        (self.root / "boot/loader/entries").mkdir(parents=True)
        for file in ("vmlinuz", "initramfs"):
            (self.root / "boot" / file).write_text(file)
        (root / "esp/EFI/bootc").mkdir(parents=True)
        self.esp = DirectoryVolume(root / "esp", "esp")
        config = grub_config.render(MenuFormat.BLS, "1", PurePosixPath("/boot/loader"), 3, is_counting=is_counting)
        self.esp.replace(grub_config.PATH, config)
        machine = Machine(
            DirectoryVolume(self.root), PurePosixPath("s"), filesystem=Filesystem("ext4", "1"), esp=self.esp
        )
        self.grub = Grub(machine)

    def entry(self, name: str, key: str | None = None) -> BootEntry:
        (self.root / "deploy" / name).mkdir(parents=True, exist_ok=True)
        arguments = (f"{grub_block.KEY}={key}",) if key else ()
        options = KernelArguments(("rw", *arguments, f"ostree=/deploy/{name}"))
        files = PurePosixPath("boot/vmlinuz"), (PurePosixPath("boot/initramfs"),)
        return BootEntry(DeploymentId(name), name, "1", *files, options)

    def switch(self, *entries: BootEntry) -> BootMenu:
        """What the backend does: from now on its directory has these entries."""
        for path in (self.root / "boot/loader/entries").iterdir():
            path.unlink()
        for rank, entry in enumerate(reversed(entries), 1):
            text = f"title {entry.title}\nlinux /boot/vmlinuz\ninitrd /boot/initramfs\noptions {entry.options}\n"
            (self.root / f"boot/loader/entries/x-{rank}.conf").write_text(text)
        return self.menu(*entries)

    def menu(self, *entries: BootEntry, prepared: tuple[BootEntry, ...] = ()) -> BootMenu:
        return BootMenu(entries, prepared, PurePosixPath("boot/loader/entries"))

    def block(self) -> Block | None:
        data = self.esp.read_optional(grub_config.BLOCK)
        return Block.parse(data) if data else None


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_the_block_is_there_before_the_switch_and_stays_after_it(lab: Lab) -> None:
    a, b = lab.entry("a"), lab.entry("b", "k1")
    lab.grub.write(lab.switch(a))
    assert lab.block() is None
    lab.grub.write(lab.menu(a, prepared=(b,)))
    assert lab.block() is None
    lab.grub.write(lab.menu(a, prepared=(b,)), 3)
    assert lab.block() == Block("k1", b.deployment, 3, 3)
    assert [entry.tries_left for entry in lab.grub.read().entries] == [None]
    lab.grub.write(lab.switch(b, a), 3)
    assert lab.block() == Block("k1", b.deployment, 3, 3)
    assert [(entry.title, entry.tries_left) for entry in lab.grub.read().entries] == [("b", 3), ("a", None)]


def test_a_counter_goes_with_its_entry_and_is_never_given_back(lab: Lab) -> None:
    a, b = lab.entry("a"), lab.entry("b", "k1")
    lab.switch(b, a)
    lab.esp.replace(grub_config.BLOCK, Block("k1", b.deployment, 3, 1).render())
    for order in ((b, a), (a, b), (b, a)):
        lab.grub.write(lab.switch(*order), 3)
        assert lab.block() == Block("k1", b.deployment, 3, 1)
    lab.grub.write(lab.switch(a))
    assert lab.block() is None


def test_an_entry_without_tries_left_is_not_what_starts(lab: Lab) -> None:
    a, b = lab.entry("a"), lab.entry("b", "k1")
    lab.switch(b, a)
    lab.esp.replace(grub_config.BLOCK, Block("k1", b.deployment, 3, 0).render())
    assert [(entry.title, entry.tries_left) for entry in lab.grub.read().entries] == [("a", None), ("b", 0)]
    assert lab.grub.count(b.deployment) == Count(0, 3)


def test_what_is_good_is_counted_no_more(lab: Lab) -> None:
    a, b = lab.entry("a"), lab.entry("b", "k1")
    lab.grub.write(lab.switch(b, a), 3)
    lab.grub.mark_good(b.deployment)
    lab.grub.mark_good(b.deployment)
    lab.grub.write(lab.menu(b, a), 3)
    assert lab.grub.count(b.deployment) is None
    assert b"bootc_key=\n" in lab.esp.read(grub_config.BLOCK)
    with pytest.raises(BootloaderError, match="not counted"):
        lab.grub.mark_good(a.deployment)


def test_a_grub_that_was_installed_without_counting_counts_nothing_and_says_so(tmp_path: Path) -> None:
    lab = Lab(tmp_path, is_counting=False)
    assert lab.grub.uncounted() == "the GRUB that is installed was set up without it"
    lab.grub.write(lab.switch(lab.entry("b", "k1"), lab.entry("a")), 3)
    assert lab.block() is None


def test_marks_are_kernel_arguments_that_never_come_twice(lab: Lab) -> None:
    marks = {lab.grub.new_mark() for _ in range(100)}
    assert len(marks) == 100
    assert all(KernelArguments((mark,)).value(grub_block.KEY) for mark in marks)
