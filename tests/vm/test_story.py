"""The main job in virtual machines: with GRUB and the worst of luck, and with systemd-boot and skopeo."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import RegistryServer
from tests.vm.machine import VirtualMachine
from tests.vm.story import (
    NAME,
    Parts,
    Story,
    Teller,
    change_things,
    check_rolled_back,
    check_things,
    closing_power,
    host,
    tell,
    tell_installation,
    version,
)

pytestmark = [pytest.mark.vm, pytest.mark.root]


def test_upgrade_and_rollback_with_systemd_boot_and_skopeo(
    tmp_path: Path, image_layout: Path, registry: RegistryServer
) -> None:
    story = Story(tmp_path, image_layout, Parts("systemd-boot", "skopeo", "xfs"), Teller())
    with closing_power(VirtualMachine(story.disk, tmp_path / "machine")) as machine:
        tell(story, registry, machine)


def test_upgrade_and_rollback_with_grub_through_resets_and_without_a_registry(
    tmp_path: Path, image_layout: Path, port: int
) -> None:
    """A reset after staging boots the old version with nothing staged. Late changes of /etc are carried over by an
    orderly reboot. Reboots and a rollback need no registry."""
    story = Story(tmp_path, image_layout, Parts("grub", "registry", "ext4"), Teller())
    with closing_power(VirtualMachine(story.disk, tmp_path / "machine")) as machine:
        with RegistryServer(tmp_path / "registry", port=port) as registry:
            tell_installation(story, registry, machine)
            registry.push(story.layout, "v2", NAME)
            story.in_guest(machine, "bootc upgrade")
            assert host(machine)["status"]["staged"]["image"]["version"] == "2"
            machine.cut()
            machine.start()
            machine.wait_up()
            assert version(machine) == "1"
            assert host(machine)["status"]["staged"] is None
            story.in_guest(machine, "bootc upgrade")
            change_things(story, machine)
        machine.reboot()
        check_things(story, machine)
        story.in_guest(machine, "bootc rollback")
        machine.reboot()
        check_rolled_back(story, machine)
        machine.poweroff()
