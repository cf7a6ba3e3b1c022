"""The installed command, killed before any of its system calls, on a real filesystem; for every backend alike.

A sysroot that is not booted is brought from version 1 to version 2. Whatever is left, `bootc status` tells one of the
two states, the old deployment is as it was, and the same command, a rollback and a cleaning work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, evolve

from bootc.session import Selection, Session
from bootc.testing.power import Report
from bootc.testing.power_invariants import leftovers, require_undamaged
from bootc.testing.power_kill import Killing
from tests.integration.sysroots import Layout, copy_mounted, images, install, make_disk, mounted, os_layers
from tests.ostree_images import Normal, Tar, normal_form
from tests.unit.cli_runs import bootc

BACKENDS = ("ostree", "dirimage", "composefs")


@define
class Update:
    """`bootc switch` from version 1 to version 2."""

    backend: str
    folder: Path
    layout: Layout
    disk: Path
    before: Normal
    after: int = 0
    """how many files there are when all is done"""

    @classmethod
    def of(cls, backend: str, folder: Path) -> Update:
        """Install version 1, and see what an update, a rollback and a cleaning leave."""
        layout = Layout(folder / "layout")
        for version in "12":
            layout.add(version, _layers(version))
        disk = make_disk(folder / "disk")
        with mounted(disk, folder / "target") as root:
            run = install(root, layout.reference("1"), "--skip-finalize", "--backend", backend)
            assert run.code == 0, run.err
            before = _kept(root, backend)
        update = cls(backend, folder, layout, disk, before)
        with update.system() as root:
            update.go_on(root)
            return evolve(update, after=_weight(root))

    @contextmanager
    def system(self) -> Iterator[Path]:
        """The sysroot, anew."""
        with copy_mounted(self.disk, self.folder) as root:
            yield root

    def command(self, root: Path) -> tuple[str, ...]:
        """What is killed."""
        words = ("--sysroot", str(root), "switch", "--transport", "oci", self.layout.name("2"))
        return (sys.executable, "-m", "bootc", *words)

    def killed(self, *, most: int | None = None, seed: int = 0) -> Report:
        """Kill it before each call, or before some."""
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {"TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return Killing(self.system, self.command, self.folder, environment).run(self.check, most=most, seed=seed)

    def check(self, root: Path, number: int) -> None:
        """I1 to I7, as far as they can be told without a boot."""
        found = images(root)
        assert found in (["1"], ["2", "1"]), f"I3: status tells {found}"
        assert not _changes(self.before, _kept(root, self.backend)), "I2, I5: the old deployment or /var changed"
        self.go_on(root)
        assert _weight(root) == self.after, f"I6: {_weight(root)} files are left instead of {self.after}"

    def go_on(self, root: Path) -> None:
        """The same command, the check of everything, a rollback, a cleaning."""
        again = bootc(*self.command(root)[3:])
        assert again.code == 0, f"I6: {again.err}"
        self._require_sound(root, ["2", "1"])
        back = bootc("--sysroot", str(root), "rollback")
        assert back.code == 0, f"I6: {back.err}"
        cleaned = bootc("--sysroot", str(root), "internals", "cleanup")
        assert cleaned.code == 0, f"I6: {cleaned.err}"
        self._require_sound(root, ["1", "2"])
        left = [path for path in leftovers(root) if "/deploy/" not in path]
        assert not left, f"I7: {left}"

    def _require_sound(self, root: Path, order: list[str]) -> None:
        assert images(root) == order, f"I1: {images(root)} instead of {order}"
        system = Session(Selection(sysroot=root), lambda event: None).reader()
        assert system, "I3: no system is found"
        require_undamaged(system.backend)


def _layers(version: str) -> list[bytes]:
    support = Tar().directory("sysroot").directory("usr/lib/bootc/initramfs")
    return [*os_layers(version), support.add("usr/lib/bootc/initramfs/version", data=b"2\n").data]


def _kept(root: Path, backend: str) -> Normal:
    """Deployments with their /etc, what they are made of, and /var."""
    places = {"ostree": "ostree/deploy", "dirimage": "dirimage", "composefs": "composefs"}
    return normal_form(root / places[backend])


def _changes(before: Normal, now: Normal) -> list[str]:
    """What was there and is not as it was; records of the backend itself may change, and layers may go."""
    return [
        path
        for path, state in before.items()
        if now.get(path) != state and state[5] is not None and not path.startswith(("bootc/", "layers/", "state"))
    ]


def _weight(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))
