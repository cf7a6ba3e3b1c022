"""Sysroots of the backend dirimage, made by the command as users type it; and one of them as if it had been booted.

`BootedDirimage` runs the real script of the initramfs on the mounted disk, in a mount namespace of its own, where
/proc/cmdline says what the boot entry does. Programs and Python come from this machine's /usr.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from tests.integration.booted import running_layer
from tests.integration.sysroots import DISK_SIZE, Layout, make_disk, mounted, os_layers
from tests.ostree_images import Normal, Tar, normal_form
from tests.unit.cli_runs import Run, bootc

SCRIPT = Path(__file__).parents[2] / "bootc/system/initramfs/mount-root"
STATE = "dirimage/state.json"
_UNFINISHED = re.compile(r"dirimage/slots/[^/]+\.partial(/|$)")
"""what an import that failed leaves for the next one"""
_UNCOMPARED = ("lost+found", "dirimage/layers", "dirimage/bootc/spool", "dirimage/bootc/lock", STATE)
"""what was only fetched, the lock's own file, and the state, of which a number that was given out may stay"""


def dirimage_layers(version: str, ballast: int = 0) -> list[bytes]:
    """The layers of an image that this backend can boot."""
    support = Tar().directory("sysroot").directory("usr/lib/bootc/initramfs")
    return [*os_layers(version, ballast), support.add("usr/lib/bootc/initramfs/version", data=b"2\n").data]


def install_dirimage(root: Path, source: str, config: Path | None = None) -> None:
    """Install an image to a mounted filesystem."""
    command = (*(("--config", str(config)) if config else ()), "install", "to-filesystem", "--source-imgref", source)
    run = bootc(*command, "--bootloader", "none", "--skip-finalize", "--backend", "dirimage", str(root))
    assert run.code == 0, run.err
    clean = bootc("--sysroot", str(root), "internals", "cleanup")
    assert clean.code == 0, clean.err


def dirimage_disk(folder: Path, layout: Layout, tag: str, *options: str, size: int = DISK_SIZE) -> Path:
    """A disk (`options` of `make_disk`) on which an image of a layout was installed."""
    disk = make_disk(folder / "disk", size, *options)
    with mounted(disk, folder / "target") as root:
        install_dirimage(root, layout.reference(tag))
    shutil.rmtree(folder / "target")
    return disk


@frozen
class Snapshot:
    """All of a sysroot that a failed command must leave as it was."""

    files: Normal
    order: object
    pinned: object


def snapshot(root: Path) -> Snapshot:
    """What a sysroot is at this moment."""
    state = json.loads((root / STATE).read_bytes())
    files = {
        path: state
        for path, state in normal_form(root).items()
        if not path.startswith(_UNCOMPARED) and not _UNFINISHED.match(path)
    }
    return Snapshot(files, state["order"], state["pinned"])


@contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """Assert that what is done inside leaves the sysroot as it was."""
    before = snapshot(root)
    yield
    assert snapshot(root) == before


@frozen
class BootedDirimage:
    """The default deployment of a mounted sysroot, as if it had been booted."""

    root: Path
    """where the disk is mounted"""
    mounts: tuple[Path, ...]
    """directories of this machine that are seen inside, under the same names"""
    folder: Path
    """for /run, and for the place that becomes `/`"""
    id: str
    """the deployment's"""

    @classmethod
    def boot(cls, root: Path, folder: Path, *mounts: Path) -> BootedDirimage:
        """Everything in /run is gone, as after a reboot."""
        python = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]}
        outside = tuple(path for path in (*sorted(python), *mounts) if not path.is_relative_to("/usr"))
        booted = cls(root, outside, folder, json.loads((root / STATE).read_bytes())["order"][0])
        shutil.rmtree(folder / "run", ignore_errors=True)
        for name in ("top", "run"):
            (folder / name).mkdir(exist_ok=True)
        plan = f"dirimage/deployments/{booted.id}/mounts"
        (folder / "cmdline").write_text(f"bootc.deployment={booted.id} bootc.plan={plan}\n")
        booted._make_mount_points()
        return booted

    @property
    def run(self) -> Path:
        """Its /run."""
        return self.folder / "run"

    def bootc(self, *words: str) -> Run:
        """Run `bootc WORDS` in there."""
        return self.execute(sys.executable, "-m", "bootc", *words)

    def execute(self, *command: str) -> Run:
        """Run a command in there."""
        kept = {name: value for name, value in os.environ.items() if name != "container"}
        done = subprocess.run(
            ["unshare", "-m", "sh", "-ec", self._script(), "sh", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**kept, "TMPDIR": "/run", "BOOTC_DEBUG": ""},
            timeout=60,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def _script(self) -> str:
        top = str(self.folder / "top")
        binds = {"/usr": "/usr", "/run": str(self.run), **{str(path): str(path) for path in self.mounts}}
        lines = [
            ("mount", "--bind", str(self.run), "/run"),
            ("mount", "--bind", str(self.root), top),
            ("mount", "--bind", str(self.folder / "cmdline"), "/proc/cmdline"),
            ("sh", str(SCRIPT), top),
            *(("mount", "--bind", source, f"{top}{at}") for at, source in binds.items()),
            *(("mount", "--rbind", source, f"{top}{source}") for source in ("/proc", "/dev")),
        ]
        return "\n".join((*map(shlex.join, lines), f'exec chroot {shlex.quote(top)} "$@"'))

    def _make_mount_points(self) -> None:
        slot = json.loads((self.root / f"dirimage/deployments/{self.id}/deployment.json").read_bytes())["image"]
        tree = self.root / "dirimage/slots" / slot / "tree"
        for path in self.mounts:
            below = self.root / "dirimage/var/default" if path.is_relative_to("/var") else tree
            inside = path.relative_to("/var" if path.is_relative_to("/var") else "/")
            (below / inside).mkdir(parents=True, exist_ok=True)


def running_layers(version: str, ballast: int = 0) -> list[bytes]:
    """The layers of an image on which commands can run, too."""
    return [*dirimage_layers(version, ballast), running_layer()]
