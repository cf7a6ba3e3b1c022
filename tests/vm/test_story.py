"""The main job in virtual machines: with systemd-boot on every backend, and with GRUB and the worst of luck."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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

UNMOVED = ["HEAD latest"]
STORIES = [
    pytest.param(Parts("systemd-boot", "skopeo", "xfs", "ostree"), id="ostree"),
    pytest.param(Parts("systemd-boot", "registry", "ext4", "composefs"), id="composefs"),
    pytest.param(Parts("systemd-boot", "registry", "ext4", "dirimage"), id="dirimage", marks=pytest.mark.matrix),
]


@pytest.mark.parametrize("parts", STORIES)
def test_upgrade_rollback_and_upgrade_again_with_systemd_boot(
    tmp_path: Path, image_layout: Path, registry: RegistryServer, parts: Parts
) -> None:
    story = Story(tmp_path, image_layout, parts, Teller())
    with closing_power(VirtualMachine(story.disk, tmp_path / "machine")) as machine:
        tell(story, registry, machine, again=True)


def test_upgrade_and_rollback_with_grub_through_resets_and_without_a_registry(
    tmp_path: Path, image_layout: Path, port: int
) -> None:
    """A reset after staging boots the old version with nothing staged. Late changes of /etc are carried over by an
    orderly reboot. Reboots and a rollback need no registry."""
    story = Story(tmp_path, image_layout, Parts("grub", "registry", "ext4"), Teller())
    with closing_power(VirtualMachine(story.disk, tmp_path / "machine")) as machine:
        with RegistryServer(tmp_path / "registry", port=port) as registry:
            tell_installation(story, registry, machine)
            assert asked(registry, machine, "bootc upgrade") == UNMOVED
            registry.push(story.layout, "v2", NAME)
            assert asked(registry, machine, "bootc upgrade") == [*UNMOVED, *changed(story.layout)]
            assert host(machine)["status"]["staged"]["image"]["version"] == "2"
            assert asked(registry, machine, "bootc upgrade") == UNMOVED
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


def asked(registry: RegistryServer, machine: VirtualMachine, command: str) -> list[str]:
    """What a command in the guest asks of the registry: method and last part of the path."""
    before = len(registry.requests())
    machine.run(command)
    return [f"{request.method} {request.path.rpartition('/')[2]}" for request in registry.requests()[before:]]


def changed(layout: Path) -> list[str]:
    """What has to be fetched for version 2 by who has version 1: manifest, config and what differs."""
    old, new = manifest_of(layout, "v1"), manifest_of(layout, "v2")
    present = [layer["digest"] for layer in old["layers"]]
    layers = [layer["digest"] for layer in new["layers"] if layer["digest"] not in present]
    assert len(layers) == 1
    return ["GET latest", f"GET {new['config']['digest']}", f"GET {layers[0]}"]


def manifest_of(layout: Path, tag: str) -> dict[str, Any]:
    """The manifest that a tag of an OCI layout names."""
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    named = next(e["digest"] for e in entries if e["annotations"]["org.opencontainers.image.ref.name"] == tag)
    found: dict[str, Any] = json.loads((layout / "blobs/sha256" / named.partition(":")[2]).read_text())
    return found
