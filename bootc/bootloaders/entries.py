"""Our entry files on an ESP: their names, their counters, and the plan that leads from those there to a menu.

A file is never rewritten in place. Each has a rank, which is part of its name and the number that systemd-boot sorts
by; what is to be the default is written as a new file with a rank above all others, and the appearance of that one
name is the switch. What it replaces is removed afterwards.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

from attrs import evolve, frozen

from bootc.deployment import DeploymentId

_NAME = re.compile(r"bootc-([0-9a-f]{32})-(\d{1,18})(?:\+(\d{1,9})(?:-(\d{1,9}))?)?\.conf")


@frozen
class FileName:
    """`bootc-KEY-RANK[+LEFT[-DONE]].conf`; the counter is systemd-boot's (boot assessment)."""

    key: str
    rank: int
    tries_left: int | None = None
    tries_done: int = 0

    @classmethod
    def parse(cls, name: str) -> FileName | None:
        """The parts of a name; None for files that are not ours."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        key, rank, left, done = found.groups()
        return cls(key, int(rank), None if left is None else int(left), int(done or 0))

    def __str__(self) -> str:
        if self.tries_left is None:
            return f"bootc-{self.key}-{self.rank}.conf"
        done = f"-{self.tries_done}" if self.tries_done else ""
        return f"bootc-{self.key}-{self.rank}+{self.tries_left}{done}.conf"

    @property
    def boot_order(self) -> tuple[bool, int]:
        """Sorts names as systemd-boot does: without tries left last, else the highest rank first."""
        return self.tries_left == 0, -self.rank


@frozen
class EntryFile:
    """An entry file, on the ESP or to be written."""

    name: FileName
    text: bytes


@frozen
class Wanted:
    """An entry that the menu is to have: its key, and its text in a file of a given name (rank, counted or not)."""

    key: str
    text: Callable[[FileName], bytes]


@frozen
class Plan:
    """What to write, in this order, and what to remove when all of it is written."""

    writes: tuple[EntryFile, ...]
    removals: tuple[EntryFile, ...]
    final: tuple[FileName, ...]
    """what is there in the end, the default first"""


def key_of(deployment: DeploymentId) -> str:
    """The part of a file name that stands for a deployment, whatever characters its id has."""
    return hashlib.sha256(deployment.encode(errors="surrogatepass")).hexdigest()[:32]


def make_plan(wanted: Sequence[Wanted], present: Sequence[EntryFile], tries: int | None) -> Plan:
    """Keep every file that is right as it is; write the default first, so that nothing else ever is in between.

    `tries` are for the default, if there is no file of it yet.
    """
    top = max((file.name.rank for file in present), default=0)
    names = _rest(wanted[1:], present, top)
    if wanted:
        names.insert(0, _first(wanted[0], names, present, tries, top))
    kept = {file.name for file in present}
    writes = tuple(
        EntryFile(name, want.text(name)) for want, name in zip(wanted, names, strict=True) if name not in kept
    )
    removals = sorted((file for file in present if file.name not in names), key=lambda file: file.name.rank)
    return Plan(writes, tuple(removals), tuple(names))


def _rest(wanted: Sequence[Wanted], present: Sequence[EntryFile], top: int) -> list[FileName]:
    """Names for all but the default, from the last one upwards: each rank is above the one before."""
    names: list[FileName] = []
    below, fresh = 0, top
    for want in reversed(wanted):
        kept = _unchanged(want, present)
        if kept is None or kept.rank <= below:
            fresh += 1
            kept = _renamed(want, present, None, fresh)
        names.insert(0, kept)
        below = kept.rank
    return names


def _first(
    want: Wanted, rest: Sequence[FileName], present: Sequence[EntryFile], tries: int | None, top: int
) -> FileName:
    """The default's name: the file that is there, if it stands above all others; else a new one that does."""
    highest = max((name.rank for name in rest), default=0)
    kept = _unchanged(want, present)
    if kept is not None and kept.rank == top and highest < top:
        return kept
    return _renamed(want, present, tries, max(top, highest) + 1)


def _unchanged(want: Wanted, present: Sequence[EntryFile]) -> FileName | None:
    """The file of this entry whose text is what it would be now."""
    right = [file.name for file in present if file.name.key == want.key and file.text == want.text(file.name)]
    return max(right, key=_standing, default=None)


def _renamed(want: Wanted, present: Sequence[EntryFile], tries: int | None, rank: int) -> FileName:
    """A new name; an entry that is there already takes its counter along."""
    there = [file.name for file in present if file.name.key == want.key]
    if not there:
        return FileName(want.key, rank, tries)
    return evolve(max(there, key=_standing), rank=rank)


def _standing(name: FileName) -> tuple[int, bool]:
    """Which of the files of one entry speaks for it: the highest rank; one that was marked good before the counted."""
    return name.rank, name.tries_left is None
