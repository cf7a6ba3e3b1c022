"""A sysroot that runs: commands see one of its deployments as `/`, as after a boot of it.

libostree takes for booted what `/` is, by device and inode, where `/run/ostree-booted` is there. So a command that runs
in a chroot, in a mount namespace of its own, sees a booted system: `/` is a deployment, `/sysroot` the disk, `/run` is
kept from command to command. Programs and Python come from this machine's /usr, mounted over the deployment's own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from attrs import frozen

from tests.ostree_images import Tar
from tests.unit.cli_runs import Run

_LINKS = {"ostree": "sysroot/ostree", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
_DIRECTORIES = ("sysroot", "proc", "dev", "boot", "etc", "etc/containers")
_POLICY = b'{"default": [{"type": "insecureAcceptAnything"}]}'


def running_layer() -> bytes:
    """What an image must have beyond `os_layers`, so that commands can run on it."""
    tar = Tar()
    for name in _DIRECTORIES:
        tar.directory(name)
    for name, target in _LINKS.items():
        tar.symlink(name, target)
    return tar.add("etc/containers/policy.json", data=_POLICY).data


@frozen
class BootedSysroot:
    """The newest deployment of a mounted sysroot, as if it had been booted."""

    root: Path
    """where the disk is mounted"""
    mounts: tuple[Path, ...]
    """directories of this machine that are seen inside, under the same names"""
    folder: Path
    """for /run, and for the place that becomes `/`"""

    @classmethod
    def boot(cls, root: Path, folder: Path, *mounts: Path) -> BootedSysroot:
        """Everything in /run is gone, as after a reboot."""
        python = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]}
        outside = tuple(path for path in (*sorted(python), *mounts) if not path.is_relative_to("/usr"))
        booted = cls(root, outside, folder)
        for name in ("top", "run"):
            (folder / name).mkdir()
        (booted.run / "ostree-booted").touch()
        booted._make_mount_points()
        return booted

    @property
    def run(self) -> Path:
        """Its /run."""
        return self.folder / "run"

    @property
    def deployment(self) -> Path:
        """What is `/` inside."""
        (entry, *_) = sorted((self.root / "boot/loader/entries").iterdir(), reverse=True)
        link = next(word for word in entry.read_text().split() if word.startswith("ostree="))
        return (self.root / link.removeprefix("ostree=/")).resolve()

    @property
    def _var(self) -> Path:
        """What is `/var` inside."""
        return self.root / "ostree/deploy/default/var"

    def command(self, *words: str) -> tuple[str, ...]:
        """The command line, for this machine, of `bootc WORDS` in there; the process that it starts becomes bootc."""
        return ("unshare", "-m", "sh", "-c", self._script(), "sh", sys.executable, "-m", "bootc", *words)

    def bootc(self, *words: str) -> Run:
        """Run `bootc WORDS`."""
        done = subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=60,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def environment(self) -> dict[str, str]:
        """Of commands in there: this machine may be a container, the booted system is none; no systemd runs there."""
        kept = {name: value for name, value in os.environ.items() if name != "container"}
        return {**kept, "TMPDIR": "/run", "BOOTC_DEBUG": "", "SYSTEMD_OFFLINE": "1"}

    def _script(self) -> str:
        top, root = self.folder / "top", self.root
        binds = {
            "": self.deployment,
            "/usr": Path("/usr"),
            "/sysroot": root,
            "/boot": root / "boot",
            "/var": self._var,
            "/run": self.run,
            **{str(path): path for path in self.mounts},
        }
        lines = [shlex.join(("mount", "--bind", str(source), f"{top}{at}")) for at, source in binds.items()]
        lines += [shlex.join(("mount", "--rbind", source, f"{top}{source}")) for source in ("/proc", "/dev")]
        return " && ".join((*lines, f'exec chroot {shlex.quote(str(top))} "$@"'))

    def _make_mount_points(self) -> None:
        top = self.deployment
        subprocess.run(["chattr", "-i", top], check=True)
        for path in self.mounts:
            below = self._var / path.relative_to("/var") if path.is_relative_to("/var") else top / path.relative_to("/")
            below.mkdir(parents=True, exist_ok=True)
        subprocess.run(["chattr", "+i", top], check=True)
