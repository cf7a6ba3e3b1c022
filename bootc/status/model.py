"""The values in a Host document: what `bootc status` knows of a system."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from attrs import evolve, field, frozen

from bootc.deployment import Deployment, DeploymentId, Slots
from bootc.image import ImageReference, ImageSummary, parse_time
from bootc.state import Failure

_OVERLAY = "usrOverlay"


@frozen
class UsrOverlay:
    """The overlay that lies over /usr at the moment."""

    access: str
    """`readOnly` or `readWrite`"""
    persistence: str
    """`transient` or `persistent`"""

    @classmethod
    def of(cls, booted: Deployment) -> UsrOverlay | None:
        """From the detail `usrOverlay`: a mapping with `accessMode` and `persistence`, as in the document."""
        found = _mapping(booted.details.get(_OVERLAY))
        return cls(str(found["accessMode"]), str(found["persistence"])) if found else None


@frozen
class CachedUpdate:
    """The newest image that an update check has seen for a deployment."""

    image: ImageSummary
    reference: ImageReference


@frozen
class ImageStatus:
    """An image, as the document describes it."""

    name: str
    transport: str
    signature: str | None
    """as in `ImageReference`; `insecure` only in documents written by hand or by old versions"""
    digest: str
    architecture: str
    version: str | None = None
    timestamp: str | None = None
    """RFC 3339, UTC, with the fraction of a second that the image states"""

    @classmethod
    def of(cls, image: ImageSummary, reference: ImageReference) -> ImageStatus:
        """Describe an image that was pulled from `reference`."""
        return cls(
            name=reference.name,
            transport=reference.transport,
            signature=reference.signature,
            digest=str(image.digest),
            architecture=image.architecture,
            version=image.version,
            timestamp=utc_time(image.created) if image.created else None,
        )

    @property
    def display(self) -> str:
        """The bare name of a registry image, else `transport:name`."""
        return self.name if self.transport == "registry" else f"{self.transport}:{self.name}"


@frozen
class Entry:
    """One deployment (BootEntry of the document)."""

    image: ImageStatus | None = None
    cached_update: ImageStatus | None = None
    is_incompatible: bool = False
    is_pinned: bool = False
    is_soft_reboot_capable: bool = False
    is_download_only: bool = False
    store: str | None = None
    ostree: Mapping[str, Any] | None = None
    composefs: Mapping[str, Any] | None = None
    verdict: str | None = None
    """a field of ours: why the signature policy accepted the image when it was deployed"""
    details: Mapping[str, Any] = field(factory=dict)
    """fields that the format does not define: a backend's own"""

    @classmethod
    def of(cls, deployment: Deployment, cached: CachedUpdate | None, verdict: str | None = None) -> Entry:
        """Describe a deployment; the backend's `details` fill the fields of their names."""
        details = {key: value for key, value in deployment.details.items() if key != _OVERLAY}
        image = None
        if deployment.image and deployment.reference and not deployment.is_incompatible:
            image = ImageStatus.of(deployment.image, deployment.reference)
        return cls(
            image=image,
            cached_update=ImageStatus.of(cached.image, cached.reference) if cached and image else None,
            is_incompatible=deployment.is_incompatible,
            is_pinned=deployment.is_pinned,
            is_soft_reboot_capable=details.pop("softRebootCapable", False) is True,
            is_download_only=deployment.is_staged and deployment.is_locked,
            store=_text(details.pop("store", None)),
            ostree=_mapping(details.pop("ostree", None)),
            composefs=_mapping(details.pop("composefs", None)),
            verdict=verdict if image else None,
            details=details,
        )


@frozen
class FailedDeployment:
    """A deployment that failed to boot, or to be made the default."""

    kind: str
    """`boot` or `finalization`"""
    deployment: str
    reason: str
    time: str
    """RFC 3339"""
    digest: str | None = None
    reference: ImageReference | None = None

    @classmethod
    def of(cls, failure: Failure) -> FailedDeployment:
        """From the core's record."""
        digest = str(failure.digest) if failure.digest else None
        return cls(failure.kind.value, failure.deployment, failure.reason, failure.time, digest, failure.reference)


@frozen
class Explanation:
    """Which configuration decides how upgrades are fetched."""

    reference: ImageReference
    """what they follow"""
    texts: Mapping[str, str]
    """by short labels, in order"""


@frozen
class Host:
    """A whole Host document."""

    target: ImageReference | None = None
    """`spec.image`: what an upgrade fetches"""
    is_rollback_queued: bool = False
    is_order_reversed: bool = False
    """`spec.bootOrder` is `rollback`"""
    staged: Entry | None = None
    booted: Entry | None = None
    rollback: Entry | None = None
    others: tuple[Entry, ...] = ()
    type: str | None = None
    usr_overlay: UsrOverlay | None = None
    is_read_only: bool = False
    failed: tuple[FailedDeployment, ...] = ()
    """a field of ours, the last one first"""
    explanation: Explanation | None = None
    """only for people, no part of the document"""

    @classmethod
    def of(
        cls,
        deployments: Sequence[Deployment],
        *,
        cached_updates: Mapping[DeploymentId, CachedUpdate],
        is_read_only: bool,
        failures: Sequence[Failure] = (),
        verdicts: Mapping[DeploymentId, str] | None = None,
    ) -> Host:
        """Describe a system by its deployments, in boot order. An overlay on /usr is a detail of the booted one."""
        slots, told = Slots.of(deployments), verdicts or {}
        staged, booted, rollback = (
            Entry.of(d, cached_updates.get(d.id), told.get(d.id)) if d else None
            for d in (slots.staged, slots.booted, slots.rollback)
        )
        shown = [slot for slot in (slots.staged, slots.booted) if slot]
        return cls(
            target=shown[0].reference if shown and not shown[0].is_incompatible else None,
            is_rollback_queued=slots.is_rollback_queued,
            is_order_reversed=slots.is_rollback_queued,
            staged=staged,
            booted=booted,
            rollback=rollback,
            others=tuple(Entry.of(d, cached_updates.get(d.id), told.get(d.id)) for d in slots.others),
            type="bootcHost" if booted and booted.image else None,
            usr_overlay=UsrOverlay.of(slots.booted) if slots.booted else None,
            is_read_only=is_read_only,
            failed=tuple(map(FailedDeployment.of, reversed(failures))),
        )

    def without_other_slots(self) -> Host:
        """What `status --booted` shows: staged and rollback blanked, everything else as it is."""
        return evolve(self, staged=None, rollback=None)


def utc_time(text: str) -> str:
    """An RFC 3339 time in UTC with `Z`; a fraction has 3, 6 or 9 digits, whichever holds it. Other text stays."""
    moment = parse_time(text)
    if moment is None:
        return text
    try:
        seconds = moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()
    except OverflowError:
        return text
    found = re.search(r"\.(\d+)", text)
    digits = found.group(1)[:9].rstrip("0") if found else ""
    fraction = f".{digits.ljust(-(-len(digits) // 3) * 3, '0')}" if digits else ""
    return f"{seconds}{fraction}Z"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _mapping(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None
