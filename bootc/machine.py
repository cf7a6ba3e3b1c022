"""The machine: its sysroot, its ESP, /run, and the only place that runs programs."""

from __future__ import annotations

import enum
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from attrs import field, frozen

from bootc.durable import DirectoryVolume, Volume
from bootc.errors import MissingProgramError, ProgramError

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
}


Child: TypeAlias = subprocess.Popen[bytes]
"""A program that runs in the background (`Command.start`)."""


class Firmware(enum.Enum):
    """How the machine starts."""

    UEFI = "uefi"
    BIOS = "bios"


@frozen
class Filesystem:
    """A mounted filesystem: its type as mount(8) names it, and its UUID."""

    type: str
    uuid: str | None


@frozen
class Machine:
    """What a plugin may touch. Opened once per command; plain values and volumes."""

    sysroot: DirectoryVolume
    """the physical root: `/sysroot` of a booted system, or the mounted target"""
    state: PurePosixPath
    """directory of the core's own records, below the sysroot"""
    run: Path | None = None
    """`/run` if this sysroot is the running system, else None"""
    esp: Volume | None = None
    """the EFI system partition; None where there is none"""
    filesystem: Filesystem | None = None
    """the filesystem that holds the sysroot (and /boot)"""
    boot_filesystem: Filesystem | None = None
    """the filesystem of a separate /boot"""
    disk: Path | None = None
    """the whole disk (device or image file) that holds the sysroot, where it is known"""
    firmware: frozenset[Firmware] = frozenset({Firmware.UEFI})
    """which ways of starting an installation prepares for"""

    @property
    def root(self) -> Path:
        """The sysroot's path on this system."""
        return self.sysroot.root

    @property
    def is_booted(self) -> bool:
        """Whether this sysroot is the running system."""
        return self.run is not None


@frozen
class Outcome:
    """How a program ended, and what it printed."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, without the last newline."""
        return self.stdout.decode(errors="replace").rstrip("\n")


@frozen
class Command:
    """A program to run: arguments as a list, a clean environment, no standard input unless given."""

    argv: tuple[str, ...]
    purpose: str
    """completes "it is needed to …" when the program is missing"""
    codes: frozenset[int] = frozenset({0})
    """exit codes that are no failure"""
    environment: Mapping[str, str] = field(factory=dict)
    input: bytes = b""
    cwd: Path | None = None
    timeout: float | None = None
    """seconds"""
    pass_fds: tuple[int, ...] = ()

    def run(self) -> Outcome:
        """Run it to its end. Raises ProgramError or MissingProgramError."""
        argv = self._resolved()
        try:
            done = subprocess.run(
                argv,
                input=self.input,
                capture_output=True,
                env=self._environment(),
                cwd=self.cwd,
                timeout=self.timeout,
                pass_fds=self.pass_fds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ProgramError(self.text, -1, f"no end after {self.timeout} seconds") from error
        except OSError as error:
            raise ProgramError(self.text, -1, f"could not be started: {error}") from error
        outcome = Outcome(done.returncode, done.stdout, done.stderr)
        if outcome.code not in self.codes:
            output = (outcome.stderr or outcome.stdout).decode(errors="replace")
            raise ProgramError(self.text, outcome.code, output)
        return outcome

    def start(self, *, stdin: int, stderr: int = subprocess.DEVNULL) -> Child:
        """Start it in the background, in a session of its own, with this descriptor as its standard input."""
        argv = self._resolved()
        try:
            return subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=self._environment(),
                pass_fds=self.pass_fds,
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramError(self.text, -1, f"could not be started: {error}") from error

    @property
    def text(self) -> str:
        """As one would type it."""
        return shlex.join(self.argv)

    def _environment(self) -> dict[str, str]:
        proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        return {**_ENVIRONMENT, **proxies, **self.environment}

    def _resolved(self) -> list[str]:
        found = find_program(self.argv[0])
        if found is None:
            raise MissingProgramError(self.argv[0], self.purpose)
        return [found, *self.argv[1:]]


def find_program(name: str) -> str | None:
    """Where the program is that a Command of this name runs, or None."""
    return shutil.which(name, path=_ENVIRONMENT["PATH"])


def end(child: Child, patience: float = 2.0) -> int:
    """Wait for a program that was told to end, and return its exit code; after `patience` seconds it gets SIGTERM,
    after as many more SIGKILL."""
    for insist in (child.terminate, child.kill):
        try:
            return child.wait(patience)
        except subprocess.TimeoutExpired:
            insist()
    return child.wait()
