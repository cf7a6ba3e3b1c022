"""Deployments on trial: an update's boots are counted until one of them is completed, or no try is left.

The bootloader counts; which deployment is on trial stands in a record of the core's from before it becomes the default.
So a menu that is written after a power cut counts it all the same, and one that proved itself is never counted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import evolve, frozen

from bootc.bootloader import BootCounting, Bootloader, Count
from bootc.deployment import Deployment, KernelArguments, Slots
from bootc.errors import StateError
from bootc.events import Notice, Report
from bootc.image import Digest
from bootc.state.boots import Failure, FailureKind, Note, Record

KEY = "bootc.key"
"""names a deployment to bootloaders that cannot name it otherwise"""


class Boots(Protocol):
    """Where the record is kept."""

    def read(self) -> Record:
        """As it is now. Raises StateError if it is damaged."""

    def write(self, record: Record) -> None:
        """Replace it, whole or not at all."""


@frozen
class Trials:
    """Counted boots of one system."""

    bootloader: Bootloader
    boots: Boots
    tries: int | None
    """None or 0: boots of new deployments are not counted"""
    report: Report

    # ------------------------------------------------------------ before the switch

    def marked(self, arguments: KernelArguments) -> KernelArguments:
        """The kernel arguments of a new deployment: without its predecessor's mark, with its own if one is needed."""
        plain = arguments.without((KEY,))
        mark = self._counter.new_mark() if self._counter and self._is_on else None
        return plain.with_added((mark,)) if mark else plain

    def explain(self) -> None:
        """Tell the user if boots should be counted and cannot be."""
        reason = self._counter.uncounted() if self._counter and self.tries else None
        if reason:
            self.report(Notice(f"the boots of this update are not counted: {reason}", is_warning=True))

    def begin(self, deployment: Deployment, others: Sequence[Deployment]) -> None:
        """It is about to become the default. Where there is nothing to fall back to, it is not counted."""
        has_fallback = any(not other.is_staged and other.id != deployment.id for other in others)
        digest = deployment.image.digest if deployment.image else None
        trial = deployment.id if has_fallback and self._is_on else None
        self.boots.write(self._read().with_trial(trial, digest))

    def must_begin_again(self, deployment: Deployment) -> bool:
        """Whether it failed before: who makes it the default again wants new tries."""
        record, count = self._read(), self._counter.count(deployment.id) if self._counter else None
        has_failed = deployment.image is not None and record.failure(deployment.image.digest) is not None
        return has_failed or record.trial == deployment.id or (count is not None and count.left == 0)

    def finalized(self) -> None:
        """The staged deployment is the default now."""
        self.boots.write(self._read().with_finalized())

    def not_finalized(self, deployment: Deployment, reason: str) -> None:
        """The staged deployment could not be made the default."""
        self.boots.write(self._read().with_failure(Failure.of(FailureKind.FINALIZATION, deployment, reason)))

    def tries_for(self, deployments: Sequence[Deployment]) -> int | None:
        """For a menu of these deployments: the tries of the default, or the one that is to be it, if it is new."""
        subject = next(iter(deployments), None)
        if subject is None or len(deployments) < 2 or self._read().trial != subject.id or not self._is_on:
            return None
        return self.tries

    # ------------------------------------------------------------ after a boot

    def failed(self, deployments: Sequence[Deployment], clue: str | None) -> Failure | None:
        """The default, if it is not what runs because it has no tries left; `clue` is what the machine says of it."""
        first = next((d for d in deployments if not d.is_staged), None)
        if first is None or first.is_booted or Slots.of(deployments).booted is None or self._counter is None:
            return None
        count = self._counter.count(first.id)
        if count is None or (count.left and not count.problem):
            return None
        return Failure.of(FailureKind.BOOT, first, self._reason(first, count, clue))

    def record(self, failure: Failure) -> None:
        """Remember it."""
        self.boots.write(self._read().with_failure(failure))

    def complete(self, booted: Deployment) -> None:
        """What runs has completed its boot: it is counted no more."""
        if self._counter and self._counter.count(booted.id):
            self._counter.mark_good(booted.id)
        self.boots.write(self._read().with_completed(booted))

    def note(self, booted: Deployment, text: str) -> None:
        """Keep what a deployment has to say before the machine is rebooted for the next try."""
        self.boots.write(evolve(self._read(), note=Note(booted.id, text)))

    def failure(self, digest: Digest) -> Failure | None:
        """How an image failed to boot here."""
        return self._read().failure(digest)

    def failed_digests(self) -> frozenset[Digest]:
        """Images that failed to boot here."""
        return frozenset(f.digest for f in self._read().failures if f.kind is FailureKind.BOOT and f.digest)

    # ------------------------------------------------------------ parts

    @property
    def _counter(self) -> BootCounting | None:
        return self.bootloader if isinstance(self.bootloader, BootCounting) else None

    @property
    def _is_on(self) -> bool:
        return bool(self.tries) and self._counter is not None and self._counter.uncounted() is None

    def _read(self) -> Record:
        """A damaged record must not stand in the way of booting: it is told of, and the next one replaces it."""
        try:
            return self.boots.read()
        except StateError as error:
            self.report(Notice(f"{error.message}; failed boots from before are not known", is_warning=True))
            return Record()

    def _reason(self, deployment: Deployment, count: Count, clue: str | None) -> str:
        note = self._read().note
        told = note.text if note and note.deployment == deployment.id else None
        number = "its boot was not completed" if count.done == 1 else f"none of {count.done} boots was completed"
        return ": ".join(filter(None, (number, count.problem or told or clue)))
