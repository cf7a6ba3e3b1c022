"""Power cuts: a scenario is recorded step by step, and a check runs in every state that a cut may leave.

    recording = record({"root": sysroot, "esp": esp, "run": run}, lambda observer: upgrade(machine(observer)))
    report = power_cut(recording, check, folder)
    assert not report.violations, report

The scenario gives the observer to all its volumes, whose names are the keys. `record` proves that the log is
complete: replayed, it makes just what the scenario made. `check` gets directories of the same names, of which nobody
else knows, and may go on with them as a machine after its next start would. A killed process, after which the
machine goes on running, is a state of this kind as well: nothing is lost then, and /run is kept.
"""

from __future__ import annotations

import enum
import random
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from attrs import field, frozen

from bootc.durable import Observer, Step, Volume
from bootc.testing.power_model import Contents, differences
from bootc.testing.power_states import NOTHING, Filesystem, History, Loss
from bootc.testing.power_translator import ReplayError, Translator

FILESYSTEMS = {"root": Filesystem.ANY, "esp": Filesystem.FAT, "run": Filesystem.MEMORY}
"""the rules by a volume's name; all others are ANY"""

_TURNS = ("rename", "exchange", "link")
_SYNCS = ("fsync", "syncfs")


@frozen
class Recording:
    """All steps of a scenario, in one order, and what its volumes held before."""

    before: Mapping[str, Contents]
    steps: tuple[Step, ...]


class End(enum.Enum):
    """What ended the scenario."""

    POWER_CUT = "power cut"
    KILL = "kill"


@frozen
class Crash:
    """One state: the scenario ended after so many steps."""

    end: End
    taken: int
    step: Step | None
    """the last that was taken"""
    loss: str
    contents: Mapping[str, Contents] = field(repr=False)

    def __str__(self) -> str:
        last = f"{self.step.volume}: {self.step.name} {' '.join(self.step.paths)}" if self.step else "the beginning"
        return f"{self.end.value} after step {self.taken} ({last}), lost: {self.loss}"

    def write(self, folder: Path) -> dict[str, Path]:
        """Make it below a folder, one directory for each volume."""
        made = {name: folder / name for name in self.contents}
        for name, contents in self.contents.items():
            made[name].mkdir(parents=True)
            contents.write(made[name])
        return made


Check: TypeAlias = Callable[[Crash, Mapping[str, Path]], None]
"""Raises what is wrong with a state, as an AssertionError or a BootcError"""


@frozen
class Violation:
    """A state in which the check failed."""

    crash: str
    problem: str


@frozen
class Report:
    """What the checks found."""

    states: int
    """how many different states were checked"""
    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        lines = [f"{self.states} states, {len(self.violations)} violations"]
        return "\n".join((*lines, *(f"- {found.crash}\n  {found.problem}" for found in self.violations[:10])))


def record(volumes: Mapping[str, Path | Volume], scenario: Callable[[Observer], None]) -> Recording:
    """Run a scenario and note its steps. Raises ReplayError if they are not all that it did.

    A volume is given as its directory, or, where it has none (an ESP in a file), as itself.
    """
    before = {name: _held(place) for name, place in volumes.items()}
    steps: list[Step] = []
    scenario(steps.append)
    recording = Recording(before, tuple(steps))
    problems = [f"{name}{line}" for name, place in volumes.items() for line in missed(recording, name, place)]
    if problems:
        raise ReplayError("the steps are not all that was done:\n" + "\n".join(problems[:20]))
    return recording


def missed(recording: Recording, volume: str, place: Path | Volume) -> Iterator[str]:
    """Where a volume is not what the replay of all steps makes of it."""
    is_fat = FILESYSTEMS.get(volume) is Filesystem.FAT
    translator = Translator(recording.before[volume], is_fat=is_fat)
    for step in recording.steps:
        if step.volume == volume:
            translator.effects(step)
    now, found = translator.now, _held(place)
    return differences(now.folded(), found.folded()) if is_fat else differences(now, found)


def _held(place: Path | Volume) -> Contents:
    return Contents.read(place) if isinstance(place, Volume) else Contents.scan(place)


def crashes(
    recording: Recording,
    *,
    filesystems: Mapping[str, Filesystem] = FILESYSTEMS,
    width: int = 20,
    every: int = 1,
    seed: int = 0,
) -> Iterator[Crash]:
    """All states that differ, in the order of the log: at one of `every` moments, the last always.

    Of what a filesystem without order may lose, each single change and mixtures are taken where something gets its
    name or is about to be synced, at most `width` at once; everywhere else the latest ones.
    """
    chance, seen = random.Random(seed), set[int]()  # noqa: S311
    histories = {
        name: History(before, filesystems.get(name, Filesystem.ANY)) for name, before in recording.before.items()
    }
    for taken in range(len(recording.steps) + 1):
        step = recording.steps[taken - 1] if taken else None
        if step:
            histories[step.volume].advance(step)
        if (taken + seed) % every and taken != len(recording.steps):
            continue
        following = recording.steps[taken] if taken < len(recording.steps) else None
        is_turn = following is None or following.name in _SYNCS or bool(step and step.name in _TURNS)
        for end, loss, contents in _ends(histories, is_turn, width, chance):
            signature = hash((end, tuple(held.signature() for held in contents.values())))
            if signature not in seen:
                seen.add(signature)
                yield Crash(end, taken, step, loss, contents)


def power_cut(
    recording: Recording,
    check: Check,
    ground: Path | None = None,
    *,
    filesystems: Mapping[str, Filesystem] = FILESYSTEMS,
    width: int = 20,
    every: int = 1,
    seed: int = 0,
    share: tuple[int, int] = (0, 1),
    most: int | None = None,
) -> Report:
    """Run the check in all states, each made anew below `ground`; best a filesystem in memory.

    `share` is (k, n): of n processes that divide the work this is number k. After `most` violations it ends.
    """
    states, violations = 0, list[Violation]()
    for number, crash in enumerate(crashes(recording, filesystems=filesystems, width=width, every=every, seed=seed)):
        if number % share[1] != share[0]:
            continue
        if len(violations) == most:
            break
        states += 1
        folder = Path(tempfile.mkdtemp(prefix="power-cut-", dir=ground))
        try:
            check(crash, crash.write(folder))
        except Exception as error:
            violations.append(Violation(str(crash), _described(error)))
        finally:
            shutil.rmtree(folder)
    return Report(states, tuple(violations))


def _ends(
    histories: Mapping[str, History], is_turn: bool, width: int, chance: random.Random
) -> Iterator[tuple[End, str, dict[str, Contents]]]:
    yield End.KILL, NOTHING.name, {name: history.now.copy() for name, history in histories.items()}
    whole = {name: history.state(NOTHING) for name, history in histories.items()}
    yield End.POWER_CUT, NOTHING.name, whole
    everything: dict[str, Loss] = {}
    for name, history in histories.items():
        for loss in history.losses(is_turn=is_turn, width=width, chance=chance):
            everything.setdefault(name, loss)
            yield End.POWER_CUT, f"{loss.name} of {name}", {**whole, name: history.state(loss)}
    if len(everything) > 1:
        lost = {name: histories[name].state(loss) for name, loss in everything.items()}
        yield End.POWER_CUT, "everything of all", {**whole, **lost}


def _described(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
