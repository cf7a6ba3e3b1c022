"""A machine of three directories (sysroot, ESP, /run) that starts by what lies in them, as after a power cut."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from bootc import platform
from bootc.bootloaders.systemd_boot import SystemdBoot
from bootc.durable import DirectoryVolume, Observer
from bootc.events import Event
from bootc.hookspec import BackendPlugin, Context
from bootc.image import ImageReference
from bootc.install import InstallRequest, install
from bootc.machine import Machine
from bootc.state import State
from bootc.steps import Steps
from bootc.storage import Backend
from bootc.system.initramfs import MARKER, PLAN_ARGUMENT
from bootc.testing.power_inode import Seen
from bootc.testing.power_invariants import ROOTS, RootReader, menu
from bootc.transaction import Transaction
from tests.dirimage_system import Registry
from tests.ostree_images import Streams, Tar, base_layer
from tests.unit.toys import NoHooks

REFERENCE = ImageReference.of("registry.example/os:latest")
PROGRAM = b"the bootloader"
VAR = {"lib/data/file": b"initial\n", "lib/mine": b"written here\n"}
VOLUMES = ("root", "esp", "run")


@frozen
class Kind:
    """A backend with its options, as the campaign names it."""

    name: str
    plugin: BackendPlugin[Any]
    options: object
    spare: bool
    """whether the rollback survives the next import"""
    roots: Mapping[str, RootReader] = ROOTS


@functools.cache
def registry(version: str) -> Registry:
    """Version after version of an image of about fifty files in three layers; the second is in all of them."""
    shared = Tar().directory("sysroot").directory("usr/lib/bootc/initramfs").add(str(MARKER), data=b"2\n")
    shared.add("usr/lib/systemd/boot/efi/systemd-bootx64.efi", data=PROGRAM)
    shared.directory("usr/share").directory("usr/share/shared", mode=0o711, xattrs={"user.dir": "x"})
    for number in range(8):
        shared.add(f"usr/share/shared/{number}", data=b"shared %d\n" % number * (400 * number + 1), uid=number)
    shared.symlink("usr/share/link", "shared/1").hardlink("usr/share/hard", "usr/share/shared/2")
    shared.add("usr/lib/device", b"3", devmajor=1, devminor=3).add("usr/lib/pipe", b"6", mode=0o600)
    top = Tar().add("usr/lib/version", data=version.encode()).directory("usr/share/top", gid=5)
    for number in range(6):
        top.add(f"usr/share/top/{number}", data=f"{version} of {number}\n".encode() * (99 * number + 1), mode=0o640)
    top.add("etc/version", data=f"image {version}\n".encode()).directory("etc/conf.d", mode=0o750)
    for name in ("kept", "edited", "removed", "moved"):
        top.add(f"etc/conf.d/{name}", data=f"shipped {name}\n".encode())
    top.add(f"etc/conf.d/only-in-{version}", data=b"\n").symlink("etc/conf.d/link", "kept")
    top.whiteout("usr/share/shared/3")
    return Registry([base_layer(version).data, shared.data, top.data], version)


def edit_etc(etc: Path) -> None:
    """What the administrator did; nothing of it is touched by any version of the image."""
    folder = etc / "conf.d"
    (etc / "mine").write_text("mine")
    os.chown(etc / "mine", 5, 6)
    (etc / "mine").chmod(0o600)
    (folder / "edited").write_text("edited here\n")
    os.setxattr(folder / "edited", "user.note", b"by hand")
    (folder / "removed").unlink()
    (folder / "link").unlink()
    (folder / "link").symlink_to("edited")
    (etc / "own").mkdir()
    (etc / "own").chmod(0o2770)
    (etc / "own/file").write_bytes(b"\0" * 3000)
    os.link(etc / "own/file", etc / "own/second")
    os.mkfifo(etc / "own/pipe")
    (folder / "moved").unlink()
    (folder / "moved").mkdir(0o700)
    (folder / "moved/in").write_text("moved\n")


@define
class CrashMachine:
    """One machine below a folder. `is_running`: it started from what is there, and /run is its own."""

    folder: Path
    kind: Kind
    observer: Observer | None = None
    is_running: bool = False
    events: list[Event] = field(factory=list)
    seen: Seen = field(factory=dict)

    @property
    def volumes(self) -> dict[str, Path]:
        """The directories by the names of their volumes."""
        return {name: self.folder / name for name in VOLUMES}

    @property
    def root(self) -> Path:
        """The sysroot."""
        return self.folder / "root"

    @property
    def machine(self) -> Machine:
        """As a command opens it."""
        return Machine(
            DirectoryVolume(self.root, observer=self.observer),
            self.kind.plugin.state,
            run=self.folder / "run" if self.is_running else None,
            esp=DirectoryVolume(self.folder / "esp", "esp", self.observer),
        )

    @property
    def backend(self) -> Backend:
        """Opened anew."""
        backend: Backend = self.kind.plugin.open(self._context(self.machine), self.kind.options)
        return backend

    def transaction(self, layers: Sequence[bytes] = ()) -> Transaction:
        """Opened anew, as by another process."""
        machine = self.machine
        steps = Steps(
            context=self._context(machine),
            backend=self.kind.plugin.open(self._context(machine), self.kind.options),
            bootloader=SystemdBoot(machine),
            hooks=NoHooks(),
            references=State(machine.sysroot, machine.state).references,
            platform=platform.current(),
            open_streams=lambda source, store: nullcontext(Streams(layers)),
            shielded=nullcontext,
            prune_spool=lambda: 0,
        )
        return Transaction(steps, nullcontext)

    def install(self, version: str) -> None:
        """`bootc install`, on whatever an earlier one left."""
        source = registry(version)
        transaction = self.transaction(source.layers)
        with source.resolve(REFERENCE, transaction.steps.platform) as opened:
            install(transaction, opened, InstallRequest(REFERENCE, ("root=LABEL=root", "rw"), root_ssh_keys=b"key"))

    def stage(self, version: str) -> None:
        """`bootc upgrade`."""
        source = registry(version)
        self.transaction(source.layers).upgrade(source, REFERENCE)

    def shut_down(self) -> None:
        """What the unit does at shutdown."""
        self.transaction().finalize()

    def roll_back(self) -> None:
        """`bootc rollback`."""
        self.transaction().roll_back()

    def collect(self) -> None:
        """Garbage collection."""
        self.transaction().collect_garbage()

    def start(self) -> None:
        """Power on: /run is empty, the menu's default runs, and the first unit publishes."""
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        (self.folder / "run").mkdir(mode=0o755)
        (self.folder / "proc").mkdir(exist_ok=True)
        default = menu(self.folder / "esp")[0]
        (self.folder / "proc/cmdline").write_text(f"quiet {default.arguments}\n")
        self.is_running = True
        self.transaction().publish()

    def go_on(self, cmdline: str | None) -> None:
        """Nothing happened to the machine but that a process was killed."""
        if cmdline is not None:
            (self.folder / "proc").mkdir()
            (self.folder / "proc/cmdline").write_text(cmdline)
        self.is_running = cmdline is not None

    @property
    def cmdline(self) -> str | None:
        """What it was started with."""
        return (self.folder / "proc/cmdline").read_text() if self.is_running else None

    def default(self) -> str | None:
        """The version that the deployments' order puts first."""
        found = (d for d in self.backend.deployer.deployments() if not d.is_staged)
        return next((str(d.image and d.image.version) for d in found), None)

    def bind(self, target: str) -> Path:
        """What the default's mount plan binds there."""
        return next(self.root / words[1] for words in self._plan() if words[0] == "bind" and words[2] == target)

    def read_root(self) -> int:
        """All of the default's root."""
        words = self._plan()[1]
        return self.kind.roots[words[0]](self.root, words, {})

    def _plan(self) -> list[list[str]]:
        plan = menu(self.folder / "esp")[0].arguments.value(PLAN_ARGUMENT)
        return [line.split() for line in (self.root / str(plan)).read_text().splitlines()]

    def _context(self, machine: Machine) -> Context:
        return Context(machine, self.events.append, lambda: None)
