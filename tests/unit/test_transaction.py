"""What upgrade, switch and rollback do, on toy plugins: outcomes, requests made, and what stops an update."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import pytest
from attrs import evolve

from bootc.deployment import Deployment, DeploymentId, Slots
from bootc.errors import DeploymentError, EtcConflictError, ImageError, NoSpaceError
from bootc.events import Event, Notice
from bootc.fetcher import Source
from bootc.hookspec import ImageView
from bootc.image import Image, ImageReference, ImportedImage
from bootc.partial.prediction import Prediction
from bootc.platform import Platform
from bootc.storage import Backend, Finding
from bootc.transaction import Transaction
from bootc.updates import Change
from tests.unit.toys import (
    REFERENCE,
    Disk,
    MirrorBootloader,
    NoHooks,
    ToyBackend,
    ToyFetcher,
    ToySource,
    ToyTree,
    toy_image,
    toy_transaction,
    with_parts,
)

OTHER = ImageReference("registry", "host.example/other:latest")


class Lockable(ToyBackend):
    """A toy whose staged deployment can be locked."""

    def set_locked(self, is_locked: bool) -> None:
        self.disk.run["locked"] = is_locked

    def deployments(self) -> tuple[Deployment, ...]:
        locked = bool(self.disk.run.get("locked"))
        return tuple(evolve(d, is_locked=d.is_staged and locked) for d in super().deployments())


def _booted(*versions: int) -> tuple[Disk, Transaction]:
    """A system that was installed with the first version, upgraded to each further one, and booted."""
    disk = Disk()
    for version in versions:
        _open(disk).upgrade(ToyFetcher(version), REFERENCE)
        _open(disk).finalize()
        disk.run = {}
        disk.booted = disk.kept["order"][0]
    return disk, _open(disk)


def _open(disk: Disk, **changes: Any) -> Transaction:
    backend = Lockable(disk)
    return with_parts(toy_transaction(disk, backend, MirrorBootloader(disk, backend)), **changes)


def _slots(disk: Disk) -> Slots:
    return Slots.of(Lockable(disk).deployments())


def test_an_upgrade_is_staged_and_leaves_the_booted_deployment_alone() -> None:
    disk, transaction = _booted(1)
    update = transaction.upgrade(ToyFetcher(2), REFERENCE)
    assert update.change is Change.STAGED
    assert update.previous is not None
    assert update.previous.version == "1"
    slots = _slots(disk)
    assert slots.staged is not None
    assert slots.staged.image is not None
    assert slots.staged.image.version == "2"
    assert slots.booted is not None
    assert slots.booted.image == update.previous


def test_on_a_sysroot_that_is_not_booted_the_image_is_the_default_at_once() -> None:
    disk = Disk()
    update = _open(disk).upgrade(ToyFetcher(1), REFERENCE)
    assert update.change is Change.DEPLOYED
    assert disk.run == {}
    assert disk.default == disk.kept["order"][0]


def test_nothing_new_costs_one_peek_and_no_manifest() -> None:
    _, transaction = _booted(1)
    transaction.steps.references.record(toy_image(1))
    fetcher = ToyFetcher(1)
    assert transaction.upgrade(fetcher, REFERENCE).change is Change.NONE
    assert (fetcher.peeks, fetcher.resolves) == (1, 0)
    check = transaction.check(fetcher, REFERENCE)
    assert (check.image, check.prediction) == (None, None)
    assert (fetcher.peeks, fetcher.resolves) == (2, 0)


def test_what_nobody_came_back_for_leaves_the_spool_although_nothing_is_new() -> None:
    _, transaction = _booted(1)
    transaction.steps.references.record(toy_image(1))
    pruned: list[bool] = []

    def prune() -> int:
        pruned.append(True)
        return 0

    transaction = with_parts(transaction, prune_spool=prune)
    assert transaction.upgrade(ToyFetcher(1), REFERENCE).change is Change.NONE
    assert pruned == [True]


def test_a_reference_by_digest_that_runs_already_costs_nothing() -> None:
    _, transaction = _booted(1)
    pinned = REFERENCE.with_digest(toy_image(1).digest)
    fetcher = ToyFetcher(1)
    assert transaction.check(fetcher, pinned).image is None
    assert (fetcher.peeks, fetcher.resolves) == (0, 0)


def test_check_tells_of_a_new_image_and_changes_no_deployment() -> None:
    disk, transaction = _booted(1)
    before = _slots(disk)
    check = transaction.check(ToyFetcher(2), REFERENCE)
    assert check.image is not None
    assert check.image.version == "2"
    assert check.prediction is not None
    assert [layer.layer for layer in check.prediction.layers] == [x.descriptor.digest for x in check.image.layers]
    assert _slots(disk) == before


def test_a_check_of_what_is_staged_already_predicts_no_fetch() -> None:
    _, transaction = _booted(1)
    transaction.upgrade(ToyFetcher(2), REFERENCE)
    check = transaction.check(ToyFetcher(2), REFERENCE)
    assert check.image is not None
    assert check.prediction == Prediction(())


def test_the_same_image_again_keeps_the_staged_deployment_and_follows_the_lock() -> None:
    disk, transaction = _booted(1)
    transaction.upgrade(ToyFetcher(2), REFERENCE)
    staged = _slots(disk).staged
    assert transaction.upgrade(ToyFetcher(2), REFERENCE).change is Change.STAGED_BEFORE
    assert transaction.upgrade(ToyFetcher(2), REFERENCE, is_locked=True).change is Change.LOCKED
    assert transaction.upgrade(ToyFetcher(2), REFERENCE, is_locked=True).change is Change.STAGED_BEFORE
    assert transaction.upgrade(ToyFetcher(2), REFERENCE).change is Change.UNLOCKED
    assert _slots(disk).staged == staged


class Full(NoHooks):
    """What a plugin adds to a staged deployment does not fit any more."""

    def staged(self, deployment: Deployment) -> None:
        raise NoSpaceError("a report", "/var")


def test_what_fails_after_staging_does_not_stay_staged() -> None:
    disk, transaction = _booted(1)
    before = _slots(disk)
    with pytest.raises(NoSpaceError):
        with_parts(transaction, hooks=Full()).upgrade(ToyFetcher(3), REFERENCE)
    assert (_slots(disk), transaction.steps.references.seen(REFERENCE)) == (before, None)
    assert transaction.steps.backend.store.find(toy_image(3)) is None


class Unprunable(Lockable):
    """Cannot remove anything."""

    def prune(self, keep: Collection[ImportedImage]) -> int:
        raise NoSpaceError("a ref", "the store")


def test_an_update_in_force_is_not_called_a_failure_because_cleaning_up_failed() -> None:
    disk, transaction = _booted(1)
    events: list[Event] = []
    backend = Unprunable(disk)
    context = evolve(transaction.steps.context, report=events.append)
    update = with_parts(transaction, backend=Backend(backend, backend), context=context).upgrade(
        ToyFetcher(2), REFERENCE
    )
    assert update.change is Change.STAGED
    assert [event.message for event in events if isinstance(event, Notice) and event.is_warning] == [
        "the update is in force, but cleaning up after it failed: insufficient free space for a ref in the store"
    ]


def test_a_failure_before_staging_leaves_what_was_staged_before() -> None:
    disk, transaction = _booted(1)
    transaction.upgrade(ToyFetcher(2), REFERENCE)
    before = _slots(disk)
    with pytest.raises(ImageError):
        with_parts(transaction, hooks=Objecting()).upgrade(ToyFetcher(3), REFERENCE)
    assert _slots(disk) == before


def test_a_locked_deployment_is_applied_only_after_it_was_released() -> None:
    disk, transaction = _booted(1)
    transaction.upgrade(ToyFetcher(2), REFERENCE)
    transaction.upgrade(ToyFetcher(2), REFERENCE, is_locked=True)
    transaction.finalize()
    assert len(disk.kept["order"]) == 1
    assert transaction.apply_downloaded().change is Change.UNLOCKED
    assert transaction.apply_downloaded().change is Change.STAGED_BEFORE
    transaction.finalize()
    assert len(disk.kept["order"]) == 2


def test_apply_downloaded_without_a_staged_deployment_is_refused() -> None:
    with pytest.raises(DeploymentError, match="No staged deployment found"):
        _booted(1)[1].apply_downloaded()


def test_switch_follows_another_reference_even_to_the_same_image() -> None:
    disk, transaction = _booted(1)
    assert transaction.switch(ToyFetcher(1), REFERENCE).change is Change.UNCHANGED_REFERENCE
    assert transaction.switch(ToyFetcher(1), OTHER).change is Change.STAGED
    staged = _slots(disk).staged
    assert staged is not None
    assert staged.reference == OTHER


def test_rollback_swaps_and_is_its_own_inverse() -> None:
    disk, transaction = _booted(1, 2)
    before = disk.kept["order"]
    assert transaction.roll_back() is False
    assert disk.kept["order"] == before[::-1]
    assert disk.default == before[1]
    assert _open(disk).roll_back() is True
    assert disk.kept["order"] == before


def test_rollback_drops_a_staged_deployment() -> None:
    disk, transaction = _booted(1, 2)
    transaction.upgrade(ToyFetcher(3), REFERENCE)
    transaction.roll_back()
    assert _slots(disk).staged is None


def test_rollback_needs_something_to_roll_back_to() -> None:
    with pytest.raises(DeploymentError, match="No rollback available"):
        _booted(1)[1].roll_back()


class OneImage(ToyFetcher):
    """Serves exactly this image."""

    def __init__(self, image: Image) -> None:
        super().__init__(0)
        self.image = image

    @contextmanager
    def resolve(self, reference: ImageReference, platform: Platform) -> Iterator[Source]:
        yield ToySource(evolve(self.image, reference=reference))


def _with_config(**config: object) -> Image:
    document = {**json.loads(toy_image(2).config), **config}
    return evolve(toy_image(2), config=json.dumps(document).encode())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (_with_config(config={"Labels": {}}), "containers.bootc or ostree.bootable label"),
        (_with_config(architecture="vax"), "image has architecture vax; expected"),
    ],
    ids=["no label", "other architecture"],
)
def test_an_image_that_cannot_be_installed_is_refused_before_it_is_imported(image: Image, message: str) -> None:
    disk, transaction = _booted(1)
    before = dict(disk.kept)
    with pytest.raises(ImageError, match=message):
        transaction.upgrade(OneImage(image), REFERENCE)
    assert disk.kept == before


@pytest.mark.parametrize(
    ("kernels", "message"),
    [((), "no kernel in usr/lib/modules"), (("1", "2"), "more than one kernel: 1, 2"), (("1 2",), "cannot stand")],
    ids=["none", "two", "a name with a space"],
)
def test_an_image_without_exactly_one_kernel_is_not_staged(
    kernels: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, transaction = _booted(1)
    monkeypatch.setattr(ToyTree, "names", lambda self, path: _names(kernels, path))
    with pytest.raises(ImageError, match=message):
        transaction.upgrade(ToyFetcher(2), REFERENCE)
    assert _slots(disk).staged is None
    assert _slots(disk).booted is not None


def _names(kernels: tuple[str, ...], path: PurePosixPath) -> tuple[str, ...]:
    return kernels if str(path) == "usr/lib/modules" else ("initramfs.img", "vmlinuz")


class Objecting(NoHooks):
    """A plugin that finds fault with every image."""

    def check_image(self, view: ImageView) -> list[Finding]:
        return [Finding("sshd", "keys are missing", is_fatal=True)]


def test_a_fatal_finding_of_a_plugin_stops_the_update() -> None:
    disk, _ = _booted(1)
    with pytest.raises(ImageError, match="sshd: keys are missing"):
        _open(disk, hooks=Objecting()).upgrade(ToyFetcher(2), REFERENCE)
    assert _slots(disk).staged is None


class Merging(ToyBackend):
    """A toy that foresees what carrying /etc over would meet."""

    def __init__(self, disk: Disk, *findings: Finding) -> None:
        super().__init__(disk)
        self.findings = findings

    def preview(self, image: ImportedImage, merge_from: DeploymentId) -> tuple[Finding, ...]:
        assert merge_from == self.disk.booted
        return self.findings


def test_a_merge_of_etc_that_would_fail_stops_the_update_before_anything_is_staged() -> None:
    disk, _ = _booted(1)
    conflicts = [Finding(f"/etc/{name}", "is in the way", is_fatal=True) for name in ("a", "b", "c", "d")]
    backend = Merging(disk, Finding("/etc/e", "stays", is_fatal=False), *conflicts)
    with pytest.raises(EtcConflictError, match=r"/etc/a is in the way; .*\(and 1 more\)") as failure:
        _open(disk, backend=Backend(backend, backend)).upgrade(ToyFetcher(2), REFERENCE)
    assert len(failure.value.conflicts) == 4
    assert _slots(disk).staged is None


def test_what_a_merge_of_etc_will_leave_aside_is_told() -> None:
    disk, _ = _booted(1)
    events: list[Event] = []
    backend = Merging(disk, Finding("/etc/e", "is a socket", is_fatal=False))
    transaction = _open(disk, backend=Backend(backend, backend))
    transaction = with_parts(transaction, context=evolve(transaction.steps.context, report=events.append))
    transaction.upgrade(ToyFetcher(2), REFERENCE)
    assert Notice("/etc/e is a socket") in events
    assert _slots(disk).staged is not None


def test_cleaning_keeps_the_images_of_all_deployments_and_frees_the_rest() -> None:
    disk, transaction = _booted(1, 2, 3)
    transaction.collect_garbage()
    kept = sorted(key[-1] for key in disk.kept if key.startswith("image/"))
    assert kept == ["2", "3"]
