"""The core's lock: one writer for each sysroot. Readers never ask for it.

The lock is flock(2) on `STATE/lock`, whoever locks and from whichever mount namespace or container; the kernel lets go
of it when the process ends, however it ends. Who holds it stands in a record beside it, on the running system in
`/run/bootc`: a change below the state directory would wake those who watch it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume, explain
from bootc.errors import LockedError
from bootc.machine import Machine

FILE = "lock"
RECORD = "lock-holder.json"


@frozen
class Holder:
    """Who holds the lock."""

    pid: int
    started: str
    """when the process started, in the kernel's clock ticks: another process with this pid has another"""
    command: str
    since: str
    """RFC 3339"""

    @classmethod
    def this(cls) -> Holder:
        """This process."""
        pid = os.getpid()
        program = Path(sys.argv[0]).name
        command = shlex.join(["bootc" if program in ("", "__main__.py") else program, *sys.argv[1:]])
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return cls(pid, _started(pid) or "", command, since)

    @classmethod
    def read(cls, path: Path) -> Holder | None:
        """The record of a process that still runs; None for all else."""
        try:
            document = json.loads(path.read_bytes())
            holder = cls(int(document["pid"]), *(str(document[key]) for key in ("started", "command", "since")))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return holder if _started(holder.pid) == holder.started else None

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid}, since {self.since})"

    def document(self) -> bytes:
        """As it stands in the record."""
        fields = {"pid": self.pid, "started": self.started, "command": self.command, "since": self.since}
        return json.dumps(fields).encode()


def lock(machine: Machine) -> AbstractContextManager[None]:
    """Be the only writer of this sysroot; see `Lock.hold`."""
    return Lock.of(machine).hold()


@frozen
class Lock:
    """The lock of one sysroot."""

    sysroot: DirectoryVolume
    state: PurePosixPath
    run: Path | None = None

    @classmethod
    def of(cls, machine: Machine) -> Lock:
        """The machine's."""
        return cls(machine.sysroot, machine.state, machine.run)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only writer in here. LockedError if there is another, in this process too; there is no waiting."""
        descriptor = self._open()
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # that it would block says nothing more
                raise LockedError(str(self.holder() or "one that left no record")) from None
            self._write_record()
            try:
                yield
            finally:
                with suppress(OSError):  # a stale record names a process that is gone
                    self._record.unlink()
        finally:
            os.close(descriptor)

    def holder(self) -> Holder | None:
        """Who holds it, as far as is known."""
        return Holder.read(self._record)

    @property
    def _record(self) -> Path:
        directory = self.run / "bootc" if self.run else self.sysroot.path(self.state)
        return directory / RECORD

    def _open(self) -> int:
        self.sysroot.make_directories(self.state)
        path = self.sysroot.path(self.state / FILE)
        try:
            return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise explain(error, str(path)) from error

    def _write_record(self) -> None:
        path, new = self._record, self._record.with_suffix(".new")
        try:
            path.parent.mkdir(0o755, parents=True, exist_ok=True)
            new.write_bytes(Holder.this().document())
            new.rename(path)
        except OSError as error:
            with suppress(OSError):
                new.unlink()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # who makes room must not need room
                raise explain(error, str(path)) from error


def _started(pid: int) -> str | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]
