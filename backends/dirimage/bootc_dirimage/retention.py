"""Which deployments make way for a new tree: pure functions over what there is."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from bootc.deployment import DeploymentId
from bootc.roots.retention import expendable as left_out
from bootc.roots.sysroot import View


@frozen
class Room:
    """What an import finds when room was made for it."""

    gone: frozenset[DeploymentId]
    used: frozenset[str]
    """slots that stay"""
    keeps_staged: bool


def room(view: View, slots: int) -> Room | None:
    """How room can be made for one more tree; None if it cannot."""
    gone = in_the_way(view, slots)
    if gone is None:
        return None
    used = frozenset(record.image for record in view.order if record.id not in gone)
    with_staged = used | {view.staged.image} if view.staged else used
    keeps_staged = len(with_staged) < slots
    return Room(gone, with_staged if keeps_staged else used, keeps_staged)


def in_the_way(view: View, slots: int) -> frozenset[DeploymentId] | None:
    """What must go before a tree can be built, the last in order first; None if even that would make no room.

    What runs, or the default where nothing runs, never goes; nor does what is pinned. The rollback goes only where
    there are two slots. The staged deployment is no part of this: a new one takes its place anyway.
    """
    gone: list[DeploymentId] = []
    for record in reversed(view.order):
        if _has_room(view, gone, slots):
            break
        if record.id not in _protected(view, slots):
            gone.append(record.id)
    return frozenset(gone) if _has_room(view, gone, slots) else None


def expendable(view: View, slots: int) -> frozenset[DeploymentId]:
    """What the next import or finalization removes, or leaves out of the order."""
    return (in_the_way(view, slots) or frozenset()) | left_out(view)


def _has_room(view: View, gone: Sequence[DeploymentId], slots: int) -> bool:
    return len({record.image for record in view.order if record.id not in gone}) < slots


def _protected(view: View, slots: int) -> set[DeploymentId]:
    order = [record.id for record in view.order]
    current = next((record for record in view.order if record.id == view.booted), view.order[0])
    rollback = [r.id for r in view.order if r.stateroot == current.stateroot and r is not current]
    return {current.id, *view.pinned.intersection(order), *(rollback[:1] if slots > 2 else ())}
