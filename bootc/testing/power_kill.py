"""Kills: a command is run again and again, and killed before another of its state-changing system calls each time.

For backends whose writes are opaque: a library makes them, and no recorder sees them. What a kill leaves is what the
kernel would still write; losses of what was not synced are not among these states (`bootc.testing.power` has them, and
tests in virtual machines replay the log of a disk). Needs strace.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import field, frozen

from bootc.errors import BootcError
from bootc.machine import Command, Outcome
from bootc.testing.power import Report, Violation

CALLS = (
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat,"
    "fsync,fdatasync,syncfs,sync,ftruncate,fallocate,fchmod,fchmodat,chmod,fchown,fchownat,lchown,chown,"
    "setxattr,lsetxattr,fsetxattr,utimensat,write,pwrite64,writev,copy_file_range,sendfile,mount,umount2"
)
"""before which a process is killed: what changes a state, and what makes it last"""
_KILLED = -9


@frozen
class Killing:
    """A command on a system of its own, killed before one of its calls."""

    system: Callable[[], AbstractContextManager[Path]]
    """makes the system that the command changes, anew each time, and removes it"""
    command: Callable[[Path], Sequence[str]]
    """the command, given what `system` made"""
    folder: Path
    """for strace's log"""
    environment: Mapping[str, str] = field(factory=dict)
    timeout: float = 300.0
    """seconds"""

    def count(self) -> int:
        """How many such calls the command's main thread makes when nobody disturbs it."""
        with self.system() as place:
            self._run(self.command(place))
        lines = self._log.read_text(errors="replace").splitlines()
        main = lines[0].split()[0]
        return sum(line.split()[0] == main and "(" in line for line in lines)

    def kill(self, place: Path, number: int) -> Outcome:
        """Run the command there, and kill it (and all threads) before the call of this number, counted from 1."""
        return self._run(self.command(place), "-e", f"inject={CALLS}:signal=SIGKILL:when={number}")

    def run(self, check: Callable[[Path, int], None], *, most: int | None = None, seed: int = 0) -> Report:
        """Kill it before each of its calls, or before `most` of them, and check what is left each time."""
        total = self.count()
        numbers = list(range(1, total + 1))
        if most is not None and most < total:
            numbers = sorted(random.Random(seed).sample(numbers, most))  # noqa: S311
        violations = []
        for number in numbers:
            try:
                with self.system() as place:
                    self.kill(place, number)
                    check(place, number)
            except (AssertionError, BootcError, OSError, ValueError, KeyError) as error:
                violations.append(
                    Violation(f"kill before call {number} of {total}", f"{type(error).__name__}: {error}")
                )
        return Report(len(numbers), tuple(violations))

    @property
    def _log(self) -> Path:
        return self.folder / "strace.log"

    def _run(self, command: Sequence[str], *more: str) -> Outcome:
        watched = ("strace", "-f", "--seccomp-bpf", "-o", str(self._log), "-e", f"trace={CALLS}", *more, *command)
        return Command(
            watched,
            "kill a command before a system call",
            codes=frozenset({0, 1, _KILLED}),
            environment=self.environment,
            timeout=self.timeout,
        ).run()
