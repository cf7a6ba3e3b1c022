"""How few requests an upgrade needs to learn that nothing moved, on toy plugins."""

from __future__ import annotations

from attrs import evolve

from bootc.image import Digest, Image, ImageReference
from bootc.transaction import Transaction
from bootc.updates import Change
from tests.unit.toys import (
    REFERENCE,
    Disk,
    MirrorBootloader,
    ToyBackend,
    ToyFetcher,
    toy_image,
    toy_transaction,
    with_parts,
)


class Blind(ToyFetcher):
    """Cannot tell cheaply what a tag points to."""

    def peek(self, reference: ImageReference) -> Digest | None:
        self.peeks += 1
        return None


def _open(disk: Disk) -> Transaction:
    backend = ToyBackend(disk)
    return toy_transaction(disk, backend, MirrorBootloader(disk, backend))


def _staged() -> Transaction:
    """Version 1 is booted, version 2 staged."""
    disk = Disk()
    _open(disk).upgrade(ToyFetcher(1), REFERENCE)
    _open(disk).finalize()
    disk.run = {}
    disk.booted = disk.kept["order"][0]
    transaction = _open(disk)
    transaction.upgrade(ToyFetcher(2), REFERENCE)
    return transaction


def _outcome(transaction: Transaction, fetcher: ToyFetcher) -> tuple[Change, int, int]:
    change = transaction.upgrade(fetcher, REFERENCE).change
    return change, fetcher.peeks, fetcher.resolves


def test_one_request_tells_which_of_two_deployments_the_tag_points_to() -> None:
    transaction = _staged()
    assert _outcome(transaction, ToyFetcher(2)) == (Change.STAGED_BEFORE, 1, 0)
    assert _outcome(transaction, ToyFetcher(1)) == (Change.NONE, 1, 0)
    assert _outcome(transaction, ToyFetcher(3)) == (Change.STAGED, 1, 1)


def test_what_was_never_looked_at_is_known_by_its_digest() -> None:
    transaction = _staged()
    forgetful = with_parts(transaction, references=type(transaction.steps.references)())
    assert _outcome(forgetful, ToyFetcher(2)) == (Change.STAGED_BEFORE, 1, 0)


def test_an_answer_that_says_nothing_is_no_proof() -> None:
    """Even where the record of the last fetch knows no digest of a tag either."""
    transaction = _staged()
    seen: Image = evolve(toy_image(2), reference=REFERENCE, top_digest=None)
    transaction.steps.references.record(seen)
    assert _outcome(transaction, Blind(3)) == (Change.STAGED, 1, 1)
    assert _outcome(transaction, Blind(3)) == (Change.STAGED_BEFORE, 1, 1)
