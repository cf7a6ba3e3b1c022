"""The sysroot as both halves of the backend see it: its state, what is booted, what is staged."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from attrs import evolve, frozen

from bootc.deployment import DeploymentId, KernelArguments
from bootc.errors import StateError
from bootc.host import KERNEL_ARGUMENT
from bootc.image import Digest
from bootc.machine import Machine
from bootc.state import records
from bootc_dirimage.layout import DEPLOYMENTS, SLOTS, STATE, name_of, whole
from bootc_dirimage.options import DirimageOptions
from bootc_dirimage.records import DeploymentRecord, State

_MARKER = PurePosixPath("bootc/dirimage-staged.json")
_READINGS = 5


@frozen
class Staged:
    """The deployment that `finalize` will make the default."""

    id: DeploymentId
    is_locked: bool


@frozen
class View:
    """Everything at one moment."""

    order: tuple[DeploymentRecord, ...]
    """finished deployments, the default first"""
    pinned: frozenset[DeploymentId]
    booted: DeploymentId | None
    staged: DeploymentRecord | None
    is_locked: bool


class Sysroot:
    """Reads take no lock. What is staged stands in /run, so that a power cut forgets it; on a sysroot that is not
    booted it is known to this object only, which finalizes it at once."""

    def __init__(self, machine: Machine, options: DirimageOptions) -> None:
        self.machine, self.options = machine, options
        self.volume = machine.sysroot
        self._run = self.volume.at(machine.run, "run") if machine.run else None
        self._pending: Staged | None = None

    def state(self) -> State:
        """The state. Raises StateError if there is none."""
        found = State.read(self.volume)
        if found is None:
            raise StateError(str(STATE), "missing", "this sysroot was not installed with backend dirimage")
        return found

    def new_name(self, digest: Digest) -> str:
        """A name that was never given out and never will be again."""
        state = self.state()
        present = (*whole(self.volume, SLOTS), *whole(self.volume, DEPLOYMENTS))
        number = 1 + max([state.number, *(int(name.partition("-")[0]) for name in present)])
        evolve(state, number=number).write(self.volume)
        return name_of(number, digest)

    def view(self) -> View:
        """All deployments. What a writer removes while we read was left out of the order before: read again then."""
        for _ in range(_READINGS):
            state = self.state()
            found = [DeploymentRecord.read(self.volume, id) for id in state.order]
            if state == self.state():
                break
        else:
            raise StateError(str(STATE), "changes all the time", "wait until the other command ends")
        present = tuple(record for record in found if record)
        staged = self.staged()
        record = DeploymentRecord.read(self.volume, staged.id) if staged else None
        return View(present, state.pinned, self._booted(present), record, bool(staged and staged.is_locked))

    def staged(self) -> Staged | None:
        """What is staged; a marker that outlived its finalization counts no more."""
        if self._run is None:
            return self._pending
        path = _MARKER
        document = records.read(self._run, path, f"remove /run/{path}")
        if document is None:
            return None
        id = DeploymentId(records.text(document, "deployment", path))
        return None if id in self.state().order else Staged(id, document.get("locked") is True)

    def set_staged(self, staged: Staged | None) -> None:
        """Write or remove the marker, in one step."""
        if self._run is None:
            self._pending = staged
        elif staged is None:
            self._run.remove(_MARKER)
        else:
            self._run.make_directories(_MARKER.parent)
            document = {"deployment": staged.id, "locked": staged.is_locked}
            self._run.replace(_MARKER, json.dumps(document).encode())

    def _booted(self, present: tuple[DeploymentRecord, ...]) -> DeploymentId | None:
        run = self.machine.run
        if run is None:
            return None
        arguments = KernelArguments.parse((run.parent / "proc/cmdline").read_text(errors="replace"))
        id = arguments.value(KERNEL_ARGUMENT)
        return next((record.id for record in present if record.id == id), None)
