"""What the campaign interrupts: where each scenario starts, what it does, and what it is to lead to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from bootc.testing.power_invariants import Expected, Version
from bootc.testing.power_model import Contents
from tests.crash.machine import PROGRAM, VAR, VOLUMES, CrashMachine, Kind, edit_etc


@frozen
class Start:
    """A machine at rest: what its volumes hold, and the command line it was started with (None: it was not)."""

    contents: Mapping[str, Contents]
    cmdline: str | None

    @classmethod
    def of(cls, machine: CrashMachine) -> Start:
        """As the machine is now."""
        return cls({name: Contents.scan(path) for name, path in machine.volumes.items()}, machine.cmdline)

    def write(self, folder: Path, kind: Kind) -> CrashMachine:
        """A machine like it."""
        for name, contents in self.contents.items():
            (folder / name).mkdir(parents=True)
            contents.write(folder / name)
        machine = CrashMachine(folder, kind)
        machine.go_on(self.cmdline)
        return machine


@frozen
class Scenario:
    """One command or a row of them, on a machine on which version 2 runs and version 1 did before."""

    name: str
    run: Callable[[CrashMachine], None]
    goal: str
    """the version that is the default in the end"""
    prepare: Callable[[CrashMachine], None] = lambda machine: None
    again: Callable[[CrashMachine], None] | None = None
    """what is run again, where that is more than `run`"""
    orders: tuple[str, ...] = ()
    """versions deployed at any moment, in boot order, where the rollback survives an import"""
    narrow_orders: tuple[str, ...] = ()
    """more of them, where it does not"""
    is_install: bool = False
    following: str | None = None
    """the version of another upgrade, without which there would be no rollback"""


def _upgrade(machine: CrashMachine) -> None:
    machine.stage("3")
    machine.shut_down()


def _upgrade_twice(machine: CrashMachine) -> None:
    machine.stage("3")
    machine.stage("4")
    machine.shut_down()


def _roll_back_and_upgrade(machine: CrashMachine) -> None:
    """A rollback that the upgrade has destroyed already, where there are two slots, is not tried again."""
    if sum(not deployment.is_staged for deployment in machine.backend.deployer.deployments()) > 1:
        machine.roll_back()
    _upgrade(machine)


def _abandon(machine: CrashMachine) -> None:
    """Leave all that a power cut can leave of an update that was staged."""
    machine.stage("3")
    machine.is_running = False
    machine.start()


def _stage(machine: CrashMachine) -> None:
    machine.stage("3")


SCENARIOS = (
    Scenario("install", lambda machine: machine.install("1"), "1", orders=("", "1"), is_install=True, following="2"),
    Scenario("upgrade", _upgrade, "3", orders=("21", "32"), narrow_orders=("2",)),
    Scenario("upgrade twice", _upgrade_twice, "4", orders=("21", "42"), narrow_orders=("2",)),
    Scenario("rollback", CrashMachine.roll_back, "1", orders=("21", "12")),
    Scenario(
        "rollback then upgrade",
        _roll_back_and_upgrade,
        "3",
        orders=("21", "12", "32", "31"),
        narrow_orders=("2", "1"),
    ),
    Scenario("gc", CrashMachine.collect, "2", _abandon, orders=("21",), narrow_orders=("2",), following="3"),
    Scenario("etc merge", CrashMachine.shut_down, "3", _stage, _upgrade, orders=("21", "32"), narrow_orders=("2",)),
)


def installed(kind: Kind, folder: Path) -> CrashMachine:
    """A machine on which version 2 runs and version 1 did before, with local changes."""
    machine = CrashMachine(folder, kind)
    for name in VOLUMES:
        (folder / name).mkdir(parents=True)
    machine.install("1")
    machine.start()
    edit_etc(machine.bind("etc"))
    (machine.bind("var") / "lib/mine").write_bytes(VAR["lib/mine"])
    machine.stage("2")
    machine.shut_down()
    machine.start()
    return machine


def versions_of(kind: Kind, ground: Path, *, is_edited: bool) -> dict[str, Version]:
    """Every version as a fresh installation has it; `is_edited`: with the local changes made to the image's /etc."""
    found = {}
    for name in "1234":
        machine = CrashMachine(ground / f"version-{name}", kind)
        for volume in VOLUMES:
            (machine.folder / volume).mkdir(parents=True)
        machine.install(name)
        if is_edited:
            machine.start()
            edit_etc(machine.bind("etc"))
        found[name] = _version(machine, name)
        shutil.rmtree(machine.folder)
    return found


def expected(scenario: Scenario, kind: Kind, versions: Mapping[str, Version]) -> Expected:
    """What must hold at any moment of a scenario."""
    orders = (*scenario.orders, *(() if kind.spare else scenario.narrow_orders))
    return Expected(
        versions=versions,
        orders=frozenset(map(tuple, orders)),
        untouched=frozenset() if scenario.is_install else frozenset({"2"}),
        var={} if scenario.is_install else VAR,
        program=PROGRAM,
        roots=kind.roots,
    )


def _version(machine: CrashMachine, name: str) -> Version:
    return Version(
        name,
        root=machine.read_root(),
        etc=Contents.scan(machine.bind("etc")).signature(),
        kernel=b"kernel " + name.encode(),
        initramfs=b"initramfs " + name.encode(),
    )
