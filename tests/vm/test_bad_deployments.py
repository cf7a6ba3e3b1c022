"""Updates that do not boot: without anyone's help the old system is back, and it knows what failed.

Several kinds of failure follow one another on one machine, as bad releases would; then comes a good one, and the power
is cut while it becomes the default (`crash_run.py`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import RegistryServer
from tests.vm import bad_images
from tests.vm.bad_images import Kind
from tests.vm.crash_run import Looker, Recorder, boot, look_around_the_switch
from tests.vm.derived import Images
from tests.vm.disks import Disk
from tests.vm.machine import MachineError, VirtualMachine
from tests.vm.story import NAME, Parts, Story, Teller, check_units, closing_power, esp_is_mounted, host

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.usefixtures("own_mounts")]

TRIES = 1
PATIENCE = 1200.0
"""seconds that a boot which fails and the one after it may take, however busy the host is"""
OSTREE_GRUB = Parts("grub", "registry", "ext4", "ostree")
OSTREE = Parts("systemd-boot", "registry", "ext4", "ostree")
DIRIMAGE = Parts("systemd-boot", "registry", "ext4", "dirimage")
COMPOSEFS = Parts("systemd-boot", "registry", "ext4", "composefs")
EVERY = ("unhealthy", "never-complete", "init-exits", "no-module")
KERNEL = "truncated-kernel"
"""for GRUB only: systemd-boot before 258 gives up, and only firmware or a watchdog can go on"""
matrix = pytest.mark.matrix
CASES = [
    pytest.param(OSTREE_GRUB, ("unhealthy", KERNEL), id="ostree-grub"),
    pytest.param(DIRIMAGE, ("init-exits", "never-complete"), id="dirimage-systemd-boot"),
    pytest.param(COMPOSEFS, ("no-module",), id="composefs-systemd-boot"),
    pytest.param(OSTREE_GRUB, (*EVERY, KERNEL), id="ostree-grub-every", marks=matrix),
    pytest.param(OSTREE, EVERY, id="ostree-systemd-boot-every", marks=matrix),
    pytest.param(DIRIMAGE, EVERY, id="dirimage-systemd-boot-every", marks=matrix),
    pytest.param(COMPOSEFS, EVERY, id="composefs-systemd-boot-every", marks=matrix),
]


@pytest.mark.parametrize(("parts", "kinds"), CASES)
def test_the_old_system_is_back_after_bad_updates_and_a_good_one_follows(
    tmp_path: Path, image_layout: Path, registry: RegistryServer, parts: Parts, kinds: Sequence[str]
) -> None:
    images = Images(image_layout)
    first = bad_images.make_first(images, TRIES)
    story = Story(tmp_path, image_layout, parts, Teller())
    with story.teller.step("version 1 is installed"):
        registry.push(image_layout, bad_images.FIRST, NAME)
        story.install(registry)
    recorder = Recorder(tmp_path / "start.img", tmp_path / "writes.log")
    with closing_power(VirtualMachine(story.disk, tmp_path / "machine", write_log=recorder.log)) as machine:
        with story.teller.step("it boots"):
            recorder.begin(story.disk)
            machine.start()
            machine.wait_up()
            assert booted(machine) == first
        with story.teller.step("updates that could not boot are refused"):
            for tag, problem in bad_images.make_refused(images, parts.backend).items():
                registry.push(image_layout, tag, NAME)
                assert problem in machine.run("bootc upgrade", check=False).err
                assert host(machine)["status"]["staged"] is None
        for kind in kinds:
            with story.teller.step(f"an update fails: {kind}"):
                bad = bad_images.make_bad(images, kind, parts.backend)
                registry.push(image_layout, kind, NAME)
                fail(story, machine, recorder, first, Bad(bad, bad_images.KINDS[kind]))
        with story.teller.step("a good update is staged and made the default"):
            bad_images.make_good(images)
            registry.push(image_layout, bad_images.GOOD, NAME)
            recorder.mark(machine)
            assert "Queued for next boot" in story.in_guest(machine, "bootc upgrade")
            recorder.mark(machine)
            machine.poweroff()
    looker = Looker(recorder.finish(images, story.disk), parts, tmp_path)
    with story.teller.step("the power is cut at moments of it"):
        *old, new = look_around_the_switch(looker)
    for moment in old:
        with story.teller.step(f"the disk at {moment} is booted"):
            boot(looker, moment)
    with story.teller.step("right after it is the default"):
        succeed(story, looker.disk(new), images.digest(bad_images.GOOD))


@dataclass(frozen=True)
class Bad:
    """An update that fails."""

    digest: str
    kind: Kind


def fail(story: Story, machine: VirtualMachine, recorder: Recorder, old: str, bad: Bad) -> None:
    """Update to an image that does not boot, and wait for the old one to be back."""
    starts = firmware_starts(machine)
    if story.parts.bootloader == "systemd-boot":
        wait_for_idle_boot(machine)
    assert "Queued for next boot" in story.in_guest(machine, "bootc upgrade")
    if bad.kind.damages_kernel:
        machine.poweroff()
        Disk(story.disk, story.parts.filesystem).truncate_kernel(story.folder / "root")
        recorder.begin(story.disk)
        machine.start()
    else:
        machine.ask_reboot()
    wait_for(machine, old)
    assert firmware_starts(machine) - starts <= TRIES + 1
    machine.run("systemctl start bootc-boot-completed.service")
    failed = host(machine)["status"]["failedDeployments"][0]
    story.teller.say(f"    {failed}")
    assert (failed["kind"], failed["imageDigest"]) == ("boot", bad.digest)
    assert bad.kind.reason in failed["reason"]
    assert "failed to boot" in machine.run("bootc status --format humanreadable").out
    check_units(machine)
    assert bad.digest in story.in_guest(machine, "bootc upgrade")
    assert host(machine)["status"]["staged"] is None


def succeed(story: Story, disk: Disk, good: str) -> None:
    """The good update boots at its first try, and what failed before it is past."""
    with closing_power(VirtualMachine(disk.path, story.folder / "good")) as machine:
        machine.start()
        machine.wait_up()
        assert booted(machine) == good
        assert firmware_starts(machine) == 1
        assert "bootc.counting" in machine.run("cat /proc/cmdline").out
        machine.run("systemctl start bootc-boot-completed.service")
        assert "failedDeployments" not in host(machine)["status"]
        check_units(machine)
        machine.poweroff()
    assert counted(disk, story.parts) == []


def wait_for(machine: VirtualMachine, digest: str) -> None:
    """Wait until this image has booted, through boots of others, which may end at any moment."""
    while True:
        machine.wait_up(PATIENCE)
        try:
            if booted(machine) == digest:
                return
        except MachineError as error:
            if "QEMU ended" in str(error):
                raise


def wait_for_idle_boot(machine: VirtualMachine) -> None:
    """Wait until systemd has unmounted an ESP that nobody uses: an update must not depend on it."""
    deadline = time.monotonic() + PATIENCE
    while esp_is_mounted(machine):
        assert time.monotonic() < deadline
        time.sleep(1)


def booted(machine: VirtualMachine) -> str:
    """The digest of what runs."""
    status: dict[str, Any] = host(machine)["status"]
    return str(status["booted"]["image"]["imageDigest"])


def firmware_starts(machine: VirtualMachine) -> int:
    """How often the firmware has started the disk."""
    return machine.serial_log.read_bytes().count(b"BdsDxe: starting ")


def counted(disk: Disk, parts: Parts) -> list[str]:
    """The names of systemd-boot's entries that have a counter."""
    if parts.bootloader != "systemd-boot":
        return []
    return [name for name in disk.fat("mdir", "-b", "::/loader/entries").decode().split() if "+" in name]
