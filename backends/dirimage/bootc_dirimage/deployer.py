"""Deployments: a tree in a slot, with an /etc of its own and the /var of its stateroot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import evolve

from bootc import etc_merge
from bootc.deployment import Deployment, DeploymentId
from bootc.errors import BootcError, DeploymentError, UsageError
from bootc.hookspec import Context
from bootc.image import ImportedImage
from bootc.storage import Deployer, DeployRequest, Finding, MenuFormat, Pinning
from bootc_dirimage import boot, retention
from bootc_dirimage.boot import Boot
from bootc_dirimage.layout import (
    DEPLOYMENTS,
    ETC,
    LAYERS,
    MOUNTS,
    SLOTS,
    TREE,
    VAR,
    build_at,
    discard,
)
from bootc_dirimage.records import DeploymentRecord, SlotRecord, State
from bootc_dirimage.sysroot import Staged, Sysroot
from bootc_dirimage.tree import SlotTree

_STATEROOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_COPY = etc_merge.MergePlan((), ())
"""a merge that carries nothing over"""


class DirimageDeployer(Deployer):
    """With two slots."""

    def __init__(self, context: Context, sysroot: Sysroot) -> None:
        self._context, self._sysroot = context, sysroot
        self._volume = sysroot.volume

    def initialize(self, stateroot: str, menu_format: MenuFormat) -> None:
        if not _STATEROOT.fullmatch(stateroot):
            raise UsageError(f"{stateroot!r} is no name for a stateroot", "use letters, digits, dots and dashes")
        for directory in (SLOTS, DEPLOYMENTS, VAR, LAYERS):
            self._volume.make_directories(directory)
        if State.read(self._volume) is None:
            State().write(self._volume)

    # ------------------------------------------------------------ reading

    def deployments(self) -> tuple[Deployment, ...]:
        view = self._sysroot.view()
        gone = retention.expendable(view, self._sysroot.options.slots)
        present = tuple(
            evolve(
                self._describe(record),
                is_booted=record.id == view.booted,
                is_pinned=record.id in view.pinned,
                is_expendable=record.id in gone,
            )
            for record in view.order
        )
        if view.staged is None:
            return present
        return (evolve(self._describe(view.staged), is_staged=True, is_locked=view.is_locked), *present)

    def etc(self, deployment: DeploymentId) -> Path:
        path = self._volume.path(DEPLOYMENTS / deployment / ETC)
        if not path.is_dir():
            raise DeploymentError(f"deployment {deployment} has no /etc before it is made the default")
        return path

    def check(self) -> Iterator[Finding]:
        view = self._sysroot.view()
        for id in self._sysroot.state().order:
            if all(record.id != id for record in view.order):
                yield Finding(id, "is in the boot order, and gone", is_fatal=True)
        for record in (*view.order, *([view.staged] if view.staged else ())):
            for problem in self._problems(record, is_staged=record is view.staged):
                yield Finding(record.id, problem, is_fatal=True)

    # ------------------------------------------------------------ staging

    def preview(self, image: ImportedImage, merge_from: DeploymentId) -> tuple[Finding, ...]:
        return self._plan(merge_from, image.key).findings

    def stage(self, image: ImportedImage, request: DeployRequest) -> Deployment:
        tree = self._tree(image.key)
        found = Boot.of(tree, image, str(request.reference))
        self._fill_var(image.key, request.stateroot)
        record = DeploymentRecord(
            id=DeploymentId(self._sysroot.new_name(image.digest)),
            stateroot=request.stateroot,
            slot=image.key,
            reference=request.reference,
            arguments=request.arguments.without(boot.OWN_ARGUMENTS),
            merge_from=request.merge_from,
            title=found.title,
            version=found.version,
            kernel=found.kernel,
            initramfs=found.initramfs,
            boot_digest=found.digest,
        )
        home = DEPLOYMENTS / record.id
        partial = build_at(home)
        record.write(self._volume, partial)
        self._volume.replace(partial / MOUNTS, boot.mount_plan(record).render())
        self._volume.sync()
        self._volume.rename(partial, home)
        self._sysroot.set_staged(Staged(record.id, request.is_locked))
        return self.deployments()[0]

    def set_locked(self, is_locked: bool) -> None:
        staged = self._sysroot.staged()
        if staged is None:
            raise DeploymentError("no staged deployment", "run `bootc upgrade` to stage one")
        self._sysroot.set_staged(evolve(staged, is_locked=is_locked))

    def unstage(self) -> None:
        self._sysroot.set_staged(None)

    # ------------------------------------------------------------ changing what boots

    def finalize(self) -> None:
        view = self._sysroot.view()
        record = view.staged
        if record is None or view.is_locked:
            return
        self._make_etc(record)
        self._volume.remove(VAR / record.stateroot / ".updated")  # units with ConditionNeedsUpdate=/var run
        order = (record.id, *retention.after_finalizing(view, record.stateroot))
        evolve(self._sysroot.state(), order=order).write(self._volume)
        self._sysroot.set_staged(None)

    def arrange(self, order: Sequence[DeploymentId]) -> None:
        state = self._sysroot.state()
        present = [record.id for record in self._sysroot.view().order]
        if sorted(present) != sorted(order):
            raise DeploymentError("the new boot order does not name each deployment once")
        if state.order != tuple(order):
            evolve(state, order=tuple(order)).write(self._volume)

    def clean(self) -> None:
        view = self._sysroot.view()
        kept = {*self._sysroot.state().order, *([view.staged.id] if view.staged else ())}
        for name in self._volume.names(DEPLOYMENTS):
            if name not in kept:
                discard(self._volume, DEPLOYMENTS / name)

    # ------------------------------------------------------------ parts

    def _tree(self, slot: str) -> SlotTree:
        return SlotTree(self._volume.path(SLOTS / slot / TREE))

    def _describe(self, record: DeploymentRecord) -> Deployment:
        slot = SlotRecord.read(self._volume, record.slot)
        return Deployment(
            id=record.id,
            stateroot=record.stateroot,
            image=slot.image if slot else None,
            reference=record.reference,
            arguments=record.arguments,
            boot_digest=record.boot_digest,
            entry=boot.entry(record),
            details={"dirimage": {"id": record.id, "slot": record.slot, "stateroot": record.stateroot}},
        )

    def _problems(self, record: DeploymentRecord, *, is_staged: bool) -> Iterator[str]:
        try:
            if SlotRecord.read(self._volume, record.slot) is None:
                yield f"its slot {record.slot} is gone"
            elif boot.digest(self._tree(record.slot), (record.kernel, record.initramfs)) != record.boot_digest:
                yield "its kernel or initramfs is not the image's"
        except (BootcError, OSError) as error:
            yield str(error)
        home = DEPLOYMENTS / record.id
        if self._volume.read_optional(home / MOUNTS) != boot.mount_plan(record).render():
            yield f"{home / MOUNTS} is missing or altered"
        if not is_staged and not self._volume.is_directory(home / ETC):
            yield f"{home / ETC} is missing"
        if not self._volume.is_directory(VAR / record.stateroot):
            yield f"{VAR / record.stateroot} is missing"

    def _plan(self, origin: DeploymentId, slot: str) -> etc_merge.MergePlan:
        source = DeploymentRecord.read(self._volume, origin)
        if source is None:
            raise DeploymentError(f"deployment {origin} is gone: its /etc cannot be carried over")
        old, new = (self._volume.path(SLOTS / key / TREE / ETC) for key in (source.slot, slot))
        return etc_merge.plan(old, self.etc(origin), new)

    def _make_etc(self, record: DeploymentRecord) -> None:
        new, home = self._volume.path(SLOTS / record.slot / TREE / ETC), DEPLOYMENTS / record.id / ETC
        if record.merge_from is None:
            etc_merge.build(_COPY, new, new, self._volume, home)
        else:
            plan = self._plan(record.merge_from, record.slot)
            etc_merge.build(plan, self.etc(record.merge_from), new, self._volume, home)

    def _fill_var(self, slot: str, stateroot: str) -> None:
        """The image's /var, once: what a stateroot has is left alone for ever."""
        path = VAR / stateroot
        if not self._volume.is_directory(path):
            source = self._volume.path(SLOTS / slot / TREE / "var")
            etc_merge.build(_COPY, source, source, self._volume, path)


class SpareDeployer(DirimageDeployer, Pinning):
    """With more slots: the rollback survives staging, and deployments can be pinned."""

    def set_pinned(self, deployment: DeploymentId, is_pinned: bool) -> None:
        state = self._sysroot.state()
        if deployment not in state.order:
            raise DeploymentError(f"there is no deployment {deployment} to pin", "`bootc status` lists them")
        pinned = state.pinned | {deployment} if is_pinned else state.pinned - {deployment}
        if pinned != state.pinned:
            evolve(state, pinned=pinned).write(self._volume)
