"""Upgrade, switch, rollback and cleaning up: the one order of steps, for every backend.

Narrow (write the boot menu without what will be destroyed), record (stage, finalize or arrange), publish (write the
menu that follows from the deployments), clean. The sysroot is the truth and the menu its shadow: an entry stays
bootable until a `write` without it has returned, and every command begins by publishing again, which finishes whatever
a power cut left undone.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Protocol

from attrs import evolve, field, frozen

from bootc import bootable, kargs
from bootc.bootloader import Bootloader
from bootc.deployment import BootMenu, Deployment, DeploymentId, KernelArguments, Slots
from bootc.errors import BootcError, DeploymentError, EtcConflictError, ImageError, NoSpaceError
from bootc.events import FetchPlanned, Milestone, MilestoneKind, Notice, Phase, PhaseFinished, PhaseStarted
from bootc.fetcher import Fetcher, Peek, Source
from bootc.hookspec import Context, ImageView
from bootc.image import Digest, Image, ImageReference, ImportedImage
from bootc.platform import Platform
from bootc.state import Failure, State
from bootc.storage import Backend, DeployRequest, Finding, ImageStore, LayerStreams
from bootc.trials import Boots, Trials


class Hooks(Protocol):
    """The typed front of the plugins' event hooks."""

    def check_image(self, view: ImageView) -> list[Finding]:
        """Findings of all plugins."""

    def kernel_arguments(self, view: ImageView) -> tuple[str, ...]:
        """Arguments of all plugins."""

    def prepare(self, view: ImageView) -> None:
        """Let plugins make ready what the deployment needs."""

    def staged(self, deployment: Deployment) -> None:
        """Tell plugins."""

    def boot_completed(self, deployment: Deployment) -> None:
        """Tell plugins."""


class References(Protocol):
    """What was seen of each image reference, kept on the sysroot."""

    def seen(self, reference: ImageReference) -> tuple[Digest | None, Digest] | None:
        """The digest it pointed to and the instance's digest, as of the last fetch."""

    def record(self, image: Image) -> None:
        """Remember both digests of an image, and the image itself as a cached update."""

    def touch(self) -> None:
        """Show other programs that the status changed (mtime)."""


class Change(enum.Enum):
    """What an upgrade or a switch did."""

    NONE = "none"
    """the booted (or default) deployment is this image already"""
    STAGED_BEFORE = "staged-before"
    """the staged deployment is this image already"""
    LOCKED = "locked"
    UNLOCKED = "unlocked"
    FAILED_BEFORE = "failed-before"
    """this image failed to boot here, and is not staged again unless told so"""
    UNCHANGED_REFERENCE = "unchanged-reference"
    """switch: the system follows this reference already"""
    STAGED = "staged"
    DEPLOYED = "deployed"
    """on a sysroot that is not booted: it is the default now"""


@frozen
class Update:
    """The outcome of an upgrade or a switch."""

    change: Change
    reference: ImageReference
    deployment: Deployment | None = None
    """the new one, or the one that is this image already"""
    previous: ImportedImage | None = None
    """what runs now, to compare with"""
    failure: Failure | None = None
    """how the image failed before"""


@frozen
class Check:
    """The outcome of `upgrade --check`: the newer image, if there is one."""

    reference: ImageReference
    image: Image | None
    previous: ImportedImage | None
    failure: Failure | None = None
    """the image failed to boot here, and an upgrade would not stage it"""


@frozen
class Transaction:
    """Everything that one changing command needs, opened and checked."""

    context: Context
    backend: Backend
    bootloader: Bootloader
    hooks: Hooks
    references: References
    platform: Platform
    lock: Callable[[], AbstractContextManager[None]]
    """the core's lock on this sysroot; a second writer gets LockedError"""
    open_streams: Callable[[Source, ImageStore], AbstractContextManager[LayerStreams]]
    """fetches, decompresses and verifies layers"""
    shielded: Callable[[], AbstractContextManager[None]]
    """no cancellation inside: for the steps from record to publish"""
    prune_spool: Callable[[], int]
    tries: int | None = None
    """how often a new deployment may fail to boot before the machine falls back; None: boots are not counted"""
    stateroot: str = "default"
    boots: Boots = field()

    @boots.default
    def _recorded_boots(self) -> Boots:
        return State.of(self.context.machine).boots

    # ------------------------------------------------------------ commands

    def check(self, fetcher: Fetcher, reference: ImageReference) -> Check:
        """Look for a newer image without fetching layers. Costs one HEAD request if there is none."""
        present = self._current()
        previous = present.image if present else None
        if previous and self._unmoved(fetcher, reference, [previous.digest]):
            return Check(reference, None, previous)
        with self._resolved(fetcher, reference) as source:
            image = source.image
        self.references.record(image)
        is_new = previous is None or previous.digest != image.digest
        return Check(reference, image if is_new else None, previous, self._trials.failure(image.digest))

    def upgrade(
        self, fetcher: Fetcher, reference: ImageReference, *, is_locked: bool = False, retry_failed: bool = False
    ) -> Update:
        """Fetch what the reference points to now, and stage it if it is new. An image that failed to boot here before
        is left alone unless `retry_failed`."""
        with self.lock():
            self.publish_menu()
            slots = Slots.of(self.backend.deployer.deployments())
            following = [d for d in (slots.staged, self._current()) if d and d.reference == reference]
            present = {d.image.digest: d for d in reversed(following) if d.image}
            refused = frozenset() if retry_failed else self._trials.failed_digests() - present.keys()
            unmoved = self._unmoved(fetcher, reference, refused.union(present))
            if unmoved:
                return (
                    self._kept(present[unmoved], is_locked) if unmoved in present else self._failed(reference, unmoved)
                )
            with self._resolved(fetcher, reference) as source:
                if source.image.digest in present:
                    self.references.record(source.image)
                    return self._kept(present[source.image.digest], is_locked)
                if source.image.digest in refused:
                    self.references.record(source.image)
                    return self._failed(reference, source.image.digest)
                return self._update(source, reference, is_locked)

    def switch(self, fetcher: Fetcher, reference: ImageReference, *, retry_failed: bool = False) -> Update:
        """Follow another reference from now on: fetch its image and stage it, unless it failed to boot here before."""
        with self.lock():
            self.publish_menu()
            slots = Slots.of(self.backend.deployer.deployments())
            present = slots.staged or self._current()
            if present and present.reference == reference:
                return Update(Change.UNCHANGED_REFERENCE, reference, present)
            with self._resolved(fetcher, reference) as source:
                if not retry_failed and self._trials.failure(source.image.digest):
                    return self._failed(reference, source.image.digest)
                return self._update(source, reference, is_locked=False)

    def apply_downloaded(self) -> Update:
        """Let the staged deployment be applied at shutdown; needs no network."""
        with self.lock():
            staged = Slots.of(self.backend.deployer.deployments()).staged
            if staged is None or staged.reference is None:
                raise DeploymentError("No staged deployment found", "run `bootc upgrade` to fetch and stage one")
            if not staged.is_locked:
                return Update(Change.STAGED_BEFORE, staged.reference, staged)
            return self._set_locked(False, staged.reference)

    def roll_back(self) -> bool:
        """Make the previous deployment the default, or undo that; drops a staged one. True if it was an undo."""
        deployer = self.backend.deployer
        with self.lock():
            self.publish_menu()
            pair, others, is_undo = self._rollback_order()
            if pair[0].image is None:
                raise DeploymentError("Rollback is not container image based")
            with self.shielded():
                deployer.unstage()
                self._begin_again(pair[0], (pair[1], *others))
                deployer.arrange([d.id for d in (*pair, *others)])
                self.publish_menu()
            self.references.touch()
            self._note_rollback(pair, is_undo)
            return is_undo

    def finalize(self) -> None:
        """At shutdown: make the staged deployment the default."""
        with self.lock(), self.shielded():
            staged = Slots.of(self.backend.deployer.deployments()).staged
            if staged and not staged.is_locked:
                try:
                    self._finalize()
                except BootcError as error:
                    with suppress(BootcError):  # what failed first is what counts
                        self._trials.not_finalized(staged, error.message)
                    with suppress(BootcError):  # no unit of the backend's own shall do it after us, without the rest
                        self.backend.deployer.set_locked(True)
                    raise

    def complete_boot(self, clue: str | None = None) -> None:
        """When the boot is complete: what runs is good. If it runs because the default had no tries left, it becomes
        the default for good, and the failure is remembered; `clue` is what the machine says of that one's end."""
        with self.lock(), self.shielded():
            deployments = self.backend.deployer.deployments()
            booted = Slots.of(deployments).booted
            if booted is None:
                raise DeploymentError("what runs is no deployment of this system")
            failure = self._trials.failed(deployments, clue)
            if failure:
                self._fall_back(booted, deployments, failure)
            self._trials.complete(booted)
            self.references.touch()
        self.hooks.boot_completed(booted)

    def note_late_boot(self, text: str) -> None:
        """Keep what keeps this boot from being complete, for the one that is booted after it."""
        with self.lock():
            booted = Slots.of(self.backend.deployer.deployments()).booted
            if booted:
                self._trials.note(booted, text)

    def publish(self) -> None:
        """At boot: write the menu that follows from the deployments, finishing what was left undone."""
        with self.lock():
            self.publish_menu()

    def collect_garbage(self) -> int:
        """Remove what nothing names any more; returns the bytes freed."""
        with self.lock():
            self.publish_menu()
            return self._clean()

    # ------------------------------------------------------------ the steps

    def publish_menu(self, *, narrow: bool = False) -> None:
        """Make the boot menu follow the deployments; `narrow` leaves out what the next step destroys."""
        deployments, directory = self.backend.deployer.deployments(), self.backend.deployer.menu_directory
        menu = BootMenu.of(deployments, directory, narrow=narrow)
        self.bootloader.write(menu, self._trials.tries_for(deployments))

    def deploy(self, source: Source, request: Callable[[ImportedImage], DeployRequest]) -> Deployment:
        """Import the image of a source, check it and stage it as the request says; the parts of every update."""
        image = self._import(source)
        with self.backend.store.open_tree(image) as tree:
            view = ImageView(source.image, tree)
            bootable.find_kernel(tree, str(source.image.reference))
            self._require_accepted(view)
            wanted = request(image)
            if wanted.merge_from:
                self._require_mergeable(image, wanted.merge_from)
            self.hooks.prepare(view)
        with self._phase(Phase.STAGE, str(wanted.reference)):
            staged = self.backend.deployer.stage(image, wanted)
            self.publish_menu()
        self.hooks.staged(staged)
        fields = {"manifest_digest": str(image.digest), "deployment": staged.id, "image": str(wanted.reference)}
        self.context.report(Milestone(MilestoneKind.STAGED, f"Staged {wanted.reference} ({image.digest})", fields))
        return staged

    def _update(self, source: Source, reference: ImageReference, is_locked: bool) -> Update:
        deployer = self.backend.deployer
        origin = self._current()
        self.references.seen(reference)  # what is damaged is told before anything changes
        with ExitStack() as done:
            with self._taken_back_on_failure():
                self.deploy(source, lambda image: self._request(image, source.image, reference, origin, is_locked))
                done.enter_context(self.shielded())  # who is told that it was cancelled finds what was there before
                if not self.context.machine.is_booted:
                    self._finalize()
            self._tidy_up(source.image)
        self._trials.explain()
        after = Slots.of(deployer.deployments())
        change = Change.STAGED if self.context.machine.is_booted else Change.DEPLOYED
        return Update(change, reference, after.staged or deployer.deployments()[0], origin.image if origin else None)

    def _request(
        self,
        image: ImportedImage,
        fetched: Image,
        reference: ImageReference,
        origin: Deployment | None,
        is_locked: bool,
    ) -> DeployRequest:
        arguments = origin.arguments if origin else KernelArguments()
        old = self._shipped_arguments(origin.image) if origin and origin.image else ()
        arguments = arguments.updated(old, self._shipped_arguments(image))
        with self.backend.store.open_tree(image) as tree:
            arguments = arguments.with_added(self.hooks.kernel_arguments(ImageView(fetched, tree)))
        arguments = self._trials.marked(arguments)
        stateroot = origin.stateroot if origin else self.stateroot
        return DeployRequest(stateroot, reference, arguments, origin.id if origin else None, is_locked)

    def _shipped_arguments(self, image: ImportedImage) -> tuple[str, ...]:
        with self.backend.store.open_tree(image) as tree:
            return kargs.read(tree, self.platform)

    def _import(self, source: Source) -> ImportedImage:
        store, image = self.backend.store, source.image
        for notice in bootable.check_image(image, self.platform):
            self.context.report(notice)
        self.publish_menu(narrow=True)
        found = store.find(image)
        if found:
            return found
        self.context.report(_plan(image, store))
        with self._phase(Phase.IMPORT, str(image.reference)), self.open_streams(source, store) as streams:
            return store.import_image(image, streams)

    def _require_accepted(self, view: ImageView) -> None:
        for finding in self.hooks.check_image(view):
            if finding.is_fatal:
                raise ImageError(str(view.image.reference), f"{finding.subject}: {finding.message}")

    def _require_mergeable(self, image: ImportedImage, merge_from: DeploymentId) -> None:
        """A merge of /etc that would fail at shutdown, when nobody looks, stops the update now."""
        findings = self.backend.deployer.preview(image, merge_from)
        conflicts = [f"{finding.subject} {finding.message}" for finding in findings if finding.is_fatal]
        if conflicts:
            raise EtcConflictError(conflicts)
        for finding in findings:
            self.context.report(Notice(f"{finding.subject} {finding.message}"))

    def _finalize(self) -> None:
        with self._phase(Phase.FINALIZE):
            deployments = self.backend.deployer.deployments()
            self._trials.begin(deployments[0], deployments)
            self.publish_menu(narrow=True)
            self.backend.deployer.finalize()
            self._trials.finalized()
            self.publish_menu()
        default = next(iter(self.backend.deployer.deployments()), None)
        if default:
            message = f"Deployment {default.id} is the default now"
            self.context.report(Milestone(MilestoneKind.FINALIZED, message, {"deployment": default.id}))

    def _begin_again(self, deployment: Deployment, others: Sequence[Deployment]) -> None:
        """A deployment that failed, and is to be the default once more, gets new tries: its old count is forgotten."""
        if self._trials.must_begin_again(deployment):
            self._trials.begin(deployment, others)
            menu = BootMenu.of(others, self.backend.deployer.menu_directory)
            self.bootloader.write(menu)
            tries = self._trials.tries_for((deployment, *others))
            self.bootloader.write(evolve(menu, prepared=(deployment.entry,)), tries)

    def _fall_back(self, booted: Deployment, deployments: Sequence[Deployment], failure: Failure) -> None:
        self._trials.record(failure)
        others = [d.id for d in deployments if not d.is_staged and d.id != booted.id]
        self.backend.deployer.arrange([booted.id, *others])
        self.publish_menu()
        message = f"Fell back from {failure.deployment} to {booted.id}: {failure.reason}"
        fields: dict[str, str] = {"deployment": booted.id, "failed_deployment": failure.deployment}
        if failure.digest:
            fields["failed_manifest_digest"] = str(failure.digest)
        self.context.report(Milestone(MilestoneKind.FALLBACK, message, fields))

    def _clean(self) -> int:
        with self._phase(Phase.CLEAN):
            self.backend.deployer.clean()
            deployed = [d.image for d in self.backend.deployer.deployments() if d.image]
            return self.backend.store.prune(deployed) + self.prune_spool()

    def _tidy_up(self, image: Image) -> None:
        """What follows an update that is in force: no failure of it makes that a failure; the next command goes on."""
        try:
            self.references.record(image)
            self._clean()
            self.references.touch()
        except BootcError as error:
            message = f"the update is in force, but cleaning up after it failed: {error.message}"
            self.context.report(Notice(message, is_warning=True))

    @contextmanager
    def _taken_back_on_failure(self) -> Iterator[None]:
        """A failure leaves nothing staged that was not staged before, and on a full filesystem nothing fetched."""
        deployer, before = self.backend.deployer, self._staged_id()
        try:
            yield
        except BootcError as error:
            with suppress(BootcError), self.shielded():
                if self._staged_id() not in (None, before):
                    deployer.unstage()
                    self.publish_menu()
                    deployer.clean()
                if isinstance(error, NoSpaceError):
                    self._clean()
            raise

    # ------------------------------------------------------------ questions

    @property
    def _trials(self) -> Trials:
        return Trials(self.bootloader, self.boots, self.tries, self.context.report)

    def _failed(self, reference: ImageReference, digest: Digest) -> Update:
        return Update(Change.FAILED_BEFORE, reference, failure=self._trials.failure(digest))

    def _staged_id(self) -> DeploymentId | None:
        staged = Slots.of(self.backend.deployer.deployments()).staged
        return staged.id if staged else None

    def _current(self) -> Deployment | None:
        """What an update is an update of: the booted deployment; the default one where none is booted."""
        deployments = self.backend.deployer.deployments()
        booted = Slots.of(deployments).booted
        if booted or self.context.machine.is_booted:
            return booted
        return next((d for d in deployments if not d.is_staged), None)

    def _unmoved(self, fetcher: Fetcher, reference: ImageReference, present: Collection[Digest]) -> Digest | None:
        """Which of these images one small request shows to be what the reference points to."""
        if reference.digest in present:
            return reference.digest
        if not present or not isinstance(fetcher, Peek):
            return None
        pointed, seen = fetcher.peek(reference), self.references.seen(reference)
        found = seen[1] if seen and pointed and pointed == seen[0] else pointed
        return found if found in present else None

    def _kept(self, present: Deployment, is_locked: bool) -> Update:
        reference = present.reference
        assert reference is not None
        if not present.is_staged:
            return Update(Change.NONE, reference, present)
        if present.is_locked == is_locked:
            return Update(Change.STAGED_BEFORE, reference, present)
        return self._set_locked(is_locked, reference)

    def _note_rollback(self, order: tuple[Deployment, Deployment], is_undo: bool) -> None:
        digests = [str(deployment.image.digest) for deployment in order if deployment.image]
        message = f"Reverted the queued rollback to {order[1].id}" if is_undo else f"Rolling back to {order[0].id}"
        fields = {
            "manifest_digest": digests[0],
            "deployment": order[0].id,
            "rollback_type": "revert" if is_undo else "rollback",
            "current_manifest_digest": digests[-1],
        }
        self.context.report(Milestone(MilestoneKind.ROLLBACK, message, fields))

    def _set_locked(self, is_locked: bool, reference: ImageReference) -> Update:
        self.backend.deployer.set_locked(is_locked)
        staged = Slots.of(self.backend.deployer.deployments()).staged
        return Update(Change.LOCKED if is_locked else Change.UNLOCKED, reference, staged)

    def _rollback_order(self) -> tuple[tuple[Deployment, Deployment], tuple[Deployment, ...], bool]:
        deployments = self.backend.deployer.deployments()
        slots = Slots.of(deployments)
        if slots.booted and slots.rollback:
            pair = (slots.rollback, slots.booted)
            return (pair[::-1] if slots.is_rollback_queued else pair), slots.others, slots.is_rollback_queued
        kept = [d for d in deployments if not d.is_staged]
        if self.context.machine.is_booted or len(kept) < 2:
            raise DeploymentError("No rollback available", "there is only one deployment on this system")
        return (kept[1], kept[0]), tuple(kept[2:]), False

    @contextmanager
    def _resolved(self, fetcher: Fetcher, reference: ImageReference) -> Iterator[Source]:
        with ExitStack() as stack:
            with self._phase(Phase.RESOLVE, str(reference)):
                source = stack.enter_context(fetcher.resolve(reference, self.platform))
            yield source

    @contextmanager
    def _phase(self, phase: Phase, detail: str = "") -> Iterator[None]:
        self.context.check_cancelled()
        started = time.monotonic()
        self.context.report(PhaseStarted(phase, detail))
        yield
        self.context.report(PhaseFinished(phase, time.monotonic() - started))


def _plan(image: Image, store: ImageStore) -> FetchPlanned:
    missing = store.missing(image)
    needed = {layer.descriptor.digest for layer in missing}
    present = [layer for layer in image.layers if layer.descriptor.digest not in needed]
    return FetchPlanned(
        str(image.digest),
        len(present),
        sum(layer.blob.size or 0 for layer in present),
        len(missing),
        sum(layer.blob.size or 0 for layer in missing),
    )
