"""Deployments: an image's root, with an /etc of its own and the /var of its stateroot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from attrs import evolve

from bootc import etc_merge
from bootc.deployment import Deployment, DeploymentId
from bootc.errors import BootcError, DeploymentError, StoreError, UsageError
from bootc.image import ImportedImage
from bootc.roots import boot, retention
from bootc.roots.boot import Boot
from bootc.roots.images import Images
from bootc.roots.layout import ETC, MOUNTS, build_at, discard
from bootc.roots.records import DeploymentRecord, RootState
from bootc.roots.sysroot import Staged, Sysroot, View
from bootc.storage import Deployer, DeployRequest, Finding, MenuFormat, Pinning
from bootc.system.initramfs import TRANSIENT_VERSION

_STAMP = ".updated"
_STATEROOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class RootDeployer(Deployer):
    """Without pins; what the next import will destroy is for a subclass to say (`expendable`)."""

    def __init__(self, sysroot: Sysroot, images: Images, *, is_etc_transient: bool = False) -> None:
        """With a transient /etc, what new deployments change in theirs is forgotten at reboot, and never merged."""
        self._sysroot, self._images, self._is_etc_transient = sysroot, images, is_etc_transient
        self._volume, self._layout = sysroot.volume, sysroot.layout

    def initialize(self, stateroot: str, menu_format: MenuFormat) -> None:
        if not _STATEROOT.fullmatch(stateroot):
            raise UsageError(f"{stateroot!r} is no name for a stateroot", "use letters, digits, dots and dashes")
        for directory in (self._layout.deployments, self._layout.var):
            self._volume.make_directories(directory)
        if RootState.read(self._volume, self._layout) is None:
            self._sysroot.write(RootState())

    def expendable(self, view: View) -> frozenset[DeploymentId]:
        """What the next import or finalization removes, or leaves out of the order."""
        return retention.expendable(view)

    # ------------------------------------------------------------ reading

    def deployments(self) -> tuple[Deployment, ...]:
        view = self._sysroot.view()
        gone = self.expendable(view)
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
        home = self._layout.deployments / deployment
        path = self._volume.path(home / ETC)
        if not path.is_dir():
            if deployment in self._sysroot.state().order:
                hint = f"restore {home / ETC}, or move {home} away while another deployment runs"
                raise DeploymentError(f"the /etc of deployment {deployment} is missing", hint)
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
        if not self._images.tree(image.key).has_directory(ETC):
            return ()  # `stage` refuses such an image, and says why
        with self._images.directory(image.key, ETC) as new:
            return self._plan(merge_from, image.key, new).findings

    def stage(self, image: ImportedImage, request: DeployRequest) -> Deployment:
        tree = self._images.tree(image.key)
        version = max(self._images.plan_version, TRANSIENT_VERSION if self._is_etc_transient else 1)
        found = Boot.of(tree, image, str(request.reference), version, self._images.initramfs_programs)
        files = tuple(self._images.source(image.key, path) for path in (found.kernel, found.initramfs))
        self._fill_var(image.key, request.stateroot)
        record = DeploymentRecord(
            id=DeploymentId(self._sysroot.new_name(image.digest)),
            stateroot=request.stateroot,
            image=image.key,
            reference=request.reference,
            arguments=request.arguments.without(boot.OWN_ARGUMENTS),
            own_arguments=self._images.arguments(image.key),
            merge_from=request.merge_from,
            title=found.title,
            version=found.version,
            kernel=files[0],
            initramfs=files[1],
            boot_digest=boot.digest(self._volume, files),
            is_etc_transient=self._is_etc_transient,
        )
        home = self._layout.deployments / record.id
        partial = build_at(home)
        record.write(self._volume, partial)
        self._volume.replace(partial / MOUNTS, self._mounts(record))
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
        stamp = self._layout.var / record.stateroot / _STAMP
        self._volume.remove(stamp)  # units with ConditionNeedsUpdate=/var run
        order = (record.id, *retention.after_finalizing(view, record.stateroot))
        self._sysroot.write(evolve(self._sysroot.state(), order=order))
        self._sysroot.set_staged(None)

    def arrange(self, order: Sequence[DeploymentId]) -> None:
        state = self._sysroot.state()
        present = [record.id for record in self._sysroot.view().order]
        if sorted(present) != sorted(order):
            raise DeploymentError("the new boot order does not name each deployment once")
        self._mend_plans()
        if state.order != tuple(order):
            self._sysroot.write(evolve(state, order=tuple(order)))

    def clean(self) -> None:
        view = self._sysroot.view()
        kept = {*self._sysroot.state().order, *([view.staged.id] if view.staged else ())}
        for name in self._volume.names(self._layout.deployments):
            if name not in kept:
                discard(self._volume, self._layout.deployments / name)
        self._mend_plans()

    # ------------------------------------------------------------ parts

    def _mounts(self, record: DeploymentRecord) -> bytes:
        return boot.mount_plan(record, self._layout, self._images).render()

    def _mend_plans(self) -> None:
        """Write each mount plan anew that is not what follows from the record of its deployment."""
        for record in self._sysroot.view().order:
            path = self._layout.deployments / record.id / MOUNTS
            with suppress(StoreError):  # of an image that is damaged itself, which others tell
                plan = self._mounts(record)
                if self._volume.read_optional(path) != plan:
                    self._volume.replace(path, plan)

    def _describe(self, record: DeploymentRecord) -> Deployment:
        return Deployment(
            id=record.id,
            stateroot=record.stateroot,
            image=self._images.image(record.image),
            reference=record.reference,
            arguments=record.arguments,
            boot_digest=record.boot_digest,
            entry=boot.entry(record, self._layout),
            details=self._images.details(record),
        )

    def _problems(self, record: DeploymentRecord, *, is_staged: bool) -> Iterator[str]:
        home = self._layout.deployments / record.id
        try:
            problems = tuple(self._images.problems(record.image))
            yield from problems
            if not problems and boot.digest(self._volume, (record.kernel, record.initramfs)) != record.boot_digest:
                yield "its kernel or initramfs is not the image's"
            if not problems and self._volume.read_optional(home / MOUNTS) != self._mounts(record):
                yield f"{home / MOUNTS} is missing or altered"
        except (BootcError, OSError) as error:
            yield str(error)
        if not is_staged and not self._volume.is_directory(home / ETC):
            yield f"{home / ETC} is missing"
        if not self._volume.is_directory(self._layout.var / record.stateroot):
            yield f"{self._layout.var / record.stateroot} is missing"

    def _plan(self, origin: DeploymentId, image: str, new: Path) -> etc_merge.MergePlan:
        """The merge of a deployment's /etc, as it is now, into the one of an image, which is at `new`."""
        source = self._sysroot.record(origin)
        if source is None:
            raise DeploymentError(f"deployment {origin} is gone: its /etc cannot be carried over")
        if source.image == image:
            return etc_merge.plan(new, self.etc(origin), new)
        with self._images.directory(source.image, ETC) as old:
            return etc_merge.plan(old, self.etc(origin), new)

    def _make_etc(self, record: DeploymentRecord) -> None:
        with etc_merge.built(self._volume, self._layout.deployments / record.id / ETC) as partial:
            self._copy(record.image, ETC, partial)
            if record.merge_from:
                made, observe = self._volume.path(partial), etc_merge.announced(self._volume, partial)
                plan = self._plan(record.merge_from, record.image, made)
                etc_merge.apply(plan, self.etc(record.merge_from), made, observe=observe)

    def _fill_var(self, image: str, stateroot: str) -> None:
        """The image's /var, once: what a stateroot has is left alone for ever."""
        path = self._layout.var / stateroot
        if not self._volume.is_directory(path):
            with etc_merge.built(self._volume, path) as partial:
                self._copy(image, "var", partial)

    def _copy(self, image: str, name: str, path: PurePosixPath) -> None:
        """A directory of an image, without the stamp of systemd-update-done(8), so that its units run."""
        self._images.copy(image, name, self._volume, path)
        self._volume.remove(path / _STAMP)


class PinningRootDeployer(RootDeployer, Pinning):
    """Deployments can be pinned, and the rollback survives staging."""

    def set_pinned(self, deployment: DeploymentId, is_pinned: bool) -> None:
        state = self._sysroot.state()
        if deployment not in state.order:
            raise DeploymentError(f"there is no deployment {deployment} to pin", "`bootc status` lists them")
        pinned = state.pinned | {deployment} if is_pinned else state.pinned - {deployment}
        if pinned != state.pinned:
            self._sysroot.write(evolve(state, pinned=pinned))
