"""The one order of steps, on toy plugins that lose power after every atomic step: it always boots, and goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from attrs import frozen

from bootc.steps import Steps
from bootc.transaction import Transaction
from tests.unit.toys import (
    REFERENCE,
    Disk,
    FollowingBootloader,
    GenerationBackend,
    MirrorBootloader,
    MovingNamesBackend,
    PowerCut,
    SlotBackend,
    ToyBackend,
    ToyFetcher,
    toy_transaction,
)


@frozen
class House:
    """A backend and a bootloader that belong together."""

    backend: Callable[[Disk], ToyBackend]
    bootloader: Callable[[Disk, ToyBackend], MirrorBootloader]
    kind: type[Steps] = Steps

    def open(self, disk: Disk) -> tuple[Transaction, ToyBackend, MirrorBootloader]:
        backend = self.backend(disk)
        bootloader = self.bootloader(disk, backend)
        return toy_transaction(disk, backend, bootloader, kind=self.kind), backend, bootloader

    def power_on(self, disk: Disk) -> str | None:
        disk.run, disk.limit, disk.booted = {}, None, None
        disk.booted = self.open(disk)[2].boots()
        return disk.booted

    def shut_down_and_boot(self, disk: Disk) -> str | None:
        self.open(disk)[0].finalize()
        return self.power_on(disk)

    def installed_and_upgraded(self) -> Disk:
        disk = Disk()
        self.open(disk)[0].upgrade(ToyFetcher(1), REFERENCE)
        assert self.power_on(disk)
        self.open(disk)[0].upgrade(ToyFetcher(2), REFERENCE)
        assert self.shut_down_and_boot(disk)
        disk.steps = 0
        return disk


class NeverNarrow(Steps):
    """The order of steps that looks just as natural: the menu is not narrowed first."""

    def narrow(self) -> None:
        self.publish()


HOUSES = {
    "objects": House(ToyBackend, MirrorBootloader),
    "slots": House(SlotBackend, MirrorBootloader),
    "generations, followed": House(GenerationBackend, FollowingBootloader),
    "generations, mirrored": House(GenerationBackend, MirrorBootloader),
}
WRONG_HOUSES = {
    "slots, menu not narrowed": House(SlotBackend, MirrorBootloader, NeverNarrow),
    "generations mirrored by moving names": House(MovingNamesBackend, MirrorBootloader),
    "generations mirrored, menu not narrowed": House(GenerationBackend, MirrorBootloader, NeverNarrow),
}


def _upgrade(transaction: Transaction) -> None:
    transaction.upgrade(ToyFetcher(3), REFERENCE)
    transaction.finalize()


def _upgrade_twice(transaction: Transaction) -> None:
    transaction.upgrade(ToyFetcher(3), REFERENCE)
    transaction.upgrade(ToyFetcher(4), REFERENCE)
    transaction.finalize()


def _roll_back(transaction: Transaction) -> None:
    transaction.roll_back()


def _roll_back_and_upgrade(transaction: Transaction) -> None:
    transaction.roll_back()
    _upgrade(transaction)


def _back_to_the_first(transaction: Transaction) -> None:
    transaction.upgrade(ToyFetcher(1), REFERENCE)
    transaction.finalize()


def _collect(transaction: Transaction) -> None:
    transaction.collect_garbage()


STORIES = (_upgrade, _upgrade_twice, _roll_back, _roll_back_and_upgrade, _back_to_the_first, _collect)


@frozen
class Damage:
    """What was found after one power cut."""

    unbootable: bool
    dangling: tuple[str, ...]
    stuck: bool


def _cut_everywhere(house: House, story: Callable[[Transaction], None]) -> list[Damage]:
    found = []
    for limit in itertools.count():
        disk = house.installed_and_upgraded()
        disk.limit = limit
        try:
            story(house.open(disk)[0])
            is_over = True
        except PowerCut:
            is_over = False
        found.append(_examine(house, disk))
        if is_over:
            return found
    raise AssertionError("unreachable")


def _examine(house: House, disk: Disk) -> Damage:
    disk.limit = None
    dangling = tuple(house.open(disk)[2].dangling())
    if not house.power_on(disk):
        return Damage(True, dangling, True)
    return Damage(False, dangling, not _goes_on(house, disk))


def _goes_on(house: House, disk: Disk) -> bool:
    """One more upgrade and rollback, as if nothing had happened."""
    house.open(disk)[0].upgrade(ToyFetcher(9), REFERENCE)
    if not house.shut_down_and_boot(disk):
        return False
    transaction, backend, _ = house.open(disk)
    image = backend.deployments()[0].image
    if image is None or image.digest.hex[-1] != "9":
        return False
    transaction.roll_back()
    return house.power_on(disk) is not None


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__.strip("_"))
@pytest.mark.parametrize("house", HOUSES.values(), ids=HOUSES)
def test_a_power_cut_after_any_step_leaves_a_system_that_boots_and_goes_on(
    house: House, story: Callable[[Transaction], None]
) -> None:
    found = _cut_everywhere(house, story)
    assert len(found) > 1 or story is _collect
    assert [damage for damage in found if damage != Damage(False, (), False)] == []


@pytest.mark.parametrize("house", WRONG_HOUSES.values(), ids=WRONG_HOUSES)
def test_the_model_sees_what_is_wrong_with_other_orders(house: House) -> None:
    found = [damage for story in STORIES for damage in _cut_everywhere(house, story)]
    assert any(damage != Damage(False, (), False) for damage in found)


def test_power_cuts_on_a_sysroot_that_is_not_booted_leave_it_bootable() -> None:
    for house in HOUSES.values():
        for limit in itertools.count():
            disk = Disk()
            house.open(disk)[0].upgrade(ToyFetcher(1), REFERENCE)
            disk.steps, disk.limit = 0, limit
            try:
                house.open(disk)[0].upgrade(ToyFetcher(2), REFERENCE)
                house.open(disk)[0].upgrade(ToyFetcher(3), REFERENCE)
                is_over = True
            except PowerCut:
                is_over = False
            assert house.power_on(disk)
            assert house.open(disk)[2].dangling() == []
            if is_over:
                break
