"""The main job, step by step: install an image to a disk, boot it, upgrade it, roll it back. Demo and tests tell it."""

from __future__ import annotations

import json
import os
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
NAME = "debian-bootc:latest"


@dataclass(frozen=True)
class Parts:
    """What the story is told with."""

    bootloader: str | None = None
    """None: the usual one of the backend"""
    fetcher: str = "registry"
    filesystem: str = "ext4"
    backend: str = "ostree"
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.backend} on {self.filesystem}, {self.bootloader or 'its usual bootloader'}, {self.fetcher}"


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


def build_wheel(folder: Path) -> Path:
    """This checkout as a wheel. Equal sources give an equal file, so that an unchanged project costs no new image."""
    folder.mkdir(parents=True, exist_ok=True)
    builder = [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(builder, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1577836800"})
    return next(folder.glob("*.whl"))


def build_image(folder: Path, suite: str, port: int) -> Path:
    """Build the sample image with this checkout in it, trusting a registry on this port; the OCI layout's path."""
    layout = folder / f"layout-{suite}"
    recipe = ["/usr/bin/python3", str(ROOT / "images/debian/build.py"), "--suite", suite, "--output", str(layout)]
    options = ["--wheel", str(build_wheel(folder / "wheel")), "--insecure-registry", f"10.0.2.2:{port}"]
    subprocess.run([*recipe, *options], check=True)
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
            *(("--bootloader", self.parts.bootloader) if self.parts.bootloader else ()),
            "--source-imgref",
            f"docker://{registry.address}/{NAME}",
            "--target-imgref",
            f"10.0.2.2:{registry.port}/{NAME}",
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


def use_fetcher(machine: VirtualMachine, fetcher: str, port: int) -> None:
    """Choose the guest's fetcher by configuration."""
    text = f'[bootc]\nfetcher = "{fetcher}"\n[fetchers.skopeo]\ninsecure = ["10.0.2.2:{port}"]\n'
    machine.write_file("/etc/bootc/config.d/60-fetcher.toml", text)


def tell(story: Story, registry: RegistryServer, machine: VirtualMachine, *, again: bool = False) -> None:
    """The whole story; every claim is checked. `again`: after the rollback it is upgraded once more."""
    step, guest = story.teller.step, story.in_guest
    tell_installation(story, registry, machine)
    with step("the user changes /etc and /var, and the registry gets version 2"):
        change_things(story, machine)
        registry.push(story.layout, "v2", NAME)
    with step("the guest looks for an update and stages it"):
        leave_boot_alone(machine)
        guest(machine, "bootc upgrade --check")
        guest(machine, "bootc upgrade")
        guest(machine, "bootc status --format humanreadable")
        assert host(machine)["status"]["staged"]["image"]["version"] == "2"
    with step("it reboots into version 2: the changes of the user are there, and the new default too"):
        machine.reboot()
        check_things(story, machine)
    with step("it rolls back and reboots into version 1"):
        guest(machine, "bootc rollback")
        machine.reboot()
        check_rolled_back(story, machine)
    if again:
        with step("it is upgraded again, and reboots into version 2"):
            guest(machine, "bootc upgrade")
            machine.reboot()
            check_things(story, machine)
            assert host(machine)["status"]["rollback"]["image"]["version"] == "1"
    with step("power off"):
        machine.poweroff()


def tell_installation(story: Story, registry: RegistryServer, machine: VirtualMachine) -> None:
    """Version 1 is installed and boots."""
    with story.teller.step("the registry gets version 1"):
        registry.push(story.layout, "v1", NAME)
    with story.teller.step(f"it is installed to a disk: {story.parts}"):
        story.install(registry)
    with story.teller.step("the disk boots, without any container around it"):
        machine.start()
        machine.wait_up()
        story.in_guest(machine, "bootc status --format humanreadable")
        assert version(machine) == "1"
        assert machine.run("systemctl is-active bootc-finalize-staged.service").out == "active\n"
        check_units(machine)
    if story.parts.fetcher != "registry":
        use_fetcher(machine, story.parts.fetcher, registry.port)


def check_units(machine: VirtualMachine) -> None:
    """None of our units failed."""
    assert machine.run("systemctl list-units --failed --no-legend 'bootc*' 'ostree*'").out == ""


def leave_boot_alone(machine: VirtualMachine) -> None:
    """What systemd does when nobody has used an ESP for two minutes that it mounted on demand."""
    if machine.run("systemctl is-active boot.automount", check=False).out == "active\n":
        machine.run("systemctl stop boot.mount")
        assert not esp_is_mounted(machine)


def esp_is_mounted(machine: VirtualMachine) -> bool:
    """Whether the ESP is mounted in the guest."""
    return bool(machine.run("findmnt -n -t vfat", check=False).out)


def change_things(story: Story, machine: VirtualMachine) -> None:
    """What a user does: a new file and a changed one in /etc, data in /var."""
    story.in_guest(machine, "echo mine > /etc/mine.conf; echo '# mine' >> /etc/hostname; echo data > /var/lib/mine")
    story.in_guest(machine, "cat /etc/demo.conf")


def check_things(story: Story, machine: VirtualMachine) -> None:
    """Version 2 runs, with all that the user did, and with its own new default."""
    assert version(machine) == "2"
    assert story.in_guest(machine, "cat /etc/mine.conf /var/lib/mine") == "mine\ndata\n"
    assert "# mine" in story.in_guest(machine, "cat /etc/hostname")
    assert "version 2" in story.in_guest(machine, "cat /etc/demo.conf")
    assert machine.run("findmnt -no OPTIONS --target /usr").out.startswith("ro")
    check_units(machine)


def check_rolled_back(story: Story, machine: VirtualMachine) -> None:
    """Version 1 runs, and version 2 is what one could go back to."""
    story.in_guest(machine, "bootc status --format humanreadable")
    assert version(machine) == "1"
    assert host(machine)["status"]["rollback"]["image"]["version"] == "2"
    assert machine.run("cat /var/lib/mine").out == "data\n"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ""}
