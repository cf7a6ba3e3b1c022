"""Clauses S13: the power goes at any write; what was not synced may be lost (`bootc.testing.power`)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define, field

from bootc.deployment import BootMenu
from bootc.durable import Observer, Step
from bootc.testing.fakes import MIB, FakeImage, os_image
from bootc.testing.power import Crash, End, crashes, record
from bootc.testing.storage.base import StorageSuite
from bootc.testing.storage.system import System
from bootc.testing.suite import clause, recorded
from bootc.testing.trees import read

_GROUND = Path("/mnt/ground")
_TURNS = ("rename", "exchange", "syncfs")
"""steps after which all that may be lost is tried"""
_EVERY = 25
"""of the states after other steps, one of so many is tried"""
_WIDTH = 6


@define
class _Story:
    """A change of the system, and which menu the machine offered after which step."""

    system: System
    change: Callable[[], None]
    steps: int = 0
    menus: list[tuple[int, BootMenu]] = field(factory=list)

    def __call__(self, observer: Observer) -> None:
        """Make the change, its steps told to `observer`."""
        machine = self.system.machine

        def observe(step: Step) -> None:
            self.menus.append((self.steps, machine.menu))
            self.steps += 1
            observer(step)

        machine.observer = observe
        self.system.reopen()
        try:
            self.change()
        finally:
            machine.observer = None
            self.menus.append((self.steps, machine.menu))

    def offered(self, taken: int) -> BootMenu:
        """What the machine offers when the power goes after so many steps."""
        return next(menu for steps, menu in reversed(self.menus) if steps <= taken)


class PowerCuts(StorageSuite):
    """S13."""

    @clause("S13.1")
    @recorded
    def test_a_power_cut_leaves_a_system_that_boots_and_goes_on(self, system: System) -> None:
        images = [os_image(version) for version in "123"]
        system.install("1")
        self._require_whole_at_every_cut(system, images, lambda: _update(system, images[1]))

    @clause("S13.2")
    @recorded
    def test_a_power_cut_in_a_rollback_and_the_update_after_it(self, system: System) -> None:
        images = [os_image(version) for version in "123"]
        first = system.install("1")
        second = system.upgrade("2")

        def change() -> None:
            system.arrange(first.id, second.id)
            system.arrange(second.id, first.id)
            _update(system, images[2])

        self._require_whole_at_every_cut(system, images, change)

    def _require_whole_at_every_cut(
        self, system: System, images: Sequence[FakeImage], change: Callable[[], None]
    ) -> None:
        story, machine = _Story(system, change), system.machine
        machine.mount_disk(_GROUND, 512 * MIB)
        recording = record({"root": machine.root, "run": Path("/run")}, story)
        booted = machine.menu
        assert booted.entries
        states = 0
        for states, crash in enumerate(_chosen(crashes(recording, width=_WIDTH)), 1):
            folder = _GROUND / str(states)
            made = crash.write(folder)
            with machine.showing(made["root"]):
                machine.menu = story.offered(crash.taken)
                system.reboot()
                try:
                    _require_whole(system, images)
                    if states % 5 == 0:
                        _require_goes_on(system)
                except Exception as error:
                    raise AssertionError(f"{crash}: {error}") from error
            shutil.rmtree(folder)
        assert states > 10, "the steps of the change must be told to the observer of its volumes"


def _update(system: System, image: FakeImage) -> None:
    system.stage(image)
    system.finalize()
    system.clean()


def _chosen(states: Iterator[Crash]) -> Iterator[Crash]:
    """All power cuts after steps that change what has a name, and some of the others."""
    for number, crash in enumerate(states):
        is_turn = crash.step is not None and crash.step.name in _TURNS and not _is_hidden(crash.step)
        if crash.end is End.POWER_CUT and (is_turn or number % _EVERY == 0):
            yield crash


def _is_hidden(step: Step) -> bool:
    """Within a directory that is being built or removed, by its name."""
    return all(".partial/" in path or ".removed" in path for path in step.paths)


def _require_whole(system: System, images: Sequence[FakeImage]) -> None:
    """What runs is one of the images, whole; no damage is found."""
    version = system.running()
    image = next(image for image in images if image.image.version == version)
    assert system.booted.image == system.store.find(image.image)
    expected = image.tree.below(b"usr").without_times().nodes
    found = read(system.machine.system, skip=(b"sysroot", b"etc", b"var", b"proc")).without_times().nodes
    assert {path: found.get(path) for path in expected} == expected
    assert (system.etc / "version").read_text() == f"image {version}\n"
    assert (system.var / "lib/data/file").read_text() == "initial\n"
    assert system.damage() == []


def _require_goes_on(system: System) -> None:
    """The next update works, whatever was left, and leaves no damage."""
    system.clean()
    assert system.findings() == []
    system.upgrade("4")
    assert system.running() == "4"
    assert system.findings() == []
