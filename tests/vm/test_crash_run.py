"""The power is cut at every moment of an update that matters: states of the disk from the log of all its writes.

A machine stages an update and shuts down, which makes it the default; its disk is recorded. The log is replayed to
barriers (flushes), and to some of what was written after them; each disk is looked at as the boot loader and the next
start would find it. What is found:

* the default of the boot menu is the old or the new system, with kernel and initramfs whole, without any journal
  being replayed; once it is the new one, no later moment has the old one;
* the system that it starts is there, and all our checks find nothing wrong;
* `bootc internals publish`, which every boot begins with, succeeds and brings menu and deployments together;
* some of the disks are booted.

The short form looks at barriers around the switch and at a few others; `--long` at all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.sysroots import copy_disk
from tests.servers import RegistryServer
from tests.unit.cli_runs import bootc
from tests.vm.derived import File, Images
from tests.vm.disks import Disk, Started, examine
from tests.vm.machine import VirtualMachine
from tests.vm.story import NAME, Parts, Story, Teller, check_units, closing_power, version
from tests.vm.write_log import Moment, Replay, read_entries

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.usefixtures("own_mounts")]

PAIRS = [
    Parts("grub", "registry", "xfs", "ostree"),
    pytest.param(Parts("grub", "registry", "ext4", "ostree"), marks=pytest.mark.matrix),
    pytest.param(Parts("systemd-boot", "registry", "ext4", "ostree"), marks=pytest.mark.matrix),
]
BEFORE = 3
"""moments of the staging that the short form looks at"""
AROUND = 6
"""moments between barriers, with some of what was written in between, on both sides of the switch"""
ROOTS = ("ostree", "bootc.plan")
"""arguments of the kernel that name a place below the physical root"""


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


Files = tuple[str, str]
"""SHA-256 of a kernel and its initramfs"""


@dataclass
class Looker:
    """Makes a disk for each moment and looks at it."""

    recording: Recording
    parts: Parts
    folder: Path
    looked: dict[Moment, int]

    def is_new(self, moment: Moment) -> bool:
        """Whether the new system is the default at a moment, after everything about that disk was found to be right."""
        if moment not in self.looked:
            self.looked[moment] = self._look(moment)
            print(f"{moment}: {('old', 'new')[self.looked[moment]]}", flush=True)
        return self.looked[moment] == 1

    def disk(self, moment: Moment) -> Disk:
        """The disk at a moment; valid until the next one is asked for."""
        path = self.recording.replay.disk(moment, self.folder / "state.img")
        return Disk(path, self.parts.filesystem)

    def _look(self, moment: Moment) -> int:
        disk = self.disk(moment)
        started = self._default(disk)
        with disk.mounted(self.folder / "sysroot") as sysroot:
            for place in filter(None, map(started.value, ROOTS)):
                assert (sysroot / place.lstrip("/")).exists(), (moment, started)
            found = examine(sysroot)
            assert (found["findings"], found["staged"]) == ([], []), (moment, found)
            # Between record and publish the menu still offers the old system, which must be there: publishing follows.
            assert self.recording.digests[self._which(started)] in found["deployments"], (moment, found)
            done = bootc("--sysroot", str(sysroot), "internals", "publish")
            assert done.code == 0, (moment, done)
            default = self.recording.digests.index(found["deployments"][0])
        assert self._which(self._default(disk)) == default, moment
        assert self._which(started) <= default, (moment, "the menu was ahead of the deployments")
        return self._which(started)

    def _default(self, disk: Disk) -> Started:
        assert self.parts.bootloader is not None
        return disk.default(self.parts.bootloader, self.folder / "unreplayed")

    def _which(self, started: Started) -> int:
        return self.recording.kernels.index((started.kernel, started.initramfs))


def switch(marks: Sequence[int], is_new: Callable[[int], bool]) -> int:
    """The number of the first mark with the new default, by halving."""
    low, high = 0, len(marks) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_new(marks[middle]) else (middle + 1, high)
    return high


@pytest.mark.parametrize("parts", PAIRS, ids=lambda p: f"{p.backend}-{p.bootloader}-{p.filesystem}")
def test_every_cut_of_the_power_leaves_the_old_or_the_new_system(
    tmp_path: Path, image_layout: Path, registry: RegistryServer, parts: Parts, is_long: bool
) -> None:
    story = Story(tmp_path, image_layout, parts, Teller())
    with story.teller.step("an update is recorded"):
        recording = record(story, registry)
    looker = Looker(recording, parts, tmp_path, {})
    with story.teller.step("the power is cut"):
        chosen = look_at_all(looker) if is_long else look_around_the_switch(looker)
    story.teller.say(f"    {len(looker.looked)} moments, {sum(looker.looked.values())} of them with the new default")
    for moment in chosen:
        with story.teller.step(f"the disk at {moment} is booted"):
            boot(looker, moment)


def record(story: Story, registry: RegistryServer) -> Recording:
    """Install version 1, boot it, stage an image with another initramfs, and shut down."""
    images = Images(story.layout)
    place = images.kernel_folder("v1")
    kernel, initramfs = (images.read("v1", f"{place}/{name}") for name in ("vmlinuz", "initramfs.img"))
    # Zeros after an initramfs are no part of it, and make it another file.
    other = initramfs + bytes(4096)
    new = images.derive("v1", "crash", "2", {f"{place}/initramfs.img": File(other)})
    registry.push(story.layout, "v1", NAME)
    story.install(registry)
    start, log = story.folder / "start.img", story.folder / "writes.log"
    copy_disk(story.disk, start)
    with closing_power(VirtualMachine(story.disk, story.folder / "machine", write_log=log)) as machine:
        machine.start()
        machine.wait_up()
        registry.push(story.layout, "crash", NAME)
        machine.run("sync")
        staging = len(read_entries(log))
        machine.run("bootc upgrade")
        machine.run("sync")
        shutdown = len(read_entries(log))
        machine.poweroff()
    kernels = tuple((_digest(kernel), _digest(data)) for data in (initramfs, other))
    replay = Replay(start, log, read_entries(log), story.disk)
    story.disk.unlink()
    return Recording(replay, (images.digest("v1"), new), (kernels[0], kernels[1]), staging, shutdown)


def look_around_the_switch(looker: Looker) -> list[Moment]:
    """A dozen moments or two: halving leads to the switch; the one to boot is right after it."""
    recording = looker.recording
    end = len(recording.replay.entries)
    before = recording.replay.marks(recording.staging, recording.shutdown)
    for mark in before[:: max(1, len(before) // BEFORE)][:BEFORE]:
        assert not looker.is_new(Moment(mark))
    marks = recording.replay.marks(recording.shutdown, end)
    at = switch(marks, lambda mark: looker.is_new(Moment(mark)))
    assert looker.is_new(Moment(marks[at]))
    for number in range(max(1, at - 1), min(len(marks), at + 2)):
        looker.is_new(Moment(marks[number]))
    for seed in range(AROUND):
        looker.is_new(Moment(marks[at - 1 - seed % 2], seed))
    return [Moment(marks[at])]


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


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
