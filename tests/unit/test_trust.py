"""The guard against downgrades, and the record that it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from attrs import evolve, field, frozen

from bootc.config import TrustSettings
from bootc.deployment import Slots
from bootc.durable import DirectoryVolume
from bootc.errors import DowngradeError, StateError
from bootc.fetcher import Fetcher, Source
from bootc.image import Digest, Image, ImageReference
from bootc.platform import Platform
from bootc.state import Acceptances, Accepted
from bootc.transaction import Transaction
from bootc.trust import Trust
from bootc.updates import Change
from tests.unit.toys import (
    REFERENCE,
    Disk,
    MirrorBootloader,
    ToyAcceptances,
    ToyBackend,
    ToySource,
    toy_image,
    toy_transaction,
    with_parts,
)

ON, OFF = TrustSettings(downgrade_guard=True), TrustSettings()
VERSIONS = TrustSettings(downgrade_guard=True, version_order="uapi")
OTHER = ImageReference("registry", "host.example/os:other")


def image(number: int, created: str = "", version: str = "", reference: ImageReference = REFERENCE) -> Image:
    """An image with this digest; empty texts are not stated."""
    found = toy_image(number, reference)
    config = {**json.loads(found.config), "created": created, "config": {"Labels": {"containers.bootc": "1"}}}
    if version:
        config["config"]["Labels"]["version"] = version
    return evolve(found, config=json.dumps(config).encode())


@frozen
class Serving(Fetcher):
    """Serves one image under every name."""

    image: Image

    @contextmanager
    def resolve(self, reference: ImageReference, platform: Platform) -> Iterator[Source]:
        yield ToySource(evolve(self.image, reference=reference))

    def close(self) -> None:
        pass


@frozen
class System:
    """A toy that is booted into whatever was deployed last."""

    settings: TrustSettings
    disk: Disk = field(factory=Disk)
    accepted: ToyAcceptances = field(factory=ToyAcceptances)

    @property
    def transaction(self) -> Transaction:
        backend = ToyBackend(self.disk)
        found = toy_transaction(self.disk, backend, MirrorBootloader(self.disk, backend))
        return with_parts(found, trust=Trust(self.accepted, self.settings))

    def upgrade(self, image: Image, reference: ImageReference = REFERENCE, **how: bool) -> Change:
        change = self.transaction.upgrade(Serving(image), reference, **how).change
        self.transaction.finalize()
        self.disk.run = {}
        self.disk.booted = self.disk.kept["order"][0]
        return change

    def runs(self) -> Digest:
        booted = Slots.of(self.transaction.deployments).booted
        assert booted
        assert booted.image
        return booted.image.digest


MAY, JUNE, JULY = "2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z"


def test_an_image_older_than_the_newest_accepted_is_refused_and_changes_nothing() -> None:
    system = System(ON)
    system.upgrade(image(1, JUNE))
    before = (dict(system.disk.kept), dict(system.disk.run))
    problem = rf"host.example/os:latest: created {MAY}, before the newest image that was accepted \({JUNE}\)"
    for command in (system.transaction.upgrade, system.transaction.check):
        with pytest.raises(DowngradeError, match=problem) as caught:
            command(Serving(image(2, MAY)), REFERENCE)
        assert caught.value.hint is not None
        assert "--allow-downgrade" in caught.value.hint
    assert (system.disk.kept, system.disk.run) == before
    assert system.transaction.steps.references.seen(REFERENCE) is None


def test_the_guard_is_off_unless_it_is_switched_on() -> None:
    system = System(OFF)
    system.upgrade(image(1, JUNE))
    system.upgrade(image(2, MAY))
    assert system.runs() == image(2).digest


def test_a_newer_image_is_accepted_and_counts_from_then_on() -> None:
    system = System(ON)
    system.upgrade(image(1, MAY))
    system.upgrade(image(2, JULY))
    with pytest.raises(DowngradeError, match=JULY):
        system.upgrade(image(3, JUNE))


def test_a_downgrade_that_is_allowed_counts_as_the_newest() -> None:
    system = System(ON)
    system.upgrade(image(1, JULY))
    assert system.transaction.check(Serving(image(2, MAY)), REFERENCE, allow_downgrade=True).image
    system.upgrade(image(2, MAY), allow_downgrade=True)
    system.upgrade(image(3, JUNE))
    assert system.runs() == image(3).digest


def test_switch_is_guarded_by_the_name_and_whatever_signature_is_asked_for() -> None:
    system = System(ON)
    system.upgrade(image(1, JUNE))
    signed = evolve(REFERENCE, signature="containerPolicy")
    with pytest.raises(DowngradeError):
        system.transaction.switch(Serving(image(2, MAY)), signed)
    assert system.transaction.switch(Serving(image(2, MAY)), OTHER).change is Change.STAGED
    assert system.transaction.switch(Serving(image(2, MAY)), signed, allow_downgrade=True).change is Change.STAGED


def test_after_a_rollback_what_was_left_is_still_the_newest() -> None:
    system = System(ON)
    system.upgrade(image(1, MAY))
    system.upgrade(image(2, JULY))
    system.transaction.roll_back()
    system.disk.booted = system.disk.kept["order"][0]
    assert system.runs() == image(1).digest
    assert system.transaction.upgrade(Serving(image(1, MAY)), REFERENCE).change is Change.NONE
    assert system.transaction.check(Serving(image(1, MAY)), REFERENCE).image is None
    with pytest.raises(DowngradeError):
        system.transaction.upgrade(Serving(image(3, JUNE)), REFERENCE)
    assert system.transaction.upgrade(Serving(image(2, JULY)), REFERENCE).change is Change.STAGED


def test_the_running_image_counts_where_a_power_cut_came_before_its_record() -> None:
    system = System(ON)
    system.upgrade(image(1, MAY))
    evolve(system, accepted=ToyAcceptances()).upgrade(image(2, JULY))
    with pytest.raises(DowngradeError, match=JULY):
        system.upgrade(image(3, JUNE))
    system.upgrade(image(3, JUNE), allow_downgrade=True)


def test_without_a_record_the_running_image_counts() -> None:
    system = System(ON)
    system.upgrade(image(1, JUNE))
    system = evolve(system, accepted=ToyAcceptances())
    with pytest.raises(DowngradeError):
        system.upgrade(image(2, MAY))
    system.upgrade(image(2, MAY), OTHER)


NOT_COMPARED = {
    "a reproducible image": (ON, ("1970-01-01T00:00:00Z", ""), (MAY, "")),
    "after a reproducible image": (ON, (JUNE, ""), ("1970-01-01T00:00:00Z", "")),
    "the last moment before 1980": (ON, (JUNE, ""), ("1979-12-31T23:59:59Z", "")),
    "no time": (ON, (JUNE, ""), ("", "")),
    "a time that is none": (ON, (JUNE, ""), ("yesterday", "")),
    "the same time": (ON, (JUNE, ""), (JUNE, "")),
    "the same time in another zone": (ON, (JUNE, ""), ("2026-06-01T02:00:00+02:00", "")),
    "versions without an order": (ON, (JUNE, "2"), (JUNE, "1")),
    "a newer version, built before": (VERSIONS, (JUNE, "2"), (MAY, "3")),
    "no version, and the same time": (VERSIONS, (JUNE, "2"), (JUNE, "")),
}
REFUSED = {
    "an older version, built later": (VERSIONS, (JUNE, "2.10"), (JULY, "2.9"), "version 2.9 is older than 2.10"),
    "the same version, built before": (VERSIONS, (JUNE, "2"), (MAY, "02"), "created"),
    "the first moment of 1980": (ON, (JUNE, ""), ("1980-01-01T00:00:00Z", ""), "created 1980"),
    "a fraction of a second": (ON, ("2026-06-01T00:00:00.5Z", ""), (JUNE, ""), "created"),
    "no version": (VERSIONS, (JUNE, "2"), (MAY, ""), "created"),
}


@pytest.mark.parametrize(("settings", "first", "second"), NOT_COMPARED.values(), ids=NOT_COMPARED)
def test_what_says_nothing_of_age_is_accepted(
    settings: TrustSettings, first: tuple[str, str], second: tuple[str, str]
) -> None:
    system = System(settings)
    system.upgrade(image(1, *first))
    system.upgrade(image(2, *second))
    assert system.runs() == image(2).digest


@pytest.mark.parametrize(("settings", "first", "second", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_is_older_is_refused(
    settings: TrustSettings, first: tuple[str, str], second: tuple[str, str], problem: str
) -> None:
    system = System(settings)
    system.upgrade(image(1, *first))
    with pytest.raises(DowngradeError, match=problem):
        system.upgrade(image(2, *second))


def test_an_image_without_a_time_does_not_open_the_way_back() -> None:
    system = System(ON)
    system.upgrade(image(1, JUNE))
    system.upgrade(image(2, "1970-01-01T00:00:00Z"))
    with pytest.raises(DowngradeError, match=JUNE):
        system.upgrade(image(3, MAY))


# ---------------------------------------------------------------- the record

SIGNED = evolve(REFERENCE, signature="containerPolicy")


@pytest.fixture
def record(tmp_path: Path) -> Acceptances:
    return Acceptances(DirectoryVolume(tmp_path), PurePosixPath("state"), lambda: None)


def accepted(number: int, verdict: str = "signedBy AB") -> Image:
    return evolve(image(number, JUNE, f"v{number}"), verdict=verdict)


def test_verdicts_are_known_by_reference_and_digest(record: Acceptances) -> None:
    record.accept(accepted(1, "not verified"), REFERENCE)
    record.accept(accepted(1), SIGNED)
    record.accept(accepted(2), REFERENCE)
    found = [record.verdict(name, image(number).digest) for name in (REFERENCE, SIGNED) for number in (1, 2)]
    assert found == ["not verified", "signedBy AB", "signedBy AB", None]
    assert record.newest(SIGNED) == record.newest(REFERENCE) == Accepted(image(2).digest, JUNE, "v2")
    assert record.newest(OTHER) is None


def test_an_empty_record_knows_nothing(record: Acceptances) -> None:
    assert (record.newest(REFERENCE), record.verdict(REFERENCE, image(1).digest)) == (None, None)


def test_old_verdicts_are_forgotten(record: Acceptances) -> None:
    for number in range(1, 41):
        record.accept(accepted(number), REFERENCE)
    document = json.loads(record.volume.read(PurePosixPath("state/accepted.json")))
    assert len(document["verdicts"][REFERENCE.origin]) == 16
    assert record.verdict(REFERENCE, image(40).digest) == "signedBy AB"


def test_what_a_newer_version_wrote_beside_it_stays(record: Acceptances) -> None:
    record.accept(accepted(1), REFERENCE)
    path = PurePosixPath("state/accepted.json")
    document = json.loads(record.volume.read(path))
    record.volume.replace(path, json.dumps({**document, "more": [1]}).encode())
    record.accept(accepted(2), REFERENCE)
    assert json.loads(record.volume.read(path))["more"] == [1]


DAMAGED: dict[str, Any] = {
    "no JSON": b"{",
    "no object": b"[]",
    "no table": b'{"newest": 1, "verdicts": 1}',
    "no entry": json.dumps({"newest": {str(REFERENCE): 1}, "verdicts": {REFERENCE.origin: 1}}).encode(),
    "no digest": json.dumps(
        {"newest": {str(REFERENCE): {"digest": "x"}}, "verdicts": {REFERENCE.origin: {str(image(1).digest): {}}}}
    ).encode(),
    "no text": json.dumps(
        {
            "newest": {str(REFERENCE): {"digest": str(image(1).digest), "created": 1}},
            "verdicts": {REFERENCE.origin: {str(image(1).digest): {"verdict": 1}}},
        }
    ).encode(),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_told_of(record: Acceptances, data: bytes) -> None:
    record.volume.make_directories(PurePosixPath("state"))
    record.volume.replace(PurePosixPath("state/accepted.json"), data)
    for ask in (lambda: record.newest(REFERENCE), lambda: record.verdict(REFERENCE, image(1).digest)):
        with pytest.raises(StateError, match=r"accepted\.json"):
            ask()


class Damaged(ToyAcceptances):
    """A record that cannot be read."""

    def newest(self, reference: ImageReference) -> Accepted | None:
        raise StateError("accepted.json", "damaged")


@pytest.mark.parametrize("settings", [ON, OFF], ids=["on", "off"])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_damaged_record_is_told_of_before_anything_changes(settings: TrustSettings, allowed: bool) -> None:
    system = System(settings, accepted=Damaged())
    with pytest.raises(StateError):
        system.upgrade(image(1, JUNE), allow_downgrade=allowed)
    assert "order" not in system.disk.kept
