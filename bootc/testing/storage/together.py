"""Clauses S11: readers beside a writer, and two writers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attrs import define, field

from bootc.deployment import DeploymentId
from bootc.durable import Step
from bootc.errors import LockedError
from bootc.host import lock
from bootc.image import Layer
from bootc.testing.child import in_child
from bootc.testing.fakes import os_image
from bootc.testing.storage.base import StorageSuite
from bootc.testing.storage.system import System
from bootc.testing.suite import clause

_PATIENCE = 30
"""seconds that a reader may take on a busy machine"""


@define
class Reader:
    """Looks at the deployments whenever a writer lets it; remembers what it saw."""

    system: System
    seen: list[list[DeploymentId]] = field(factory=list)
    _is_looking: bool = False

    def __call__(self, *what: object) -> None:
        """Look, as another process would: by a backend that is opened for it."""
        if self._is_looking:
            return
        self._is_looking = True
        try:
            with _alarm(_PATIENCE):
                backend = self.system.open_backend()
                self.seen.append([d.id for d in backend.deployer.deployments() if not d.is_staged])
        finally:
            self._is_looking = False


@contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"a reader waited for {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _watched(system: System) -> Iterator[Reader]:
    """A reader that looks at every step and question of the writer, in this process."""
    reader = Reader(system)

    def step(step: Step) -> None:
        if step.name in ("rename", "unlink", "exchange", "rmdir"):
            reader()

    system.machine.check_cancelled, system.machine.observer = reader, step
    system.reopen()
    try:
        yield reader
    finally:
        system.machine.check_cancelled, system.machine.observer = lambda: None, None


class Together(StorageSuite):
    """S11."""

    @clause("S11.1")
    def test_readers_are_not_blocked_while_a_layer_arrives(self, system: System) -> None:
        system.install("1")
        image = os_image("2")
        streams, seen = image.streams(), []
        before = system.ids()

        def look(layer: Layer) -> None:
            seen.append(in_child(lambda: [d.id for d in system.open_backend().deployer.deployments()], _PATIENCE))

        streams.during = look
        system.publish(narrow=True)
        system.store.import_image(image.image, streams)
        assert seen == [before] * len(streams.opened)
        assert seen

    @clause("S11.2")
    def test_readers_see_the_old_or_the_new_order_at_any_moment(self, system: System) -> None:
        first = system.install("1")
        second = system.upgrade("2")
        with _watched(system) as reader:
            staged = system.stage(os_image("3"))
            assert {order[0] for order in reader.seen} <= {second.id}
            system.finalize()
            system.clean()
            system.arrange(*reversed(system.ids()))
            reader()
        defaults = list(dict.fromkeys(order[0] for order in reader.seen))
        assert defaults == [second.id, staged.id, second.id][: len(defaults)]
        assert reader.seen[-1][0] == second.id
        assert all(set(order) <= {first.id, second.id, staged.id} for order in reader.seen)

    @clause("S11.3")
    def test_two_writers_exclude_each_other_and_readers_never_wait(self, system: System) -> None:
        system.install("1")
        machine, before = system.machine.machine, system.deployments()

        def write() -> str:
            try:
                with lock(machine):
                    return "both write"
            except LockedError:
                return "locked"

        with lock(machine):
            assert in_child(write) == "locked"
            with pytest.raises(LockedError), lock(machine):
                pass
            assert in_child(lambda: system.open_backend().deployer.deployments()) == before
        assert in_child(write) == "both write", "the lock was left"
