"""What this machine accepted of each image reference, and the guard against going back behind it."""

from __future__ import annotations

from typing import Protocol

from attrs import field, frozen

from bootc.config import TrustSettings
from bootc.deployment import Deployment
from bootc.errors import DowngradeError
from bootc.image import Image, ImageReference
from bootc.state.acceptances import Accepted, creation_time
from bootc.versions import uapi_key


class Acceptances(Protocol):
    """The record of what was accepted, kept on the sysroot."""

    def newest(self, reference: ImageReference) -> Accepted | None:
        """The newest image that was deployed from there."""

    def accept(self, image: Image, reference: ImageReference) -> None:
        """Remember that an image was accepted and deployed."""


@frozen
class Trust:
    """The record, and what the administrator wants of it."""

    acceptances: Acceptances
    settings: TrustSettings = field(factory=TrustSettings)

    def require_no_downgrade(
        self, image: Image, reference: ImageReference, current: Deployment | None, *, is_allowed: bool = False
    ) -> None:
        """Raise DowngradeError for an image that is older than the newest accepted one; only if the guard is on.

        `current` counts as well, if it follows the same reference: nothing may have been recorded yet, or a power cut
        came before. A damaged record is a StateError in any case: it is told before anything changes.
        """
        newest = self.acceptances.newest(reference)
        if is_allowed or not self.settings.downgrade_guard:
            return
        for known in (newest, _running(current, reference)):
            problem = self._problem(image, known) if known and known.digest != image.digest else None
            if problem:
                raise DowngradeError(reference.display, problem)

    def accept(self, image: Image, reference: ImageReference) -> None:
        """Record an image that is deployed now, whether the guard is on or not: it may be switched on later."""
        self.acceptances.accept(image, reference)

    def _problem(self, image: Image, newest: Accepted) -> str | None:
        if self.settings.version_order and image.version and newest.version:
            ours, theirs = uapi_key(newest.version), uapi_key(image.version)
            if theirs < ours:
                return f"version {image.version} is older than {newest.version}, which was accepted before"
            if theirs > ours:
                return None
        created, before = creation_time(image.created), creation_time(newest.created)
        if created and before and created < before:
            return f"created {image.created}, before the newest image that was accepted ({newest.created})"
        return None


def _running(current: Deployment | None, reference: ImageReference) -> Accepted | None:
    if current is None or current.image is None or str(current.reference) != str(reference):
        return None
    return Accepted.of(current.image)
