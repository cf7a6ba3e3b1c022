"""Clauses of capabilities: boot counting."""

from __future__ import annotations

import pytest

from bootc.bootloader import BootCounting, Bootloader
from bootc.deployment import BootMenu, DeploymentId
from bootc.errors import BootloaderError
from bootc.hookspec import Capability
from bootc.storage import Tree
from bootc.testing.bootloader_bench import Bench, names
from bootc.testing.bootloader_fixtures import BootloaderFixtures, OpenBootloader, Start, counting
from bootc.testing.suite import clause, needs

A, B = DeploymentId("a"), DeploymentId("b")


class CountingClauses(BootloaderFixtures):
    """B20 to B24."""

    @pytest.fixture
    def counter(self, bootloader: Bootloader, bench: Bench, tree: Tree) -> Bootloader:
        """The bootloader where boots can be counted: some must be installed for that."""
        if counting(bootloader).uncounted() is not None:
            bench.install(bootloader, tree)
        return bootloader

    @clause("B20")
    def test_declared_capabilities_are_those_of_the_class(self, bootloader: Bootloader, bench: Bench) -> None:
        assert (Capability.BOOT_COUNTING in self.capabilities) == isinstance(bootloader, BootCounting)

    @clause("B21")
    @needs(Capability.BOOT_COUNTING)
    def test_only_the_new_default_gets_tries(self, counter: Bootloader, bench: Bench) -> None:
        _upgrade(counter, bench, tries=3)
        assert _counts(counter) == [("b", 3, 0), ("a", None, None)]

    @clause("B21")
    @needs(Capability.BOOT_COUNTING)
    def test_without_tries_nothing_is_counted(self, counter: Bootloader, bench: Bench, start: Start) -> None:
        _upgrade(counter, bench, tries=None)
        assert start(bench.machine()) == B
        assert _counts(counter) == [("b", None, None), ("a", None, None)]

    @clause("B22")
    @needs(Capability.BOOT_COUNTING)
    @pytest.mark.parametrize("story", [[["b", "a"]], [["a", "b"], ["b", "a"]], [["b", "c", "a"]], [["b"]]], ids=str)
    def test_no_write_gives_tries_back(
        self,
        counter: Bootloader,
        bench: Bench,
        start: Start,
        open_bootloader: OpenBootloader,
        story: list[list[str]],
    ) -> None:
        _upgrade(counter, bench, tries=3)
        assert start(bench.machine()) == B
        for wanted in story:
            again = open_bootloader(bench.machine())
            menu = bench.menu(*wanted)
            bench.turn(menu)
            again.write(menu, tries=3)
            assert {count[:2] for count in _counts(again)} >= {("b", 2)}, wanted

    @clause("B22")
    @needs(Capability.BOOT_COUNTING)
    def test_a_changed_entry_keeps_its_counter(self, counter: Bootloader, bench: Bench, start: Start) -> None:
        _upgrade(counter, bench, tries=3)
        assert start(bench.machine()) == B
        menu = bench.of([bench.entry("b", title="Other title"), bench.entry("a")])
        bench.turn(menu)
        counter.write(menu, tries=5)
        assert _counts(counter) == [("b", 2, 1), ("a", None, None)]

    @clause("B23")
    @needs(Capability.BOOT_COUNTING)
    def test_a_good_entry_is_counted_no_more(self, counter: Bootloader, bench: Bench, start: Start) -> None:
        menu = _upgrade(counter, bench, tries=3)
        start(bench.machine())
        for _ in range(2):
            counting(counter).mark_good(B)
            assert _counts(counter) == [("b", None, None), ("a", None, None)]
        counter.write(menu, tries=3)
        assert _counts(counter) == [("b", None, None), ("a", None, None)]
        assert start(bench.machine()) == B

    @clause("B23")
    @needs(Capability.BOOT_COUNTING)
    def test_an_unknown_deployment_cannot_be_good(self, counter: Bootloader, bench: Bench) -> None:
        _upgrade(counter, bench, tries=3)
        with pytest.raises(BootloaderError):
            counting(counter).mark_good(DeploymentId("unknown"))
        assert _counts(counter) == [("b", 3, 0), ("a", None, None)]

    @clause("B24")
    @needs(Capability.BOOT_COUNTING)
    def test_an_entry_without_tries_is_passed_over(self, counter: Bootloader, bench: Bench, start: Start) -> None:
        menu = _upgrade(counter, bench, tries=2)
        assert [start(bench.machine()) for _ in range(4)] == [B, B, A, A]
        assert names(counter.read())[0] == "a"
        counter.write(menu, tries=2)
        assert names(counter.read())[0] == "a"
        assert start(bench.machine()) == A
        bench.change(counter, bench.menu("a"))
        _upgrade(counter, bench, tries=2)
        assert start(bench.machine()) == B


def _upgrade(bootloader: Bootloader, bench: Bench, tries: int | None) -> BootMenu:
    """A menu with only `a`, then `b` above it."""
    bench.change(bootloader, bench.menu("a"))
    bench.mark("b", bootloader)
    menu = bench.menu("b", "a")
    bench.change(bootloader, menu, tries)
    return menu


def _counts(bootloader: Bootloader) -> list[tuple[str, int | None, int | None]]:
    """Of each entry in its order: the deployment, and its tries left and done; None if it is not counted."""
    found = []
    for entry in bootloader.read().entries:
        count = counting(bootloader).count(entry.deployment)
        assert entry.tries_left == (count.left if count else None)
        found.append((str(entry.deployment), count.left if count else None, count.done if count else None))
    return found
