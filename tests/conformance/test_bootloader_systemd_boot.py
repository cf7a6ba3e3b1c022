"""The bootloader `systemd-boot` against the contract of bootloaders."""

import re

import pytest

from bootc.bootloaders.systemd_boot import SystemdBoot
from bootc.deployment import DeploymentId
from bootc.durable import DirectoryVolume
from bootc.hookspec import Capability
from bootc.machine import Machine
from bootc.testing.bootloader import BootloaderSuite, OpenBootloader, Start

_NAME = re.compile(r"(?P<name>.*?)(\+(?P<left>\d+)(-(?P<done>\d+))?)?\.conf")


class TestSystemdBoot(BootloaderSuite):
    capabilities = frozenset({Capability.BOOT_COUNTING})

    @pytest.fixture
    def open_bootloader(self) -> OpenBootloader:
        return SystemdBoot

    @pytest.fixture
    def start(self) -> Start:
        return start_first


def start_first(machine: Machine) -> DeploymentId:
    """What systemd-boot does: sort the entries of our sort-key by version, the highest first, those without tries left
    last; take a try from the first, in its file's name (systemd-boot(7), "Boot counting")."""
    assert isinstance(machine.esp, DirectoryVolume)
    found = []
    for path in (machine.esp.root / "loader/entries").glob("*.conf"):
        keys = dict(line.split(" ", 1) for line in path.read_text().splitlines() if not line.startswith("#"))
        parts = _NAME.fullmatch(path.name)
        assert parts is not None
        if keys["sort-key"] == "bootc":
            found.append((parts["left"] == "0", -int(keys["version"].partition("-")[0]), path, parts, keys))
    _, _, path, parts, keys = min(found, key=lambda one: one[:2])
    if parts["left"] not in (None, "0"):
        left, done = int(parts["left"]) - 1, int(parts["done"] or 0) + 1
        path.rename(path.with_name(f"{parts['name']}+{left}-{done}.conf"))
    place = re.search(r" kit=/deploy/(\S+)", " " + keys["options"])
    assert place is not None
    return DeploymentId(place[1])
