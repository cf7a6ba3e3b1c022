"""`boots.json`: the deployment that has yet to prove that it boots, and what failed before.

Small and bounded: one deployment on trial, one note of it from before a reboot, and the last failures.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from attrs import evolve, field, frozen

from bootc.deployment import Deployment, DeploymentId
from bootc.durable import DirectoryVolume
from bootc.errors import ReferenceError, StateError
from bootc.image import Digest, ImageReference
from bootc.state import records
from bootc.state.system import now

FILE = "boots.json"
KEPT = 8
"""failures that are remembered; older ones are forgotten first"""
_HINT = "remove the file: with it goes what is known of failed boots, and nothing else"
_TEXT_LIMIT = 2000


class FailureKind(enum.Enum):
    """What did not work."""

    BOOT = "boot"
    """it was the default, and none of its counted boots was completed"""
    FINALIZATION = "finalization"
    """it was staged, and could not be made the default at shutdown"""


@frozen
class Failure:
    """A deployment that failed."""

    kind: FailureKind
    deployment: DeploymentId
    digest: Digest | None
    """of its image's manifest"""
    reference: ImageReference | None
    reason: str
    time: str = field(factory=now)
    """when it was noticed, RFC 3339"""

    @classmethod
    def of(cls, kind: FailureKind, deployment: Deployment, reason: str) -> Failure:
        """It failed just now."""
        digest = deployment.image.digest if deployment.image else None
        return cls(kind, deployment.id, digest, deployment.reference, reason[:_TEXT_LIMIT])


@frozen
class Note:
    """What a deployment said of its own boot before it rebooted the machine."""

    deployment: DeploymentId
    text: str


@frozen
class Record:
    """All that is known."""

    trial: DeploymentId | None = None
    """made the default by an update, and not completed a boot since"""
    note: Note | None = None
    failures: tuple[Failure, ...] = ()
    """the oldest first"""

    def failure(self, digest: Digest) -> Failure | None:
        """The last failed boot of an image."""
        found = [f for f in self.failures if f.kind is FailureKind.BOOT and f.digest == digest]
        return found[-1] if found else None

    def with_failure(self, failure: Failure) -> Record:
        """With one more; it takes the place of an earlier one of the same deployment, and ends the trial."""
        others = [f for f in self.failures if (f.kind, f.deployment) != (failure.kind, failure.deployment)]
        trial = None if self.trial == failure.deployment else self.trial
        return evolve(self, trial=trial, note=None, failures=(*others, failure)[-KEPT:])

    def with_trial(self, deployment: DeploymentId | None, digest: Digest | None) -> Record:
        """A deployment of this image is about to be made the default; with `None` its boots are not counted."""
        kept = tuple(f for f in self.failures if f.kind is not FailureKind.BOOT or f.digest != digest or digest is None)
        return evolve(self, trial=deployment, note=None, failures=kept)

    def with_finalized(self) -> Record:
        """A staged deployment was made the default: earlier failures to do so are past."""
        return evolve(self, failures=tuple(f for f in self.failures if f.kind is not FailureKind.FINALIZATION))

    def with_completed(self, booted: Deployment) -> Record:
        """A deployment completed its boot. If it was on trial, failures of what it follows are past."""
        kept = [f for f in self.failures if f.deployment != booted.id]
        if self.trial != booted.id:
            return evolve(self, failures=tuple(kept))
        past = [f for f in kept if f.kind is FailureKind.BOOT and f.reference == booted.reference]
        return evolve(self, trial=None, note=None, failures=tuple(f for f in kept if f not in past))


@frozen
class Boots:
    """The record on one sysroot. A damaged file is a StateError."""

    volume: DirectoryVolume
    directory: PurePosixPath
    check_writable: Callable[[], None]

    def read(self) -> Record:
        """As it is now."""
        document = records.read(self.volume, self._path, _HINT) or {}
        trial, note = document.get("trial"), document.get("note")
        failures = document.get("failures", [])
        if not isinstance(failures, list):
            raise self._damaged("'failures' is not a list")
        return Record(
            None if trial is None else DeploymentId(records.text(document, "trial", self._path, _HINT)),
            None if note is None else self._note(records.table(document, "note", self._path, _HINT)),
            tuple(map(self._failure, failures)),
        )

    def write(self, record: Record) -> None:
        """Replace it, also a damaged one; an equal one is not written again."""
        try:
            if record == self.read():
                return
            known = records.read(self.volume, self._path, _HINT) or {}
        except StateError:
            known = {}
        self.check_writable()
        note = record.note
        document = {
            **known,
            "trial": record.trial,
            "note": {"deployment": note.deployment, "text": note.text} if note else None,
            "failures": [_document(failure) for failure in record.failures],
        }
        records.write(self.volume, self._path, document)

    @property
    def _path(self) -> PurePosixPath:
        return self.directory / FILE

    def _damaged(self, problem: str) -> StateError:
        return StateError(str(self._path), f"damaged: {problem}", _HINT)

    def _note(self, document: Mapping[str, Any]) -> Note:
        deployment, text = (records.text(document, key, self._path, _HINT) for key in ("deployment", "text"))
        return Note(DeploymentId(deployment), text)

    def _failure(self, document: object) -> Failure:
        if not isinstance(document, dict):
            raise self._damaged("a failure is not an object")
        kind, deployment, reason, time = (
            records.text(document, key, self._path, _HINT) for key in ("kind", "deployment", "reason", "time")
        )
        digest, image = document.get("digest"), document.get("image")
        try:
            return Failure(
                FailureKind(kind),
                DeploymentId(deployment),
                None if digest is None else Digest.parse(str(digest)),
                None if image is None else ImageReference.parse(str(image)),
                reason,
                time,
            )
        except (ReferenceError, ValueError) as error:
            raise self._damaged(str(error)) from error


def _document(failure: Failure) -> dict[str, Any]:
    return {
        "kind": failure.kind.value,
        "deployment": failure.deployment,
        "digest": str(failure.digest) if failure.digest else None,
        "image": failure.reference.origin if failure.reference else None,
        "reason": failure.reason,
        "time": failure.time,
    }
