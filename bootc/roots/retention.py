"""Which deployments stay when another becomes the default: a pure function over what there is."""

from __future__ import annotations

from bootc.deployment import DeploymentId
from bootc.roots.records import DeploymentRecord
from bootc.roots.sysroot import View


def after_finalizing(view: View, stateroot: str) -> tuple[DeploymentId, ...]:
    """What stays in the order behind a new default of this stateroot: what runs (or, where nothing runs, was the
    default) as its rollback, what is pinned, and other stateroots."""
    own = [record for record in view.order if record.stateroot == stateroot]
    rollback = next((record for record in own if record.id == view.booted), own[0] if own else None)

    def stays(record: DeploymentRecord) -> bool:
        return record.stateroot != stateroot or record is rollback or record.id in (view.booted, *view.pinned)

    return tuple(record.id for record in view.order if stays(record))


def expendable(view: View) -> frozenset[DeploymentId]:
    """What the next finalization leaves out of the order."""
    if view.staged is None or view.is_locked:
        return frozenset()
    return frozenset(record.id for record in view.order) - {*after_finalizing(view, view.staged.stateroot)}
