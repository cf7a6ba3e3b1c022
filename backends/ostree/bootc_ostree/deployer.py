"""Deployments, by libostree: staged in a booted system, made at once in one that is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from attrs import evolve, frozen

from bootc import etc_merge
from bootc.deployment import Deployment, DeploymentId
from bootc.durable import release_tree
from bootc.errors import DeploymentError, ProgramError
from bootc.hookspec import Context
from bootc.image import ImportedImage
from bootc.machine import Command
from bootc.storage import Deployer, DeployRequest, Finding, MenuFormat, Pinning
from bootc_ostree import boot_files, links, menu, origin, refs, var
from bootc_ostree.glib import GLib, OSTree, translated
from bootc_ostree.options import OstreeOptions
from bootc_ostree.records import describe, expendable, identity, own_boot_files, tree_of
from bootc_ostree.sysroot import boot_volume, directory, load, locked, opened, relative_directory, repository
from bootc_ostree.thaw import thawed_after_death
from bootc_ostree.tree import ETC, checkout_etc, directory_of, etc_of, require_mount_points

_LOCK = "ostree/staged-deployment-locked"
"""below /run; every version of libostree leaves a staged deployment alone while this file is there"""


@frozen
class _Pending:
    """Made on a sysroot that is not booted, and in no list yet."""

    deployment: OSTree.Deployment
    is_locked: bool


class OstreeDeployer(Deployer, Pinning):
    """Deployments of one sysroot. libostree's lock is held only while something is changed."""

    menu_directory = menu.ENTRIES

    def __init__(self, context: Context, options: OstreeOptions) -> None:
        self._context, self._options = context, options
        self._machine = context.machine
        self._pending: _Pending | None = None

    def initialize(self, stateroot: str, menu_format: MenuFormat) -> None:
        volume = self._machine.sysroot
        volume.make_directories(PurePosixPath("boot"))
        sysroot = opened(self._machine)
        with translated(str(self._machine.root)):
            sysroot.ensure_initialized(None)
            menu.configure(boot_volume(self._machine), repository(self._machine), menu_format)
            home = PurePosixPath("ostree/deploy", stateroot)
            if not volume.is_directory(home):
                sysroot.init_osname(stateroot, None)
            volume.make_directories(home / "var")
            volume.sync()

    def deployments(self) -> tuple[Deployment, ...]:
        return self._described(load(self._machine))

    def etc(self, deployment: DeploymentId) -> Path:
        found = self._find(load(self._machine), deployment)
        path = directory(self._machine, found) / "etc"
        if found.is_staged() or not path.is_dir():  # what a staged one has is not merged yet
            raise DeploymentError(f"deployment {deployment} has no /etc before it is made the default")
        return path

    def preview(self, image: ImportedImage, merge_from: DeploymentId) -> tuple[Finding, ...]:
        sysroot = load(self._machine)
        repo, present = sysroot.repo(), self._find(sysroot, merge_from)
        origin = directory(self._machine, present)
        with translated(str(self._machine.root)):
            wanted = directory_of(repo, image.key, *ETC)
        if wanted is None:
            return ()  # `stage` refuses such an image, and says why
        with ExitStack() as stack:
            old = new = origin.joinpath(*ETC)
            if wanted != etc_of(repo, present.get_csum()):
                new = stack.enter_context(checkout_etc(repo, image.key))
            return etc_merge.preview_ostree(old, origin / "etc", new)

    def stage(self, image: ImportedImage, request: DeployRequest) -> Deployment:
        with self._changing() as sysroot:
            merge = self._find(sysroot, request.merge_from) if request.merge_from else None
            keyfile, arguments = origin.write(request.reference), list(request.arguments)
            repo = sysroot.repo()
            require_mount_points(repo, image.key, str(request.reference))
            repo.set_ref_immediate(None, refs.image_ref(request.reference), image.key, None)
            make = sysroot.stage_tree if self._machine.is_booted else sysroot.deploy_tree
            made = make(request.stateroot, image.key, keyfile, merge, arguments, None)[1]
            if not self._machine.is_booted:
                self._pending = _Pending(made, request.is_locked)
            elif request.is_locked:
                self._lock_file.touch()
            else:  # that of a deployment whose place it takes
                self._lock_file.unlink(missing_ok=True)
            booted = sysroot.get_booted_deployment()
            if booted is None or booted.get_osname() != request.stateroot:
                var.fill(self._machine.sysroot, repo, image.key, request.stateroot)
            self._make_links(sysroot)
        return self._staged()

    def set_locked(self, is_locked: bool) -> None:
        staged = self._staged()
        if self._pending:
            self._pending = evolve(self._pending, is_locked=is_locked)
        elif is_locked:
            self._lock_file.touch()
        else:
            self._unlock(staged)

    def unstage(self) -> None:
        self._pending = None
        with self._changing() as sysroot:
            if sysroot.get_staged_deployment():
                self._write(sysroot, [d for d in sysroot.get_deployments() if not d.is_staged()])
                self._lock_file.unlink(missing_ok=True)

    def finalize(self) -> None:
        staged = next((d for d in self.deployments() if d.is_staged), None)
        if staged is None or staged.is_locked:
            return
        if self._pending:
            self._write_pending(self._pending.deployment)
        else:
            self._finalize_staged(staged.id)
        with self._changing() as sysroot:
            menu.normalize(boot_volume(self._machine))
            newest = sysroot.get_deployments()[0]
            var.expect_update(self._machine.sysroot, newest.get_osname(), relative_directory(newest))

    def arrange(self, order: Sequence[DeploymentId]) -> None:
        with self._changing() as sysroot:
            present = {identity(self._machine, d): d for d in sysroot.get_deployments() if not d.is_staged()}
            if sorted(present) != sorted(order):
                raise DeploymentError("the new boot order does not name each deployment once")
            staged = [d for d in sysroot.get_deployments() if d.is_staged()]
            self._write(sysroot, [*staged, *(present[name] for name in order)])
            menu.normalize(boot_volume(self._machine))
            self._make_links(sysroot)

    def clean(self) -> None:
        if self._pending:
            return
        with self._changing() as sysroot:
            self._remove_deployments(sysroot)
            links.prune(self._machine.sysroot, sysroot.get_deployments())
            self._make_links(sysroot)
            var.clean(self._machine.sysroot)

    def set_pinned(self, deployment: DeploymentId, is_pinned: bool) -> None:
        with self._changing() as sysroot:
            sysroot.deployment_set_pinned(self._find(sysroot, deployment), is_pinned)

    def check(self) -> Iterator[Finding]:
        from bootc_ostree import inspection

        return inspection.check(self._machine, load(self._machine))

    # ------------------------------------------------------------ reading

    def _described(self, sysroot: OSTree.Sysroot) -> tuple[Deployment, ...]:
        repo, booted = sysroot.repo(), sysroot.get_booted_deployment()
        listed = sysroot.get_deployments()
        present = [
            evolve(describe(self._machine, repo, d), is_booted=bool(booted and d.equal(booted)))
            for d in listed
            if not d.is_staged()
        ]
        staged = self._pending.deployment if self._pending else sysroot.get_staged_deployment()
        if staged is None:
            return tuple(present)
        is_locked = self._is_locked(staged)
        first = evolve(describe(self._machine, repo, staged), is_staged=True, is_locked=is_locked)
        gone = frozenset() if is_locked else expendable(present, first.stateroot)
        return (first, *(evolve(d, is_expendable=d.id in gone) for d in present))

    def _staged(self) -> Deployment:
        for deployment in self.deployments():
            if deployment.is_staged:
                return deployment
        raise DeploymentError("no staged deployment", "run `bootc upgrade` to stage one")

    def _find(self, sysroot: OSTree.Sysroot, wanted: DeploymentId) -> OSTree.Deployment:
        pending = [self._pending.deployment] if self._pending else []
        for deployment in (*pending, *sysroot.get_deployments()):
            if identity(self._machine, deployment) == wanted:
                return deployment
        raise DeploymentError(f"there is no deployment {wanted}", "`bootc status` lists them")

    # ------------------------------------------------------------ changing

    @contextmanager
    def _changing(self) -> Iterator[OSTree.Sysroot]:
        """The deployments as they are, while nobody else may change them."""
        sysroot = load(self._machine)
        with locked(sysroot, self._machine.root), translated(str(self._machine.root)):
            sysroot.load_if_changed(None)
            yield sysroot

    def _write(self, sysroot: OSTree.Sysroot, deployments: Sequence[OSTree.Deployment]) -> None:
        """Make this the list, in one step. Nothing is deleted here: `clean` does that."""
        options = OSTree.SysrootWriteDeploymentsOpts()
        options.do_postclean = False
        menu.mend_syslinux(boot_volume(self._machine))
        self._mend_boot_files(deployments[:1])
        with thawed_after_death(boot_volume(self._machine).root):
            sysroot.write_deployments_with_options(list(deployments), options, None)

    def _write_pending(self, pending: OSTree.Deployment) -> None:
        with self._changing() as sysroot:
            gone = expendable(
                [d for d in self._described(sysroot) if not d.is_staged],
                pending.get_osname(),
            )
            kept = [d for d in sysroot.get_deployments() if identity(self._machine, d) not in gone]
            self._write(sysroot, [pending, *kept])
        self._pending = None

    def _finalize_staged(self, id: DeploymentId) -> None:
        """By libostree, which cleans up afterwards: where only that fails, the rest is for `clean`."""
        menu.mend_syslinux(boot_volume(self._machine))
        self._mend_boot_files([self._find(load(self._machine), id)])
        try:
            with thawed_after_death(boot_volume(self._machine).root):
                Command(("ostree", "admin", "finalize-staged"), "make the staged deployment the default").run()
        except ProgramError:
            first = next(iter(self.deployments()))
            if first.is_staged or first.id != id:
                raise

    def _mend_boot_files(self, deployments: Iterable[OSTree.Deployment]) -> None:
        repo = repository(self._machine)
        for deployment in deployments:
            own = own_boot_files(deployment, tree_of(repo, deployment))
            sources = [self._machine.root / path for path in own]
            boot_files.mend(boot_volume(self._machine), sources, deployment.get_bootcsum())

    def _remove_deployments(self, sysroot: OSTree.Sysroot) -> None:
        """Those in no list; libostree stops at files in their /etc that somebody made immutable."""
        try:
            sysroot.prepare_cleanup(None)
        except GLib.Error:
            listed = {directory(self._machine, deployment) for deployment in sysroot.get_deployments()}
            present = self._machine.root.glob("ostree/deploy/*/deploy/*/etc")
            if not [etc for etc in present if etc.parent not in listed and release_tree(etc)]:
                raise
            sysroot.prepare_cleanup(None)

    def _make_links(self, sysroot: OSTree.Sysroot) -> None:
        pending = [self._pending.deployment] if self._pending else []
        for deployment in (*pending, *sysroot.get_deployments()):
            links.make(self._machine.sysroot, deployment)

    # ------------------------------------------------------------ the lock of a staged deployment

    @property
    def _lock_file(self) -> Path:
        return (self._machine.run or Path("/run")) / _LOCK

    def _is_locked(self, staged: OSTree.Deployment) -> bool:
        if self._pending:
            return self._pending.is_locked
        return self._lock_file.exists() or _is_locked_inside(staged)

    def _unlock(self, staged: Deployment) -> None:
        """Remove the lock file, and what newer versions of libostree (and upstream) set in the staged data instead."""
        self._lock_file.unlink(missing_ok=True)
        with self._changing() as sysroot:
            found = self._find(sysroot, staged.id)
            if _is_locked_inside(found):
                sysroot.change_finalization(found)


def _is_locked_inside(staged: OSTree.Deployment) -> bool:
    return hasattr(staged, "is_finalization_locked") and bool(staged.is_finalization_locked())
