"""The main job, step by step: install an image to a disk, boot it, upgrade it, roll it back. Demo and tests tell it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import RegistryServer
from tests.vm.machine import Outcome, VirtualMachine

ROOT = Path(__file__).resolve().parents[2]
PORT = 5000
"""the registry's, which the sample image's configuration names"""
NAME = "debian-bootc:latest"


@dataclass(frozen=True)
class Parts:
    """What the story is told with."""

    bootloader: str = "grub"
    fetcher: str = "registry"
    filesystem: str = "ext4"
    backend: str = "ostree"
    arguments: tuple[str, ...] = ()


@dataclass
class Teller:
    """Shows what happens, step by step, with times."""

    say: Callable[[str], None] = lambda text: print(text, flush=True)
    since: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step of the story."""
        started = time.monotonic()
        self.say(f"==> {title}")
        yield
        self.say(f"    … {time.monotonic() - started:.1f} s")

    def show(self, command: str, text: str) -> None:
        """A command and what it printed."""
        self.say(f"    $ {command}")
        for line in text.rstrip().splitlines():
            self.say(f"      {line}")


def bootc() -> list[str]:
    """The command of the environment in which this runs."""
    return [sys.executable, "-m", "bootc"]


def build_image(folder: Path, suite: str) -> Path:
    """Build the sample image with this checkout in it; the OCI layout's path. Cached by what it is made of."""
    wheels = folder / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    build = [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "-w", str(wheels), str(ROOT)]
    subprocess.run(build, check=True)
    layout = folder / f"layout-{suite}"
    recipe = ["/usr/bin/python3", str(ROOT / "images/debian/build.py"), "--suite", suite, "--output", str(layout)]
    subprocess.run([*recipe, "--wheel", str(next(wheels.glob("*.whl")))], check=True)
    return layout


@dataclass
class Story:
    """One machine's life. `folder` holds the disk, the registry and the logs."""

    folder: Path
    layout: Path
    parts: Parts
    teller: Teller

    @property
    def disk(self) -> Path:
        """The machine's disk, a sparse file."""
        return self.folder / "disk.img"

    def install(self, registry: RegistryServer, size: str = "6G") -> Outcome:
        """Install version 1 to the disk, from the registry, from outside of the image."""
        subprocess.run(["truncate", "-s", size, str(self.disk)], check=True)
        configuration = self.folder / "host.toml"
        configuration.write_text(
            f'[fetchers.registry]\ninsecure = ["{registry.address}"]\n'
            f'[fetchers.skopeo]\ninsecure = ["{registry.address}"]\n'
        )
        return self.on_host(
            "--config",
            str(configuration),
            "--fetcher",
            self.parts.fetcher,
            "--backend",
            self.parts.backend,
            "install",
            "to-disk",
            "--via-loopback",
            "--wipe",
            "--filesystem",
            self.parts.filesystem,
            "--bootloader",
            self.parts.bootloader,
            "--source-imgref",
            f"docker://{registry.address}/{NAME}",
            "--target-imgref",
            f"10.0.2.2:{PORT}/{NAME}",
            *self.parts.arguments,
            str(self.disk),
        )

    def on_host(self, *arguments: str) -> Outcome:
        """Run bootc on this machine; fails if it does."""
        done = subprocess.run([*bootc(), *arguments], capture_output=True, text=True, env=_environment())
        if done.returncode:
            raise AssertionError(
                f"bootc {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        self.teller.show(f"bootc {' '.join(arguments)}", done.stdout + done.stderr)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def in_guest(self, machine: VirtualMachine, command: str) -> str:
        """Run a command in the guest, show it, and give its output."""
        outcome = machine.run(command)
        self.teller.show(command, outcome.out + outcome.err)
        return outcome.out


@contextmanager
def closing_power(machine: VirtualMachine) -> Iterator[VirtualMachine]:
    """Cut the machine's power in the end, whatever happened."""
    try:
        yield machine
    finally:
        machine.cut()


def host(machine: VirtualMachine) -> dict[str, Any]:
    """The guest's Host document."""
    document: dict[str, Any] = json.loads(machine.run("bootc status --json").out)
    return document


def version(machine: VirtualMachine) -> str:
    """The version label of what the guest runs."""
    return str(host(machine)["status"]["booted"]["image"]["version"])


def use_fetcher(machine: VirtualMachine, fetcher: str) -> None:
    """Choose the guest's fetcher by configuration."""
    text = f'[bootc]\nfetcher = "{fetcher}"\n[fetchers.skopeo]\ninsecure = ["10.0.2.2:{PORT}"]\n'
    machine.write_file("/etc/bootc/config.d/60-fetcher.toml", text)


def tell(story: Story, registry: RegistryServer, machine: VirtualMachine) -> None:
    """The whole story; every claim is checked."""
    step, guest = story.teller.step, story.in_guest
    with step("the registry gets version 1"):
        registry.push(story.layout, "v1", NAME)
    with step(f"version 1 is installed to a disk: {story.parts.bootloader} on {story.parts.filesystem}"):
        story.install(registry)
    with step("the disk boots, without any container around it"):
        machine.start()
        machine.wait_up()
        guest(machine, "bootc status")
        assert version(machine) == "1"
    with step("the user changes /etc and /var, and the registry gets version 2"):
        guest(machine, "echo mine > /etc/mine.conf; echo '# mine' >> /etc/hostname; echo data > /var/lib/mine")
        guest(machine, "cat /etc/demo.conf")
        registry.push(story.layout, "v2", NAME)
    if story.parts.fetcher != "registry":
        use_fetcher(machine, story.parts.fetcher)
    with step("the guest looks for an update and stages it"):
        guest(machine, "bootc upgrade --check")
        guest(machine, "bootc upgrade")
        guest(machine, "bootc status")
        assert host(machine)["status"]["staged"]["image"]["version"] == "2"
    with step("it reboots into version 2: the changes of the user are there, and the new default too"):
        machine.reboot()
        assert version(machine) == "2"
        assert guest(machine, "cat /etc/mine.conf /var/lib/mine") == "mine\ndata\n"
        assert "# mine" in guest(machine, "cat /etc/hostname")
        assert "2" in guest(machine, "cat /etc/demo.conf")
    with step("it rolls back and reboots into version 1"):
        guest(machine, "bootc rollback")
        machine.reboot()
        guest(machine, "bootc status")
        assert version(machine) == "1"
        assert host(machine)["status"]["rollback"]["image"]["version"] == "2"
    with step("power off"):
        machine.poweroff()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ""}
