"""Clauses of power cuts while a menu is written, and of a full ESP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve

from bootc.bootloader import Bootloader
from bootc.deployment import BootMenu
from bootc.durable import DirectoryVolume, Observer, Step
from bootc.errors import NoSpaceError
from bootc.testing.bootloader_bench import KERNEL_SIZE, Bench, names
from bootc.testing.bootloader_fixtures import BootloaderFixtures, OpenBootloader
from bootc.testing.power import Crash, Recording, power_cut, record
from bootc.testing.suite import clause

STORIES = {
    "first": ([], ["a"]),
    "upgrade": (["a"], ["b", "a"]),
    "upgrade that drops one": (["b", "a"], ["c", "b"]),
    "rollback": (["b", "a"], ["a", "b"]),
    "insert below": (["b", "a"], ["b", "c", "a"]),
    "drop the default": (["c", "b", "a"], ["b", "a"]),
    "everything new": (["b", "a"], ["d", "c"]),
}
_ENTRY_SIZE = 2_000
"""bytes that an entry takes at most"""


class PowerClauses(BootloaderFixtures):
    """B14 to B16."""

    @clause("B14", "B15")
    @pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
    def test_at_every_power_cut_a_whole_entry_is_the_default(
        self, open_bootloader: OpenBootloader, bench: Bench, story: tuple[list[str], list[str]], tmp_path: Path
    ) -> None:
        old, new = story
        bench.change(open_bootloader(bench.machine()), bench.menu(*old))
        prepared = bench.menu(*old, prepared=[name for name in new if name not in old])
        phases = [(prepared, old), (bench.menu(*new), new)]
        for menu, end in phases:
            if menu.directory and not menu.prepared:
                bench.turn(menu)
            self._cut(open_bootloader, bench, menu, end, tmp_path)

    def _cut(
        self,
        open_bootloader: OpenBootloader,
        bench: Bench,
        menu: BootMenu,
        new: list[str],
        ground: Path,
    ) -> None:
        """Write a menu, and look at every state between."""
        before, was_offered = bench.files(), names(open_bootloader(bench.machine()).read())
        recording = self._recorded(open_bootloader, bench, menu)
        copies = {*before.values(), *bench.files().values()}
        defaults: dict[int, str | None] = {}

        def check(crash: Crash, volumes: Mapping[str, Path]) -> None:
            offered = names(open_bootloader(bench.machine(DirectoryVolume(volumes["esp"]))).read())
            default = next(iter(offered), None)
            assert default in (*was_offered[:1], *new[:1]) or (default is None and not was_offered), default
            assert set(offered) >= set(was_offered) & set(new), f"only {offered} is offered"
            if default != next(iter(new), None):
                assert offered == was_offered, f"{offered} is offered while {default} is the default"
            if default and copies.issuperset(bench.sources(default)):
                missing = set(bench.sources(default)) - set(bench.files(volumes["esp"]).values())
                assert not missing, f"the kernel or the initramfs of {default} is not whole"
            if crash.loss == "nothing":
                defaults[crash.taken] = default

        report = power_cut(recording, check, ground, width=6)
        assert not report.violations, report
        seen = [default for _, default in sorted(defaults.items())]
        assert sum(one != other for one, other in pairwise(seen)) <= 1, seen
        assert names(open_bootloader(bench.machine()).read()) == new

    @clause("B16")
    def test_a_write_that_was_cut_is_completed_by_the_next(
        self, open_bootloader: OpenBootloader, bench: Bench, tmp_path: Path
    ) -> None:
        bench.change(open_bootloader(bench.machine()), bench.menu("b", "a"))
        open_bootloader(bench.machine()).write(bench.menu("b", "a", prepared="c"))
        menu = bench.menu("c", "b")
        bench.turn(menu)
        recording = self._recorded(open_bootloader, bench, menu)
        whole = _shape(bench.files())

        def check(crash: Crash, volumes: Mapping[str, Path]) -> None:
            bootloader = open_bootloader(bench.machine(DirectoryVolume(volumes["esp"])))
            bootloader.write(menu)
            assert names(bootloader.read()) == ["c", "b"]
            assert _shape(bench.files(volumes["esp"])) == whole

        report = power_cut(recording, check, tmp_path, width=4)
        assert not report.violations, report

    def _recorded(self, open_bootloader: OpenBootloader, bench: Bench, menu: BootMenu) -> Recording:
        def scenario(observer: Observer) -> None:
            open_bootloader(bench.machine(DirectoryVolume(bench.esp, "esp", observer))).write(menu)

        return record({"esp": bench.esp}, scenario)


class RoomClauses(BootloaderFixtures):
    """B17 to B19."""

    @clause("B17")
    def test_prepared_entries_have_their_files_and_are_not_offered(
        self, bootloader: Bootloader, bench: Bench, steps: list[Step]
    ) -> None:
        bench.change(bootloader, bench.menu("a"))
        bootloader.write(bench.menu("a", prepared="b"))
        assert names(bootloader.read()) == ["a"]
        bench.turn(bench.menu("b", "a"))
        steps.clear()
        bootloader.write(bench.menu("b", "a"))
        assert names(bootloader.read()) == ["b", "a"]
        assert sum(len(step.data or b"") for step in steps) < KERNEL_SIZE

    @clause("B18")
    @pytest.mark.parametrize("is_prepared", [True, False], ids=["prepared", "offered"])
    def test_what_does_not_fit_is_said_and_the_old_menu_stays(
        self, open_bootloader: OpenBootloader, bench: Bench, is_prepared: bool
    ) -> None:
        small = SmallVolume(bench.esp)
        bootloader = open_bootloader(bench.machine(small))
        bench.change(bootloader, bench.menu("a"))
        small.size_limit -= small.free() - KERNEL_SIZE
        before = bench.files()
        menu = bench.menu("a", prepared="b") if is_prepared else bench.menu("b", "a")
        if not is_prepared:
            bench.turn(menu)
        _require_room_or_old(bootloader, bench, menu, before)

    @clause("B19")
    def test_room_that_ends_unforeseen_leaves_the_old_menu(
        self, open_bootloader: OpenBootloader, bench: Bench, tmp_path: Path
    ) -> None:
        for writes in range(50):
            one = evolve(bench, folder=tmp_path / f"after-{writes}")
            one.root.mkdir(parents=True)
            one.esp.mkdir()
            one.turn(one.menu())
            one.change(open_bootloader(one.machine()), one.menu("b", "a"))
            one.turn(one.menu("c", "b"))
            small = SmallVolume(one.esp, writes=writes)
            is_done = _require_room_or_old(open_bootloader(one.machine(small)), one, one.menu("c", "b"), one.files())
            again = open_bootloader(one.machine())
            again.write(one.menu("c", "b"))
            assert names(again.read()) == ["c", "b"]
            if is_done:
                return
        raise AssertionError("the room was never enough")


def _require_room_or_old(bootloader: Bootloader, bench: Bench, menu: BootMenu, before: Mapping[str, bytes]) -> bool:
    """Write a menu: all of it is there then, or nothing happened to what was offered. Whether it was written."""
    offered = bootloader.read()
    try:
        bootloader.write(menu)
    except NoSpaceError:
        assert bootloader.read() == offered
        after = bench.files()
        assert {path: after.get(path) for path in before} == before
        return False
    assert names(bootloader.read()) == names(menu)
    return True


class SmallVolume(DirectoryVolume):
    """An ESP of `size` bytes; or one that seems to have room, and is full after so many files were written."""

    def __init__(self, root: Path, size: int = 1 << 30, writes: int | None = None) -> None:
        super().__init__(root, "esp")
        self.size_limit, self._writes = size, writes

    def free(self) -> int:
        return self.size_limit - sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def replace(self, path: PurePosixPath, data: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        whole = data if isinstance(data, bytes) else b"".join(data)
        if len(whole) > self.free() or self._writes == 0:
            raise NoSpaceError("a file", str(self.path(path)))
        if self._writes is not None:
            self._writes -= 1
        super().replace(path, whole, mode)


def _shape(files: Mapping[str, bytes]) -> tuple[int, list[int]]:
    """How many files there are, and the sizes of the large ones: ranks and counters may differ."""
    return len(files), sorted(len(data) for data in files.values() if len(data) > _ENTRY_SIZE)
