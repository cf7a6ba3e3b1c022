"""The long form of the crash run: every moment of an update, on every pair.

`pytest tests/vm/test_crash_run.py --long`. What is looked at is told in `crash_run.py`; `test_bad_deployments.py` has
the short form.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import RegistryServer
from tests.vm import bad_images
from tests.vm.crash_run import Looker, Recorder, Recording, boot, look_at_all
from tests.vm.derived import Images
from tests.vm.machine import VirtualMachine
from tests.vm.story import NAME, Parts, Story, Teller, closing_power

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.long, pytest.mark.usefixtures("own_mounts")]

PAIRS = [
    Parts("grub", "registry", "ext4", "ostree"),
    Parts("grub", "registry", "xfs", "ostree"),
    Parts("systemd-boot", "registry", "ext4", "ostree"),
    Parts("systemd-boot", "registry", "ext4", "dirimage"),
    Parts("systemd-boot", "registry", "xfs", "dirimage"),
    Parts("systemd-boot", "registry", "btrfs", "dirimage"),
    Parts("systemd-boot", "registry", "ext4", "composefs"),
]


@pytest.mark.parametrize("parts", PAIRS, ids=lambda p: f"{p.backend}-{p.bootloader}-{p.filesystem}")
def test_every_cut_of_the_power_leaves_the_old_or_the_new_system(
    tmp_path: Path, image_layout: Path, registry: RegistryServer, parts: Parts
) -> None:
    story = Story(tmp_path, image_layout, parts, Teller())
    with story.teller.step("an update is recorded"):
        recording = record(story, registry)
    looker = Looker(recording, parts, tmp_path)
    with story.teller.step("the power is cut"):
        chosen = look_at_all(looker)
    story.teller.say(f"    {len(looker.looked)} moments, {sum(looker.looked.values())} of them with the new default")
    for moment in chosen:
        with story.teller.step(f"the disk at {moment} is booted"):
            boot(looker, moment)


def record(story: Story, registry: RegistryServer) -> Recording:
    """Install the first image, boot it, stage the good one, and shut down."""
    images = Images(story.layout)
    bad_images.make_first(images, tries=1)
    bad_images.make_good(images)
    registry.push(story.layout, bad_images.FIRST, NAME)
    story.install(registry)
    recorder = Recorder(story.folder / "start.img", story.folder / "writes.log")
    recorder.begin(story.disk)
    with closing_power(VirtualMachine(story.disk, story.folder / "machine", write_log=recorder.log)) as machine:
        machine.start()
        machine.wait_up()
        registry.push(story.layout, bad_images.GOOD, NAME)
        recorder.mark(machine)
        machine.run("bootc upgrade")
        recorder.mark(machine)
        machine.poweroff()
    return recorder.finish(images, story.disk)
