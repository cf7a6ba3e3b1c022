"""What every clause of a bootloader starts from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import ClassVar, TypeAlias

import pytest

from bootc.bootloader import BootCounting, Bootloader
from bootc.deployment import DeploymentId
from bootc.durable import Step
from bootc.machine import Machine
from bootc.storage import Tree
from bootc.testing.bootloader_bench import Bench, HostTree, MenuKind
from bootc.testing.suite import ConformanceSuite

OpenBootloader: TypeAlias = Callable[[Machine], Bootloader]
Start: TypeAlias = Callable[[Machine], DeploymentId]


class BootloaderFixtures(ConformanceSuite):
    """A subclass says which menus its bootloader takes, and how it is opened."""

    menus: ClassVar[Collection[MenuKind]] = frozenset(MenuKind)
    """the kinds of menu that the bootloader takes"""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Every clause is tested with each kind of menu that the bootloader takes."""
        if "bench" in metafunc.fixturenames:
            taken = [("own", MenuKind.OWN), ("entries", MenuKind.DIRECTORY), ("syslinux", MenuKind.DIRECTORY)]
            names = [name for name, kind in taken if kind in self.menus]
            metafunc.parametrize("bench", names, indirect=True)

    @pytest.fixture
    def open_bootloader(self) -> OpenBootloader:
        """Opens the bootloader; the one thing that a suite of somebody must bring along."""
        raise NotImplementedError(f"{type(self).__name__} has no fixture `open_bootloader`")

    @pytest.fixture
    def start(self) -> Start:
        """Does what the bootloader does at power-on, counting included, and tells which deployment it starts."""
        raise NotImplementedError(f"{type(self).__name__} has no fixture `start`, which boot counting needs")

    @pytest.fixture
    def tree(self) -> Tree:
        """An image that the bootloader can be installed from; this very system, if nothing else is said."""
        return HostTree()

    @pytest.fixture
    def bench(self, request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
        """The machine and its menus; a backend that keeps a directory has an empty one."""
        kind = MenuKind.OWN if request.param == "own" else MenuKind.DIRECTORY
        bench = Bench(tmp_path, kind, request.param == "syslinux")
        bench.root.mkdir()
        bench.esp.mkdir()
        bench.turn(bench.menu())
        return bench

    @pytest.fixture
    def steps(self) -> list[Step]:
        """The steps that the bootloader of `bootloader` took."""
        return []

    @pytest.fixture
    def bootloader(self, open_bootloader: OpenBootloader, bench: Bench, steps: list[Step]) -> Bootloader:
        """The bootloader under test."""
        return open_bootloader(bench.machine(observer=steps.append))


def counting(bootloader: Bootloader) -> BootCounting:
    """The bootloader, by its capability."""
    assert isinstance(bootloader, BootCounting)
    return bootloader
