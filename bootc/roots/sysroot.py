"""The sysroot as both halves of a backend see it: its state, what is booted, what is staged."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from attrs import evolve, frozen

from bootc.deployment import DeploymentId, KernelArguments
from bootc.errors import StateError
from bootc.host import KERNEL_ARGUMENT
from bootc.image import Digest
from bootc.machine import Machine
from bootc.roots.layout import Layout, name_of, whole
from bootc.roots.records import DeploymentRecord, RootState, state_hint
from bootc.state import records

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

    @property
    def images(self) -> frozenset[str]:
        """Keys of all images that are deployed or staged."""
        return frozenset(record.image for record in (*self.order, *([self.staged] if self.staged else ())))


class Sysroot:
    """Reads take no lock. What is staged stands in /run, so that a power cut forgets it; on a sysroot that is not
    booted it is known to this object only, which finalizes it at once."""

    def __init__(self, machine: Machine, layout: Layout) -> None:
        self.machine, self.layout = machine, layout
        self.volume = machine.sysroot
        self._run = self.volume.at(machine.run, "run") if machine.run else None
        self._marker = PurePosixPath(f"bootc/{layout.name}-staged.json")
        self._pending: Staged | None = None

    def state(self) -> RootState:
        """The state. Raises StateError if there is none."""
        found = RootState.read(self.volume, self.layout)
        if found is None:
            raise StateError(str(self.layout.state), "missing", state_hint(self.layout))
        return found

    def write(self, state: RootState) -> None:
        """Replace the state, in one step."""
        state.write(self.volume, self.layout)

    def record(self, id: DeploymentId) -> DeploymentRecord | None:
        """A deployment's record; None if it is gone. Raises StateError."""
        return DeploymentRecord.read(self.volume, self.layout, id)

    def new_name(self, digest: Digest) -> str:
        """A name that was never given out and never will be again."""
        state = self.state()
        places = (self.layout.deployments, *(self.layout.base / name for name in self.layout.numbered))
        present = [name for place in places for name in whole(self.volume, place)]
        number = 1 + max([state.number, *(int(name.partition("-")[0]) for name in present)])
        self.write(evolve(state, number=number))
        return name_of(number, digest)

    def view(self) -> View:
        """All deployments. What a writer removes while we read was left out of the order before: read again then."""
        for _ in range(_READINGS):
            state = self.state()
            found = [self.record(id) for id in state.order]
            if state == self.state():
                break
        else:
            raise StateError(str(self.layout.state), "changes all the time", "wait until the other command ends")
        present = tuple(record for record in found if record)
        staged = self.staged()
        record = self.record(staged.id) if staged else None
        return View(present, state.pinned, self._booted(present), record, bool(staged and staged.is_locked))

    def staged(self) -> Staged | None:
        """What is staged; a marker that outlived its finalization counts no more."""
        if self._run is None:
            return self._pending
        document = records.read(self._run, self._marker, f"remove /run/{self._marker}")
        if document is None:
            return None
        id = DeploymentId(records.text(document, "deployment", self._marker))
        return None if id in self.state().order else Staged(id, document.get("locked") is True)

    def set_staged(self, staged: Staged | None) -> None:
        """Write or remove the marker, in one step."""
        if self._run is None:
            self._pending = staged
        elif staged is None:
            self._run.remove(self._marker)
        else:
            self._run.make_directories(self._marker.parent)
            document = {"deployment": staged.id, "locked": staged.is_locked}
            self._run.replace(self._marker, json.dumps(document).encode())

    def _booted(self, present: tuple[DeploymentRecord, ...]) -> DeploymentId | None:
        run = self.machine.run
        if run is None:
            return None
        arguments = KernelArguments.parse((run.parent / "proc/cmdline").read_text(errors="replace"))
        id = arguments.value(KERNEL_ARGUMENT)
        return next((record.id for record in present if record.id == id), None)
