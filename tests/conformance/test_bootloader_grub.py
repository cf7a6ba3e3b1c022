"""The bootloader `grub` against the contract of bootloaders."""

import re
import subprocess

import pytest

from bootc.bootloaders import grub_block, grub_config
from bootc.bootloaders.grub import Grub
from bootc.deployment import DeploymentId
from bootc.durable import DirectoryVolume
from bootc.hookspec import Capability
from bootc.machine import Machine
from bootc.testing.bootloader import BootloaderSuite, MenuKind, OpenBootloader, Start


class TestGrub(BootloaderSuite):
    menus = frozenset({MenuKind.DIRECTORY})
    capabilities = frozenset({Capability.BOOT_COUNTING})

    @pytest.fixture
    def open_bootloader(self) -> OpenBootloader:
        return Grub

    @pytest.fixture
    def start(self) -> Start:
        return start_first


def start_first(machine: Machine) -> DeploymentId:
    """What the script in grub.cfg does, with GRUB's own program for the block: take a try off if the first entry has
    the block's key, or without a try left start the next one."""
    assert isinstance(machine.esp, DirectoryVolume)
    block, listed = machine.esp.root / grub_config.BLOCK, {}
    if block.exists():
        lines = subprocess.run(("grub-editenv", block, "list"), check=True, capture_output=True, text=True).stdout
        listed = dict(line.split("=", 1) for line in lines.splitlines())
    for options in _options(machine):
        key = re.search(rf" {grub_block.KEY}=(\S+)", " " + options)
        place = re.search(r" kit=/deploy/(\S+)", " " + options)
        assert place is not None
        if key is None or key[1] != listed.get("bootc_key"):
            return DeploymentId(place[1])
        left = int(listed["bootc_left"])
        if left:
            subprocess.run(("grub-editenv", block, "set", f"bootc_left={left - 1}"), check=True)
            return DeploymentId(place[1])
    raise AssertionError("nothing starts")


def _options(machine: Machine) -> list[str]:
    """The kernel arguments of all entries, in the order of the menu."""
    loader = machine.root / "boot/loader"
    if (loader / "syslinux.cfg").exists():
        return re.findall(r"^\s*APPEND (.*)$", (loader / "syslinux.cfg").read_text(), re.MULTILINE)
    files = sorted((loader / "entries").glob("*.conf"), key=lambda path: -int(path.stem.rpartition("-")[2]))
    return [found for path in files for found in re.findall(r"^options (.*)$", path.read_text(), re.MULTILINE)]
