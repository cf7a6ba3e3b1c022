"""States of a disk at cuts of the power during an update, from the log of all its writes, looked at one by one.

A machine stages an update and shuts down, which makes it the default; its disk is recorded. The log is replayed to
barriers (flushes), and to some of what was written after them; each disk is looked at as the boot loader and the next
start would find it. What is found:

* the default of the boot menu is the old or the new system, with kernel and initramfs whole, at barriers without any
  journal being replayed; once it is the new one, no later barrier has the old one;
* the system that it starts is there, and all our checks find no damage;
* what else they find is needed by nothing, and gone after a cleaning;
* `bootc internals publish`, which every boot begins with, succeeds and brings menu and deployments together.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.sparse import copy_disk
from tests.vm.bad_images import FIRST, GOOD
from tests.vm.derived import Images
from tests.vm.disks import Disk, Started, examine
from tests.vm.machine import VirtualMachine
from tests.vm.story import Parts, bootc, check_units, closing_power, version
from tests.vm.write_log import Moment, Replay, read_entries

BEFORE = 2
"""moments of the staging that the short form looks at"""
AROUND = 2
"""moments between barriers, with some of what was written in between, around the switch"""
REORDERED = {"xfs": 8}
"""how many writes may be lost while later ones are kept, where a filesystem does not stand more

XFS writes a large checkpoint as many log records of 32 KiB without a flush between them, a hundred in a staging. Its
recovery looks for what is missing as far back as eight of them; with other losses it does not mount, whoever wrote it.
"""
ROOTS = ("ostree", "bootc.plan")
"""arguments of the kernel that name a place below the physical root"""

Files = tuple[str, str]
"""SHA-256 of a kernel and its initramfs"""


@dataclass(frozen=True)
class Recording:
    """An update that was recorded from its staging to the end of the shutdown."""

    replay: Replay
    digests: tuple[str, str]
    """of the images, old and new"""
    kernels: tuple[Files, Files]
    staging: int
    """the first entry of the log that belongs to the staging"""
    shutdown: int
    """… to the shutdown"""


@dataclass
class Recorder:
    """Takes down an update from `FIRST` to `GOOD`."""

    start: Path
    log: Path
    marks: list[int] = field(default_factory=list)

    def begin(self, disk: Path) -> None:
        """Before the machine is started, which begins the log: keep its disk as it is now."""
        copy_disk(disk, self.start)

    def mark(self, machine: VirtualMachine) -> None:
        """Call it before the staging, and again before the shutdown."""
        machine.run("sync")
        self.marks.append(len(read_entries(self.log)))

    def finish(self, images: Images, scratch: Path) -> Recording:
        """When the machine is off. What replaying needs is kept at `scratch`."""
        replay = Replay(self.start, self.log, read_entries(self.log), scratch)
        staging, shutdown = self.marks
        digests = (images.digest(FIRST), images.digest(GOOD))
        return Recording(replay, digests, (_kernel(images, FIRST), _kernel(images, GOOD)), staging, shutdown)


@dataclass
class Looker:
    """Makes a disk for each moment and looks at it."""

    recording: Recording
    parts: Parts
    folder: Path
    looked: dict[Moment, int] = field(default_factory=dict)

    def is_new(self, moment: Moment) -> bool:
        """Whether the new system is the default at a moment, after everything about that disk was found to be right."""
        if moment not in self.looked:
            self.looked[moment] = self._look(moment)
            print(f"{moment}: {('old', 'new')[self.looked[moment]]}", flush=True)
        return self.looked[moment] == 1

    def disk(self, moment: Moment) -> Disk:
        """The disk at a moment; valid until the next one is asked for."""
        reordered = REORDERED.get(self.parts.filesystem)
        path = self.recording.replay.disk(moment, self.folder / "state.img", reordered)
        return Disk(path, self.parts.filesystem)

    def _look(self, moment: Moment) -> int:
        disk = self.disk(moment)
        # Between barriers a journal's writes to their places come in any order, which Linux, not we, answer for.
        started = self._default(disk, is_replayed=moment.seed is not None)
        with disk.mounted(self.folder / "sysroot") as sysroot:
            for place in filter(None, map(started.value, ROOTS)):
                assert (sysroot / place.lstrip("/")).exists(), (moment, started)
            found = examine(sysroot)
            assert (found["damage"], found["staged"]) == ([], []), (moment, found)
            # Between record and publish the menu still offers the old system, which must be there: publishing follows.
            assert self.recording.digests[self._which(started)] in found["deployments"], (moment, found)
            _run(moment, sysroot, "publish")
            if found["leftovers"]:
                _run(moment, sysroot, "cleanup")
                cleaned = examine(sysroot)
                assert (cleaned["damage"], cleaned["leftovers"]) == ([], []), (moment, found, cleaned)
            default = self.recording.digests.index(found["deployments"][0])
        assert self._which(self._default(disk)) == default, moment
        assert self._which(started) <= default, (moment, "the menu was ahead of the deployments")
        return self._which(started)

    def _default(self, disk: Disk, *, is_replayed: bool = False) -> Started:
        assert self.parts.bootloader is not None
        return disk.default(self.parts.bootloader, self.folder / "unreplayed", is_replayed=is_replayed)

    def _which(self, started: Started) -> int:
        return self.recording.kernels.index((started.kernel, started.initramfs))


def _run(moment: Moment, sysroot: Path, command: str) -> None:
    """`bootc internals COMMAND`, which must succeed."""
    argv = [*bootc(), "--sysroot", str(sysroot), "internals", command]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (moment, done)


def switch(marks: Sequence[int], is_new: Callable[[int], bool]) -> int:
    """The number of the first mark with the new default, by halving."""
    low, high = 0, len(marks) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_new(marks[middle]) else (middle + 1, high)
    return high


def look_around_the_switch(looker: Looker) -> list[Moment]:
    """A dozen moments: halving leads to the switch. To be booted are those that `look_at_all` names."""
    recording = looker.recording
    end = len(recording.replay.entries)
    before = recording.replay.marks(recording.staging, recording.shutdown)
    for mark in before[:: max(1, len(before) // BEFORE)][:BEFORE]:
        assert not looker.is_new(Moment(mark))
    marks = recording.replay.marks(recording.shutdown, end)
    at = switch(marks, lambda mark: looker.is_new(Moment(mark)))
    assert looker.is_new(Moment(marks[at]))
    for seed in range(AROUND):
        looker.is_new(Moment(marks[at - 1], seed))
    return [Moment(before[len(before) // 2]), Moment(marks[at - 1]), Moment(marks[at])]


def look_at_all(looker: Looker) -> list[Moment]:
    """Every barrier from the staging on, and after each of them two disks with some of what was written then.

    To be booted: the last old default, the first new one, and one in the middle of the staging.
    """
    recording = looker.recording
    marks = recording.replay.marks(recording.staging, len(recording.replay.entries))
    for mark in marks:
        for seed in (None, 2 * mark, 2 * mark + 1):
            looker.is_new(Moment(mark, seed))
    outcomes = [looker.is_new(Moment(mark)) for mark in marks]
    assert outcomes == sorted(outcomes), "the default went back"
    first = outcomes.index(True)
    staged = [mark for mark in marks if mark < recording.shutdown]
    return [Moment(staged[len(staged) // 2]), Moment(marks[first - 1]), Moment(marks[first])]


def boot(looker: Looker, moment: Moment) -> None:
    """It starts what its menu says, and none of our units fails."""
    disk = looker.disk(moment)
    with closing_power(VirtualMachine(disk.path, looker.folder / f"booted-{moment.mark}")) as machine:
        machine.start()
        machine.wait_up()
        assert version(machine) == ("2" if looker.is_new(moment) else "1")
        check_units(machine)


def _kernel(images: Images, tag: str) -> Files:
    place = images.kernel_folder(tag)
    kernel, initramfs = (images.read(tag, f"{place}/{name}") for name in ("vmlinuz", "initramfs.img"))
    return hashlib.sha256(kernel).hexdigest(), hashlib.sha256(initramfs).hexdigest()
