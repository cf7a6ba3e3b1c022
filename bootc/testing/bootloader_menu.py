"""Clauses of installing a bootloader, and of reading and writing its menu."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve

from bootc.bootloader import Bootloader
from bootc.deployment import BootEntry, DeploymentId
from bootc.durable import Step
from bootc.errors import BootloaderError
from bootc.storage import Tree
from bootc.testing.bootloader_bench import Bench, HostTree, MenuKind, names
from bootc.testing.bootloader_fixtures import BootloaderFixtures, OpenBootloader
from bootc.testing.suite import clause
from bootc.testing.trees import read

_FOREIGN = {
    "EFI/Linux/other.efi": b"MZ other",
    "EFI/Microsoft/Boot/bootmgfw.efi": b"MZ",
    "EFI/debian/grub.cfg": b"search.fs_uuid 1 root\n",
    "loader/entries/other.conf": b"title Other\nsort-key other\nlinux /other\n",
    "loader/entries/0123456789abcdef-6.1.conf": b"title By kernel-install\nlinux /0123456789abcdef/6.1/linux\n",
    "0123456789abcdef/6.1/linux": b"MZ kernel",
    "bootc.txt": b"notes\n",
}
_ODD_ARGUMENTS = {
    "quoted": 'a="b c"',
    "equals": "root=PARTUUID=1-2=3",
    "unicode": "name=größe",
    "dollar": "a=$prefix",
    "backslash": "a=\\n",
    "hash": "#a",
    "semicolon": "a;reboot",
    "braces": "{a}",
    "single quote": "a='b",
    "open quote": 'a="b',
    "newline": "a\ninitrd /evil",
    "escape": "a\x1b[2J",
    "percent": "a=%%d",
}
_ODD_NAMES = {"path": "../../EFI/BOOT/x\n", "spaces": "a b/c", "long": "ü" * 80, "counter": "x.conf+3", "device": "con"}
_STORIES = {
    "upgrade": (["a"], ["b", "a"]),
    "upgrade that drops one": (["b", "a"], ["c", "b"]),
    "rollback": (["b", "a"], ["a", "b"]),
    "rollback and back": (["b", "a"], ["a", "b"], ["b", "a"]),
    "insert below": (["b", "a"], ["b", "c", "a"]),
    "drop the default": (["c", "b", "a"], ["b", "a"]),
    "everything new": (["b", "a"], ["d", "c"]),
}
_FAT_NAME = re.compile(r"[A-Za-z0-9 ._+,;=@#$%&'()~^!{}-]{1,200}")
"""what FAT takes; a dot or a space at the end it drops"""


class InstallClauses(BootloaderFixtures):
    """B1 to B3."""

    @clause("B1")
    def test_an_image_without_the_bootloader_is_refused(
        self, bootloader: Bootloader, bench: Bench, steps: list[Step], tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(BootloaderError):
            bootloader.check(HostTree(tmp_path / "empty"))
        assert not steps

    @clause("B1")
    def test_check_writes_nothing(self, bootloader: Bootloader, bench: Bench, steps: list[Step], tree: Tree) -> None:
        bootloader.check(tree)
        assert (bench.files(), steps) == ({}, [])

    @clause("B2")
    def test_installing_again_changes_nothing(
        self, bootloader: Bootloader, bench: Bench, steps: list[Step], tree: Tree
    ) -> None:
        bench.install(bootloader, tree)
        installed = bench.files()
        steps.clear()
        bootloader.install(tree)
        assert (bench.files(), steps) == (installed, [])

    @clause("B3")
    def test_installing_keeps_the_menu_and_files_of_others(
        self, bootloader: Bootloader, bench: Bench, tree: Tree
    ) -> None:
        bench.change(bootloader, bench.menu("b", "a"))
        _put_foreign(bench)
        before, offered = bench.files(), names(bootloader.read())
        bench.install(bootloader, tree)
        assert names(bootloader.read()) == offered
        after = bench.files()
        assert {path: after.get(path) for path in before} == before


class MenuClauses(BootloaderFixtures):
    """B4 to B13, and B25."""

    @clause("B4")
    def test_at_first_there_are_no_entries(self, bootloader: Bootloader, bench: Bench) -> None:
        assert bootloader.read().entries == ()

    @clause("B5")
    def test_what_was_written_is_read(
        self, bootloader: Bootloader, bench: Bench, open_bootloader: OpenBootloader
    ) -> None:
        menu = bench.of([bench.entry("b", "rw", "quiet"), bench.entry("a", 'x="y z"'), bench.entry("c", kernel="a")])
        bench.change(bootloader, menu)
        for reader in (bootloader, open_bootloader(bench.machine())):
            assert list(map(_told, reader.read().entries)) == list(map(_told, menu.entries))
            if bench.kind is MenuKind.OWN:
                assert reader.read().without_tries().entries == menu.entries

    @clause("B6")
    def test_the_same_menu_again_takes_no_step(
        self, bootloader: Bootloader, bench: Bench, open_bootloader: OpenBootloader
    ) -> None:
        menu = bench.menu("b", "a", prepared="c")
        bench.change(bootloader, menu)
        again: list[Step] = []
        open_bootloader(bench.machine(observer=again.append)).write(menu)
        assert again == []

    @clause("B7")
    @pytest.mark.parametrize("story", _STORIES.values(), ids=_STORIES.keys())
    def test_any_menu_follows_any_other(
        self, bootloader: Bootloader, bench: Bench, story: tuple[list[str], ...]
    ) -> None:
        for wanted in story:
            bench.change(bootloader, bench.menu(*wanted))
            assert names(bootloader.read()) == wanted

    @clause("B8")
    def test_an_empty_menu_offers_nothing(self, bootloader: Bootloader, bench: Bench) -> None:
        bench.change(bootloader, bench.menu("b", "a"))
        for wanted in ([], ["c"]):
            bench.change(bootloader, bench.menu(*wanted))
            assert names(bootloader.read()) == wanted

    @clause("B9")
    def test_a_directory_that_says_otherwise_is_not_followed_in_silence(
        self, bootloader: Bootloader, bench: Bench
    ) -> None:
        bench.change(bootloader, bench.menu("b", "a"))
        bench.turn(bench.menu("a", "b"))
        try:
            bootloader.write(bench.menu("b", "a"))
        except BootloaderError:
            return
        assert names(bootloader.read())[0] == "b"

    @clause("B10")
    @pytest.mark.parametrize("argument", _ODD_ARGUMENTS.values(), ids=_ODD_ARGUMENTS.keys())
    def test_arguments_arrive_to_the_letter_or_are_refused(
        self, bootloader: Bootloader, bench: Bench, steps: list[Step], argument: str
    ) -> None:
        bench.change(bootloader, bench.menu("a"))
        odd = bench.entry("b", argument, kernel="a")
        steps.clear()
        try:
            bootloader.write(evolve(bench.menu("a"), prepared=(odd,)))
        except BootloaderError:
            assert steps == []
            assert names(bootloader.read()) == ["a"]
            return
        bench.turn(bench.of([odd, bench.entry("a")]))
        bootloader.write(bench.of([odd, bench.entry("a")]))
        assert list(map(_told, bootloader.read().entries)) == [_told(odd), _told(bench.entry("a"))]

    @clause("B11")
    @pytest.mark.parametrize("name", _ODD_NAMES.values(), ids=_ODD_NAMES.keys())
    def test_ids_and_titles_are_only_text(self, bootloader: Bootloader, bench: Bench, name: str) -> None:
        bench.change(bootloader, bench.menu("a"))
        evil = evolve(bench.entry("b", title="System\nlinux /evil\noptions evil"), title=_title(bench))
        if bench.kind is MenuKind.OWN:
            evil = evolve(evil, deployment=DeploymentId(name))
        bench.turn(bench.of([evil, bench.entry("a")]))
        bootloader.write(bench.of([evil, bench.entry("a")]))
        found = bootloader.read().entries
        assert list(map(_told, found)) == [_told(evil), _told(bench.entry("a"))]
        assert not [path for path in bench.files() if path.startswith("EFI/BOOT")]

    @clause("B12")
    def test_files_of_others_stay(self, bootloader: Bootloader, bench: Bench) -> None:
        _put_foreign(bench)
        for wanted in (["a"], ["b", "a"], ["c", "b"], []):
            bench.change(bootloader, bench.menu(*wanted))
        after = bench.files()
        assert {path: after.get(path) for path in _FOREIGN} == _FOREIGN

    @clause("B12")
    def test_the_sysroot_stays_as_it_is(
        self, bootloader: Bootloader, bench: Bench, steps: list[Step], tree: Tree
    ) -> None:
        menu = bench.menu("b", "a")
        bench.turn(menu)
        bench.install(bootloader, tree)
        before = read(bench.root)
        bootloader.install(tree)
        bootloader.write(menu)
        assert read(bench.root) == before
        assert not [step for step in steps if step.volume == "root"]

    @clause("B13")
    def test_what_nothing_needs_is_removed(
        self, bootloader: Bootloader, bench: Bench, open_bootloader: OpenBootloader, tmp_path: Path
    ) -> None:
        fresh = evolve(bench, folder=tmp_path / "fresh")
        fresh.root.mkdir(parents=True)
        fresh.esp.mkdir()
        fresh.turn(fresh.menu())
        fresh.change(open_bootloader(fresh.machine()), fresh.menu("c"))
        for wanted in (["b", "a"], ["c", "b"], ["c"]):
            bench.change(bootloader, bench.menu(*wanted))
        sizes = [sorted(map(len, one.files().values())) for one in (bench, fresh)]
        assert len(sizes[0]) == len(sizes[1])
        assert abs(sum(sizes[0]) - sum(sizes[1])) < 100

    @clause("B25")
    def test_names_on_the_esp_are_fit_for_fat(
        self, bootloader: Bootloader, bench: Bench, steps: list[Step], tree: Tree
    ) -> None:
        bench.install(bootloader, tree)
        for wanted in (["a"], ["b", "a"], ["c", "b"]):
            bench.change(bootloader, bench.menu(*wanted))
        used = {PurePosixPath(path) for step in steps if step.volume == "esp" for path in step.paths}
        parts = {part for path in used for part in path.parts}
        assert not [part for part in parts if not _FAT_NAME.fullmatch(part) or part[-1] in ". "]
        present = [str(path.relative_to(bench.esp)).casefold() for path in bench.esp.rglob("*")]
        assert len(present) == len(set(present))


def _told(entry: BootEntry) -> tuple[object, ...]:
    """What every bootloader must tell of an entry."""
    return entry.deployment, entry.kernel, entry.initramfs, entry.options


def _title(bench: Bench) -> str:
    """Of a directory's entry the backend takes care that its title is one line."""
    return "System\nlinux /evil\noptions evil" if bench.kind is MenuKind.OWN else "System linux /evil"


def _put_foreign(bench: Bench) -> None:
    for path, data in _FOREIGN.items():
        (bench.esp / path).parent.mkdir(parents=True, exist_ok=True)
        (bench.esp / path).write_bytes(data)
