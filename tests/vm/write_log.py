"""What was written to a disk, in order: the log that QEMU's `blklogwrites` keeps, and disks as they were at any moment.

Format: that of Linux' dm-log-writes. A super block, then entries: a sector that says what happened where, followed by
the data of a write. All numbers are little-endian, 64 bits wide.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import IO

from tests.sparse import copy_disk

_MAGIC, _VERSION = 0x6A736677736872, 1
_SUPER, _ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")
_CHUNK = 1 << 20


class Flag(IntFlag):
    """What an entry is, beside a write."""

    FLUSH = 1
    FUA = 2
    DISCARD = 4
    MARK = 8


@dataclass(frozen=True)
class Entry:
    """One request of the guest: `size` bytes at `offset` of the disk, found at `data` in the log."""

    flags: Flag
    offset: int
    size: int
    data: int

    @property
    def is_barrier(self) -> bool:
        """Whether all that came before is on the medium when this one is done."""
        return bool(self.flags & (Flag.FLUSH | Flag.FUA))


def read_entries(log: Path) -> tuple[Entry, ...]:
    """All entries so far. The super block's own count lags behind, so the log is read to the end of what is there.

    ValueError if that is less than was counted: a write that failed leaves a hole.
    """
    found: list[Entry] = []
    with log.open("rb") as file:
        magic, version, counted, sector = _SUPER.unpack(file.read(_SUPER.size))
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError(f"{log} is no log of writes")
        place = sector
        while True:
            file.seek(place)
            first, sectors, flags, _ = _ENTRY.unpack(file.read(_ENTRY.size).ljust(_ENTRY.size, b"\0"))
            if not (first or sectors or flags):
                break
            entry = Entry(Flag(flags), first * sector, sectors * sector, place + sector)
            found.append(entry)
            place += sector + (0 if entry.flags & (Flag.DISCARD | Flag.MARK) else entry.size)
    if len(found) < counted:
        raise ValueError(f"{log} has {len(found)} entries of {counted}")
    return tuple(found)


def settle(log: Path) -> bool:
    """Count in the super block what is there, so that the next process of QEMU writes behind it; False if it is empty.

    The count there is that of the last flush, whether the process ended in order or was killed.
    """
    if not log.stat().st_size:
        return False
    count = len(read_entries(log))
    with log.open("r+b") as file:
        magic, version, _, sector = _SUPER.unpack(file.read(_SUPER.size))
        file.seek(0)
        file.write(_SUPER.pack(magic, version, count, sector))
    return True


@dataclass(frozen=True)
class Moment:
    """A cut of the power: everything up to the entry `mark` is on the medium, it included.

    With a seed, some of what was written after it and before the next barrier is there too.
    """

    mark: int
    seed: int | None = None


class Replay:
    """Disks as they were at moments of a log, made from the disk with which the log begins."""

    def __init__(self, start: Path, log: Path, entries: Sequence[Entry], scratch: Path) -> None:
        self._start, self._log, self.entries, self._reached = start, log, entries, scratch
        self._done: int | None = None
        """entries of which the disk at `scratch` has the effect; None: it is not ours yet"""

    def marks(self, first: int, last: int) -> list[int]:
        """The barriers among entries `first` to `last` (excluded)."""
        return [number for number in range(first, last) if self.entries[number].is_barrier]

    def disk(self, moment: Moment, path: Path, reordered: int | None = None) -> Path:
        """The disk at a moment, as a sparse file of its own. Cheapest from early to late.

        With a seed the writes after the mark come in no order; with `reordered` they come in theirs up to one of them,
        and only so many after that one come in none.
        """
        if self._done is None or moment.mark + 1 < self._done:
            copy_disk(self._start, self._reached)
            self._done = 0
        self._apply(self.entries[self._done : moment.mark + 1], self._reached)
        self._done = moment.mark + 1
        copy_disk(self._reached, path)
        if moment.seed is not None:
            self._apply(_some(list(self._unsettled(moment.mark)), random.Random(moment.seed), reordered), path)
        return path

    def _unsettled(self, mark: int) -> Iterator[Entry]:
        for entry in self.entries[mark + 1 :]:
            if entry.is_barrier:
                return
            yield entry

    def _apply(self, entries: Sequence[Entry], disk: Path) -> None:
        with self._log.open("rb") as log, disk.open("r+b") as file:
            for entry in entries:
                _write(entry, log, file)


def _some(entries: list[Entry], chance: random.Random, reordered: int | None) -> list[Entry]:
    first = 0 if reordered is None else chance.randrange(len(entries) + 1)
    last = len(entries) if reordered is None else first + reordered
    return entries[:first] + [entry for entry in entries[first:last] if chance.random() < 0.5]


def _write(entry: Entry, log: IO[bytes], disk: IO[bytes]) -> None:
    """What was discarded reads as zeros, as it does on the disk that the guest had."""
    log.seek(entry.data)
    disk.seek(entry.offset)
    for done in range(0, entry.size, _CHUNK):
        size = min(_CHUNK, entry.size - done)
        disk.write(bytes(size) if entry.flags & Flag.DISCARD else log.read(size))
