"""What the core tells while it works: one vocabulary for progress bars, JSON lines and the journal."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TypeAlias

from attrs import frozen


class Phase(enum.Enum):
    """The parts of a transaction, in their order; install adds PREPARE."""

    PREPARE = "prepare"
    RESOLVE = "resolve"
    CHECK = "check"
    IMPORT = "import"
    STAGE = "stage"
    FINALIZE = "finalize"
    PUBLISH = "publish"
    CLEAN = "clean"


@frozen
class PhaseStarted:
    """A phase begins; `detail` is for people."""

    phase: Phase
    detail: str = ""


@frozen
class PhaseFinished:
    """A phase ended without error after `seconds`."""

    phase: Phase
    seconds: float


@frozen
class FetchPlanned:
    """What an import will fetch. Sizes are bytes of the blobs as served; `image` is the manifest digest."""

    image: str
    layers_present: int
    bytes_present: int
    layers_needed: int
    bytes_needed: int


@frozen
class LayerProgress:
    """A layer's blob is on its way: so many of its bytes need not come any more. `resumed` of them were here before:
    in the spool, or in images that are present."""

    digest: str
    done: int
    total: int | None
    resumed: int = 0


@frozen
class LayerFetched:
    """A layer's blob is whole; told once for each that was fetched, also in parts. No LayerProgress follows.

    `digest` and `size` are those of the blob as it is served. `fetched` counts the bytes that came from the source in
    this run, those that came twice or in vain included; `reused` those of the blob that were found here instead: in the
    spool, or in images that are present. `seconds` is the time from the first request to the last byte.
    """

    digest: str
    size: int
    fetched: int
    reused: int = 0
    seconds: float = 0.0


@frozen
class RequestMade:
    """A server answered a request of a fetcher, whatever it said. `digest` names the blob that it is for; empty:
    manifests, tokens and all else. Redirects and second tries are requests of their own."""

    digest: str = ""


@frozen
class LayerImported:
    """A layer was verified and written to the store."""

    digest: str


@frozen
class Notice:
    """A sentence for the user that is no error."""

    message: str
    is_warning: bool = False


class MilestoneKind(enum.Enum):
    """What is worth a line in the journal; the value is its MESSAGE_ID (journal fields, systemd.journal-fields(7))."""

    STAGED = "3c7d0a52f8e54d0c9a4be1a3f24ab2d7"
    FINALIZED = "8e1c2f7b6a0d4b1f9d35c60f7e92a4c1"
    FALLBACK = "c4f8a8eac270423f87647983982e49ba"
    ROLLBACK = "26f3b1eb24464d12aa5e7b544a6b5468"
    """upstream's"""


@frozen
class Milestone:
    """The system changed. `fields` are journal fields without the prefix `BOOTC_`."""

    kind: MilestoneKind
    message: str
    fields: Mapping[str, str]


Event: TypeAlias = (
    PhaseStarted
    | PhaseFinished
    | FetchPlanned
    | LayerProgress
    | LayerFetched
    | RequestMade
    | LayerImported
    | Notice
    | Milestone
)
Report: TypeAlias = Callable[[Event], None]
