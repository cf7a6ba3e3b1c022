"""One scenario on one backend: recorded once, then cut at every moment; each state is looked at, and gone on with."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import define, evolve, field, frozen

from bootc.deployment import Slots
from bootc.durable import Observer
from bootc.testing.power import Crash, End, Recording, Report, power_cut, record
from bootc.testing.power_invariants import (
    Expected,
    Version,
    menu,
    require,
    require_clean,
    require_undamaged,
    weight,
)
from bootc.testing.power_model import Contents
from tests.crash.machine import CrashMachine, Kind
from tests.crash.scenarios import Scenario, Start, expected, installed, versions_of

_MOMENTS = 10
"""that are tried of any scenario, however short"""
_TIME = re.compile(rb'"time": "[^"]*"')


@frozen
class Thoroughness:
    """How much of all states is tried."""

    width: int = 20
    """of the losses at one moment"""
    every: int = 1
    """so many moments, one is tried"""
    seed: int = 0
    processes: int = 1
    most: int | None = None
    """violations after which it ends"""


@contextmanager
def ground() -> Iterator[Path]:
    """A folder in memory, where there is some: a sync costs nothing there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="bootc-crash-", dir=memory if os.access(memory, os.W_OK) else None) as at:
        yield Path(at)


@define
class Campaign:
    """All scenarios of one backend, in a folder."""

    kind: Kind
    folder: Path
    start: Start
    versions: Mapping[bool, Mapping[str, Version]]
    """with local changes, and without"""

    @classmethod
    def of(cls, kind: Kind, folder: Path) -> Campaign:
        """Make ready what all scenarios begin with."""
        machine = installed(kind, folder / "installed")
        start = Start.of(machine)
        shutil.rmtree(machine.folder)
        return cls(kind, folder, start, {it: versions_of(kind, folder, is_edited=it) for it in (True, False)})

    def run(self, scenario: Scenario, thorough: Thoroughness) -> Report:
        """Cut the scenario at every moment."""
        cut = self.prepared(scenario)
        thorough = evolve(thorough, every=min(thorough.every, max(1, len(cut.recording.steps) // _MOMENTS)))
        shares = [(number, thorough.processes) for number in range(thorough.processes)]
        if len(shares) == 1:
            return _share(cut, self.folder, thorough, shares[0])
        reports = list(_side_by_side([partial(_share, cut, self.folder, thorough, share) for share in shares]))
        return Report(sum(r.states for r in reports), tuple(v for r in reports for v in r.violations))

    def prepared(self, scenario: Scenario) -> Interrupted:
        """Record the scenario, and let it go on undisturbed to see what is left in the end."""
        start = Start({name: held.emptied() for name, held in self.start.contents.items()}, None)
        if not scenario.is_install:
            machine = self.start.write(self.folder / "prepared", self.kind)
            scenario.prepare(machine)
            start = Start.of(machine)
            shutil.rmtree(machine.folder)
        machine = start.write(self.folder / "recorded", self.kind)

        def told(observer: Observer) -> None:
            machine.observer = observer
            scenario.run(machine)
            machine.observer = None

        recording = record(machine.volumes, told)
        cut = Interrupted(
            self.kind,
            scenario,
            recording,
            start.cmdline,
            expected(scenario, self.kind, self.versions[not scenario.is_install]),
        )
        cut.go_on(machine)
        left = {name: weight(machine.volumes[name]) for name in ("root", "esp")}
        shutil.rmtree(machine.folder)
        return evolve(cut, left=left)


def _side_by_side(tasks: Sequence[Callable[[], Report]]) -> Iterator[Report]:
    """Each in a process of its own, forked from this one."""
    context = multiprocessing.get_context("fork")
    ends = [context.Pipe(duplex=False) for _ in tasks]
    processes = [
        context.Process(target=lambda task=task, end=end: end.send(task()))
        for task, (_, end) in zip(tasks, ends, strict=True)
    ]
    for process in processes:
        process.start()
    for process, (reader, writer) in zip(processes, ends, strict=True):
        writer.close()
        yield reader.recv()
        process.join()


def _share(cut: Interrupted, folder: Path, thorough: Thoroughness, share: tuple[int, int]) -> Report:
    return power_cut(
        cut.recording,
        cut.check,
        folder,
        width=thorough.width,
        every=thorough.every,
        seed=thorough.seed,
        share=share,
        most=thorough.most,
    )


@frozen
class Interrupted:
    """A recorded scenario, and the check of each state that an end of it may leave."""

    kind: Kind
    scenario: Scenario
    recording: Recording
    cmdline: str | None
    expected: Expected
    left: Mapping[str, tuple[int, int]] = field(factory=dict)
    """files and bytes that are there when all is done and cleaned up"""
    known: set[int] = field(factory=set, repr=False)
    """futures that were gone through before"""

    def check(self, crash: Crash, volumes: Mapping[str, Path]) -> None:
        """I1 to I7, now, after the next start, and when the same command ran again, a rollback and a cleaning."""
        machine = CrashMachine(volumes["root"].parent, self.kind)
        machine.go_on(self.cmdline if crash.end is End.KILL else None)
        is_bootable = bool(menu(volumes["esp"]))
        assert is_bootable or self.scenario.is_install, "I1: no boot entry"
        if is_bootable:
            versions = self._require(machine, self.expected)
            require_undamaged(machine.backend)
            if crash.end is End.POWER_CUT:
                machine.start()
                self._require(machine, evolve(self.expected, untouched=frozenset(versions[:1])))
                slots = Slots.of(machine.backend.deployer.deployments())
                assert slots.staged is None, "I3: something is staged after a power cut"
        if self.scenario.is_install:
            machine.is_running = False
        if self.scenario.is_install or machine.default() != self.scenario.goal:
            (self.scenario.again or self.scenario.run)(machine)
        future = self._future(machine)
        if future not in self.known:
            self.go_on(machine)
            require_clean(volumes, self.left)
            self.known.add(future)

    def go_on(self, machine: CrashMachine) -> None:
        """What follows when the scenario is over: a start, another upgrade if need be, a rollback, a cleaning."""
        self._start(machine, self.scenario.goal)
        if following := self.scenario.following:
            machine.stage(following)
            machine.shut_down()
            self._start(machine, following)
        before = machine.default()
        machine.roll_back()
        after = machine.default()
        assert after != before, "I6: the rollback changed nothing"
        self._start(machine, after)
        machine.collect()
        self._require(machine, self._later)
        require_undamaged(machine.backend)

    def _future(self, machine: CrashMachine) -> int:
        """The same for machines that will behave alike from now on: all that they hold, but for a time of day."""
        held = {name: Contents.scan(path, machine.seen) for name, path in machine.volumes.items()}
        for contents in held.values():
            contents.inodes = {
                number: evolve(inode, data=_TIME.sub(b"", inode.data)) if _TIME.search(inode.data) else inode
                for number, inode in contents.inodes.items()
            }
        return hash((machine.cmdline, *(contents.signature() for contents in held.values())))

    def _start(self, machine: CrashMachine, version: str | None) -> None:
        machine.start()
        found = self._require(machine, self._later)
        assert found[0] == version, f"I6: version {found[0]} was started instead of {version}"

    def _require(self, machine: CrashMachine, expected: Expected) -> list[str]:
        return require(machine.machine, machine.backend, machine.volumes["esp"], expected, machine.seen)

    @property
    def _later(self) -> Expected:
        return evolve(self.expected, untouched=frozenset(), orders=None)
