"""Counted boots on toy plugins: what is counted, what a fall-back leaves, and that no power cut needs somebody."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from attrs import evolve, frozen

from bootc.bootloader import Count
from bootc.deployment import Deployment
from bootc.errors import DeploymentError, FileSystemError, StateError
from bootc.events import Event, Milestone, MilestoneKind, Notice
from bootc.image import ImageReference
from bootc.state import FailureKind
from bootc.state.boots import Record
from bootc.transaction import Transaction
from bootc.updates import Change
from tests.unit.counting_toys import CountingFollower, CountingMirror
from tests.unit.toys import (
    REFERENCE,
    Disk,
    GenerationBackend,
    NoHooks,
    PowerCut,
    SlotBackend,
    ToyBackend,
    ToyFetcher,
    toy_image,
    toy_transaction,
    with_parts,
)

TRIES = 2
OTHER = ImageReference("registry", "host.example/other:latest")


@frozen
class House:
    """A backend and a bootloader that counts, and which images do not boot."""

    backend: Callable[[Disk], ToyBackend]
    bootloader: Callable[[Disk, ToyBackend], CountingMirror | CountingFollower]
    bad: frozenset[int] = frozenset({3})

    def open(self, disk: Disk, tries: int | None = TRIES) -> Transaction:
        backend = self.backend(disk)
        transaction = toy_transaction(disk, backend, self.bootloader(disk, backend))
        return with_parts(transaction, tries=tries)

    def start(self, disk: Disk) -> str | None:
        """One power-on: what it starts."""
        disk.run, disk.booted = {}, None
        backend = self.backend(disk)
        disk.booted = self.bootloader(disk, backend).start()
        return disk.booted

    def boot(self, disk: Disk) -> int:
        """Power on until something boots, as a machine does that nobody looks after; the version that runs then."""
        for _ in range(TRIES + 1):
            started = self.start(disk)
            assert started is not None
            version = self.version(disk, started)
            if version not in self.bad:
                transaction = self.open(disk)
                transaction.publish()
                transaction.complete_boot()
                return version
        raise AssertionError("no boot succeeds")

    def version(self, disk: Disk, id: str) -> int:
        record: Deployment = disk.kept[f"deployment/{id}"]
        assert record.image is not None
        return int(record.image.version or 0)

    def update(self, disk: Disk, version: int, *, retry_failed: bool = False) -> Change:
        """Upgrade, and shut down in order."""
        change = self.open(disk).upgrade(ToyFetcher(version), REFERENCE, retry_failed=retry_failed).change
        self.open(disk).finalize()
        return change

    def installed_and_upgraded(self) -> Disk:
        disk = Disk()
        self.open(disk, None).upgrade(ToyFetcher(1), REFERENCE)
        assert self.boot(disk) == 1
        assert self.update(disk, 2) is Change.STAGED
        assert self.boot(disk) == 2
        disk.steps = 0
        return disk

    def deployments(self, disk: Disk) -> tuple[Deployment, ...]:
        return self.backend(disk).deployments()


HOUSES = {
    "objects, counters in entries": House(ToyBackend, CountingMirror),
    "slots, counters in entries": House(SlotBackend, CountingMirror),
    "generations mirrored, counters in entries": House(GenerationBackend, CountingMirror),
    "generations followed, a block": House(GenerationBackend, CountingFollower),
}


@pytest.fixture(params=list(HOUSES.values()), ids=list(HOUSES))
def house(request: pytest.FixtureRequest) -> House:
    found: House = request.param
    return found


def _record(disk: Disk) -> Record:
    found: Record = disk.kept.get("boots", Record())
    return found


def _failures(disk: Disk) -> list[tuple[FailureKind, str, str]]:
    return [(f.kind, f.digest.hex[-1] if f.digest else "", f.reason) for f in _record(disk).failures]


# ---------------------------------------------------------------- what is counted


def test_the_first_installation_has_nothing_to_fall_back_to_and_is_not_counted(house: House) -> None:
    disk = Disk()
    house.open(disk).upgrade(ToyFetcher(1), REFERENCE)
    assert (disk.counts, _record(disk)) == ({}, Record())


def test_an_upgrade_is_counted_until_its_boot_is_complete(house: House) -> None:
    disk = house.installed_and_upgraded()
    house.update(disk, 4)
    new = house.deployments(disk)[0].id
    assert disk.counts == {new: Count(TRIES, 0)}
    assert house.start(disk) == new
    assert disk.counts == {new: Count(TRIES - 1, 1)}
    house.open(disk).publish()
    assert disk.counts == {new: Count(TRIES - 1, 1)}
    house.open(disk).complete_boot()
    assert (disk.counts, _record(disk)) == ({}, Record())


def test_with_zero_tries_nothing_is_counted(house: House) -> None:
    disk = house.installed_and_upgraded()
    house.open(disk, 0).upgrade(ToyFetcher(4), REFERENCE)
    house.open(disk, 0).finalize()
    assert (disk.counts, _record(disk)) == ({}, Record())


def test_what_booted_well_once_is_not_counted_after_a_rollback(house: House) -> None:
    disk = house.installed_and_upgraded()
    house.open(disk).roll_back()
    assert disk.counts == {}
    assert house.boot(disk) == 1
    house.open(disk).roll_back()
    assert disk.counts == {}
    assert house.boot(disk) == 2


class Uncounted(CountingMirror):
    """Could count, but not on this machine."""

    def uncounted(self) -> str | None:
        return "the disk cannot be written"


def test_where_boots_cannot_be_counted_the_user_is_told_when_staging() -> None:
    house = House(ToyBackend, Uncounted)
    disk = house.installed_and_upgraded()
    events: list[Event] = []
    transaction = house.open(disk)
    with_parts(transaction, context=evolve(transaction.steps.context, report=events.append)).upgrade(
        ToyFetcher(4), REFERENCE
    )
    told = [event.message for event in events if isinstance(event, Notice) and event.is_warning]
    assert told == ["the boots of this update are not counted: the disk cannot be written"]
    house.open(disk).finalize()
    assert disk.counts == {}


# ---------------------------------------------------------------- falling back


def test_a_deployment_that_does_not_boot_is_given_up_for_good_and_remembered(house: House) -> None:
    disk = house.installed_and_upgraded()
    assert house.update(disk, 3) is Change.STAGED
    bad = house.deployments(disk)[0].id
    assert house.boot(disk) == 2
    default, *_ = house.deployments(disk)
    assert default.is_booted
    assert _failures(disk) == [(FailureKind.BOOT, "3", "none of 2 boots was completed")]
    assert (_record(disk).failures[0].deployment, _record(disk).trial) == (bad, None)
    assert house.boot(disk) == 2


def test_a_fall_back_stands_in_the_journal_and_plugins_are_told_of_the_boot() -> None:
    house = HOUSES["objects, counters in entries"]
    disk = house.installed_and_upgraded()
    house.update(disk, 3)
    for _ in range(TRIES + 1):
        house.start(disk)
    events: list[Event] = []
    completed: list[str] = []

    class Listening(NoHooks):
        def boot_completed(self, deployment: Deployment) -> None:
            completed.append(deployment.id)

    transaction = house.open(disk)
    context = evolve(transaction.steps.context, report=events.append)
    with_parts(transaction, context=context, hooks=Listening()).complete_boot("Kernel panic - not syncing: no init")
    assert [event.kind for event in events if isinstance(event, Milestone)] == [MilestoneKind.FALLBACK]
    assert completed == [disk.booted]
    reason = "none of 2 boots was completed: Kernel panic - not syncing: no init"
    assert _failures(disk) == [(FailureKind.BOOT, "3", reason)]


def test_what_the_deployment_itself_said_last_is_the_reason(house: House) -> None:
    disk = house.installed_and_upgraded()
    house.update(disk, 3)
    house.start(disk)
    house.open(disk).note_late_boot("failed: sshd.service")
    assert house.boot(disk) == 2
    assert _failures(disk) == [(FailureKind.BOOT, "3", "none of 2 boots was completed: failed: sshd.service")]


def test_what_the_bootloader_could_not_even_start_is_given_up_at_once(house: House) -> None:
    disk = house.installed_and_upgraded()
    house.update(disk, 4)
    new, old = house.deployments(disk)[:2]
    disk.run, disk.booted = {}, old.id
    disk.counts = {new.id: Count(TRIES - 1, 1, "its kernel cannot be read")}
    house.open(disk).complete_boot()
    assert house.deployments(disk)[0].id == old.id
    assert _failures(disk) == [(FailureKind.BOOT, "4", "its boot was not completed: its kernel cannot be read")]


def test_choosing_the_old_entry_by_hand_is_no_failure(house: House) -> None:
    disk = house.installed_and_upgraded()
    house.update(disk, 4)
    new, old = house.deployments(disk)[:2]
    disk.run, disk.booted = {}, old.id
    house.open(disk).publish()
    house.open(disk).complete_boot()
    assert house.deployments(disk)[0].id == new.id
    assert (disk.counts, _failures(disk)) == ({new.id: Count(TRIES, 0)}, [])
    assert house.boot(disk) == 4


def test_an_image_that_failed_is_not_staged_again_unless_told_so(house: House) -> None:
    disk = house.installed_and_upgraded()
    house.update(disk, 3)
    house.boot(disk)
    update = house.open(disk).upgrade(ToyFetcher(3), REFERENCE)
    assert (update.change, update.failure) == (Change.FAILED_BEFORE, _record(disk).failures[0])
    assert house.open(disk).switch(ToyFetcher(3), OTHER).change is Change.FAILED_BEFORE
    assert not any(d.is_staged for d in house.deployments(disk))
    fetcher = ToyFetcher(3)
    assert house.open(disk).check(fetcher, REFERENCE).failure == _record(disk).failures[0]
    assert house.update(disk, 3, retry_failed=True) is Change.STAGED
    assert _failures(disk) == []
    assert disk.counts == {house.deployments(disk)[0].id: Count(TRIES, 0)}


def test_a_failed_image_costs_one_small_request_each_time() -> None:
    house = HOUSES["objects, counters in entries"]
    disk = house.installed_and_upgraded()
    house.update(disk, 3)
    house.boot(disk)
    transaction, fetcher = house.open(disk), ToyFetcher(3)
    transaction.steps.references.record(toy_image(3))
    assert transaction.upgrade(fetcher, REFERENCE).change is Change.FAILED_BEFORE
    assert (fetcher.peeks, fetcher.resolves) == (1, 0)


def test_a_later_image_has_fresh_tries_and_once_it_is_good_the_failure_is_past(house: House) -> None:
    disk = house.installed_and_upgraded()
    house.update(disk, 3)
    house.boot(disk)
    assert house.update(disk, 4) is Change.STAGED
    assert disk.counts[house.deployments(disk)[0].id] == Count(TRIES, 0)
    assert house.boot(disk) == 4
    assert (_failures(disk), disk.counts) == ([], {})


def test_who_rolls_forward_to_a_failed_deployment_gives_it_new_tries(house: House) -> None:
    disk = house.installed_and_upgraded()
    house.update(disk, 3)
    assert house.boot(disk) == 2
    house.open(disk).roll_back()
    bad = house.deployments(disk)[0]
    assert not bad.is_booted
    assert (disk.counts.get(bad.id), _failures(disk)) == (Count(TRIES, 0), [])
    assert house.boot(disk) == 2
    assert _failures(disk) == [(FailureKind.BOOT, "3", "none of 2 boots was completed")]


def test_an_update_that_was_staged_before_the_fall_back_was_settled_stays_staged(house: House) -> None:
    disk = house.installed_and_upgraded()
    house.update(disk, 3)
    for _ in range(TRIES + 1):
        house.start(disk)
    house.open(disk).publish()
    if house.backend is not SlotBackend:  # whose one other slot holds what failed: staging it settles the order
        house.open(disk).upgrade(ToyFetcher(4), REFERENCE)
        house.open(disk).complete_boot()
        staged, booted, *_ = house.deployments(disk)
        assert (staged.is_staged, booted.is_booted) == (True, True)
        house.open(disk).finalize()
        assert house.boot(disk) == 4


def test_a_boot_of_something_else_cannot_be_complete() -> None:
    house = HOUSES["objects, counters in entries"]
    disk = house.installed_and_upgraded()
    disk.booted = None
    with pytest.raises(DeploymentError, match="what runs is no deployment"):
        house.open(disk).complete_boot()


# ---------------------------------------------------------------- failed finalizations


class Unmergeable(ToyBackend):
    """A merge that fails at shutdown."""

    def finalize(self) -> None:
        if "unmergeable" in self.disk.kept:
            raise FileSystemError("/etc/motd", "input/output error")
        super().finalize()

    def set_locked(self, is_locked: bool) -> None:
        self.disk.run["locked"] = is_locked


def test_a_failed_finalization_leaves_the_old_default_and_is_remembered_until_one_succeeds() -> None:
    house = House(Unmergeable, CountingMirror)
    disk = house.installed_and_upgraded()
    disk.kept["unmergeable"] = True
    house.open(disk).upgrade(ToyFetcher(4), REFERENCE)
    with pytest.raises(FileSystemError):
        house.open(disk).finalize()
    assert _failures(disk) == [(FailureKind.FINALIZATION, "4", "/etc/motd: input/output error")]
    assert disk.run["locked"], "a unit of the backend's own could still finalize it"
    assert house.boot(disk) == 2
    assert _failures(disk) == [(FailureKind.FINALIZATION, "4", "/etc/motd: input/output error")]
    del disk.kept["unmergeable"]
    assert house.update(disk, 4) is Change.STAGED
    assert _failures(disk) == []
    assert house.boot(disk) == 4


class Damaged:
    """A record that cannot be read."""

    def __init__(self) -> None:
        self.written: list[Record] = []

    def read(self) -> Record:
        raise StateError("boots.json", "damaged: not a JSON object")

    def write(self, record: Record) -> None:
        self.written.append(record)


def test_a_damaged_record_stands_in_nobody_s_way(house: House) -> None:
    disk = house.installed_and_upgraded()
    damaged = Damaged()
    with_parts(house.open(disk), boots=damaged).upgrade(ToyFetcher(4), REFERENCE)
    with_parts(house.open(disk), boots=damaged).finalize()
    assert damaged.written[0].trial == house.deployments(disk)[0].id
    with_parts(house.open(disk), boots=damaged).complete_boot()


# ---------------------------------------------------------------- power cuts


def _bad_upgrade(house: House, disk: Disk) -> None:
    house.update(disk, 3)
    house.boot(disk)


def _bad_upgrade_twice(house: House, disk: Disk) -> None:
    house.update(disk, 3)
    house.boot(disk)
    house.update(disk, 3, retry_failed=True)
    house.boot(disk)


def _bad_upgrade_and_forward_again(house: House, disk: Disk) -> None:
    house.update(disk, 3)
    house.boot(disk)
    house.open(disk).roll_back()
    house.boot(disk)


def _good_upgrade(house: House, disk: Disk) -> None:
    house.update(disk, 4)
    house.boot(disk)


@pytest.mark.parametrize(
    "story",
    [_bad_upgrade, _bad_upgrade_twice, _bad_upgrade_and_forward_again, _good_upgrade],
    ids=lambda story: story.__name__.strip("_"),
)
def test_no_power_cut_leads_to_a_machine_that_needs_somebody(
    house: House, story: Callable[[House, Disk], None]
) -> None:
    for limit in itertools.count():
        disk = house.installed_and_upgraded()
        disk.limit = limit
        try:
            story(house, disk)
            is_over = True
        except PowerCut:
            is_over = False
        disk.limit = None
        _require_settled(house, disk)
        _require_going_on(house, disk)
        if is_over:
            assert limit > 5
            return


def _require_settled(house: House, disk: Disk) -> None:
    """Hands off, the machine soon runs something good, and that is its default, uncounted. A power cut between the
    switch and the menu costs one boot more."""
    assert {house.boot(disk) for _ in range(3)} <= {2, 4}
    default = house.deployments(disk)[0]
    assert default.is_booted
    assert default.id not in disk.counts


def _require_going_on(house: House, disk: Disk) -> None:
    assert house.update(disk, 9) is Change.STAGED
    assert house.boot(disk) == 9
    assert house.deployments(disk)[0].id not in disk.counts
    assert _failures(disk) == []
