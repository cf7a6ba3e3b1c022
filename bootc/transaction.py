"""The commands that change a system: upgrade, switch, rollback, what the units do at shutdown and boot, cleaning up.

Each holds the lock, and most begin by publishing the boot menu, which finishes whatever a power cut left undone; then
they take the steps of `bootc.steps`, in the order that stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

from attrs import frozen

from bootc import kargs
from bootc.deployment import Deployment, KernelArguments, Slots
from bootc.errors import BootcError, DeploymentError
from bootc.events import Milestone, MilestoneKind, Phase
from bootc.fetcher import Fetcher, Peek, Source
from bootc.hookspec import ImageView
from bootc.image import Digest, Image, ImageReference, ImportedImage
from bootc.machine import Machine
from bootc.steps import Steps
from bootc.storage import DeployRequest
from bootc.updates import Change, Check, Update


@frozen
class Transaction:
    """One system, as one changing command sees it."""

    steps: Steps
    lock: Callable[[], AbstractContextManager[None]]
    """the core's lock on this sysroot; a second writer gets LockedError"""
    stateroot: str = "default"
    """for the first deployment; the others follow their predecessor"""

    @property
    def machine(self) -> Machine:
        """What the system is on."""
        return self.steps.context.machine

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """In boot order, read anew; see `Deployer.deployments`."""
        return self.steps.backend.deployer.deployments()

    # ------------------------------------------------------------ commands

    def check(self, fetcher: Fetcher, reference: ImageReference, *, allow_downgrade: bool = False) -> Check:
        """Look for a newer image without fetching layers. Costs one HEAD request if there is none.

        Of a newer one, what tells the cost of an upgrade is read: tables of contents, where layers have one.
        """
        present = self._current()
        previous = present.image if present else None
        if previous and self._unmoved(fetcher, reference, [previous.digest]):
            return Check(reference, None, previous)
        with self._resolved(fetcher, reference) as source:
            image = source.image
            is_new = previous is None or previous.digest != image.digest
            if is_new:
                self.steps.trust.require_no_downgrade(image, reference, present, is_allowed=allow_downgrade)
            self.steps.references.record(image)
            if not is_new:
                return Check(reference, None, previous)
            prediction = self.steps.predict(source, self.steps.missing(image))
        return Check(reference, image, previous, self.steps.trials.failure(image.digest), prediction)

    def upgrade(
        self,
        fetcher: Fetcher,
        reference: ImageReference,
        *,
        is_locked: bool = False,
        retry_failed: bool = False,
        allow_downgrade: bool = False,
    ) -> Update:
        """Fetch what the reference points to now, and stage it if it is new. An image that failed to boot here before
        is left alone unless `retry_failed`; one that is older than what was accepted before is an error, where the
        configuration wants that, unless `allow_downgrade`."""
        with self.lock():
            self.steps.publish()
            slots = Slots.of(self.deployments)
            following = [d for d in (slots.staged, self._current()) if d and d.reference == reference]
            present = {d.image.digest: d for d in reversed(following) if d.image}
            refused = frozenset() if retry_failed else self.steps.trials.failed_digests() - present.keys()
            unmoved = self._unmoved(fetcher, reference, refused.union(present))
            if unmoved:
                self.steps.prune_spool()
                return (
                    self._kept(present[unmoved], is_locked) if unmoved in present else self._failed(reference, unmoved)
                )
            with self._resolved(fetcher, reference) as source:
                if source.image.digest in present:
                    self.steps.references.record(source.image)
                    return self._kept(present[source.image.digest], is_locked)
                if source.image.digest in refused:
                    self.steps.references.record(source.image)
                    return self._failed(reference, source.image.digest)
                return self._update(source, reference, is_locked=is_locked, allow_downgrade=allow_downgrade)

    def switch(
        self,
        fetcher: Fetcher,
        reference: ImageReference,
        *,
        retry_failed: bool = False,
        allow_downgrade: bool = False,
    ) -> Update:
        """Follow another reference from now on: fetch its image and stage it, unless it failed to boot here before."""
        with self.lock():
            self.steps.publish()
            slots = Slots.of(self.deployments)
            present = slots.staged or self._current()
            if present and present.reference == reference:
                return Update(Change.UNCHANGED_REFERENCE, reference, present)
            with self._resolved(fetcher, reference) as source:
                if not retry_failed and self.steps.trials.failure(source.image.digest):
                    return self._failed(reference, source.image.digest)
                return self._update(source, reference, allow_downgrade=allow_downgrade)

    def apply_downloaded(self) -> Update:
        """Let the staged deployment be applied at shutdown; needs no network."""
        with self.lock():
            staged = Slots.of(self.deployments).staged
            if staged is None or staged.reference is None:
                raise DeploymentError("No staged deployment found", "run `bootc upgrade` to fetch and stage one")
            if not staged.is_locked:
                return Update(Change.STAGED_BEFORE, staged.reference, staged)
            return self._set_locked(False, staged.reference)

    def roll_back(self) -> bool:
        """Make the previous deployment the default, or undo that; drops a staged one. True if it was an undo."""
        with self.lock():
            self.steps.publish()
            pair, others, is_undo = self._rollback_order()
            if pair[0].image is None:
                raise DeploymentError("Rollback is not container image based")
            self.steps.arrange((*pair, *others))
            self.steps.references.touch()
            self._note_rollback(pair, is_undo)
            return is_undo

    def finalize(self) -> None:
        """At shutdown: make the staged deployment the default."""
        with self.lock(), self.steps.shielded():
            staged = Slots.of(self.deployments).staged
            if staged and not staged.is_locked:
                try:
                    self.steps.finalize()
                except BootcError as error:
                    with suppress(BootcError):  # what failed first is what counts
                        self.steps.trials.not_finalized(staged, error.message)
                    with suppress(BootcError):  # no unit of the backend's own shall do it after us, without the rest
                        self.steps.backend.deployer.set_locked(True)
                    raise

    def complete_boot(self, clue: str | None = None) -> None:
        """When the boot is complete: what runs is good. If it runs because the default had no tries left, it becomes
        the default for good, and the failure is remembered; `clue` is what the machine says of that one's end."""
        with self.lock(), self.steps.shielded():
            deployments = self.deployments
            booted = Slots.of(deployments).booted
            if booted is None:
                raise DeploymentError("what runs is no deployment of this system")
            failure = self.steps.trials.failed(deployments, clue)
            if failure:
                self.steps.fall_back(booted, deployments, failure)
            self.steps.trials.complete(booted)
            self.steps.references.touch()
        self.steps.hooks.boot_completed(booted)

    def note_late_boot(self, text: str) -> None:
        """Keep what keeps this boot from being complete, for the one that is booted after it."""
        with self.lock():
            booted = Slots.of(self.deployments).booted
            if booted:
                self.steps.trials.note(booted, text)

    def publish(self) -> None:
        """At boot: write the menu that follows from the deployments, finishing what was left undone."""
        with self.lock():
            self.steps.publish()

    def collect_garbage(self) -> int:
        """Remove what nothing names any more; returns the bytes freed."""
        with self.lock():
            self.steps.publish()
            return self.steps.clean()

    # ------------------------------------------------------------ an update

    def _update(
        self, source: Source, reference: ImageReference, *, is_locked: bool = False, allow_downgrade: bool = False
    ) -> Update:
        steps, origin = self.steps, self._current()
        steps.references.seen(reference)  # what is damaged is told before anything changes
        steps.trust.require_no_downgrade(source.image, reference, origin, is_allowed=allow_downgrade)
        with ExitStack() as done:
            with steps.taken_back_on_failure():
                steps.deploy(source, lambda image: self._request(image, source.image, reference, origin, is_locked))
                done.enter_context(steps.shielded())  # who is told that it was cancelled finds what was there before
                if not self.machine.is_booted:
                    steps.finalize()
            steps.tidy_up(source.image, reference)
        steps.trials.explain()
        after = self.deployments
        change = Change.STAGED if self.machine.is_booted else Change.DEPLOYED
        return Update(change, reference, Slots.of(after).staged or after[0], origin.image if origin else None)

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
        with self.steps.backend.store.open_tree(image) as tree:
            arguments = arguments.with_added(self.steps.hooks.kernel_arguments(ImageView(fetched, tree)))
        arguments = self.steps.trials.marked(arguments)
        stateroot = origin.stateroot if origin else self.stateroot
        return DeployRequest(stateroot, reference, arguments, origin.id if origin else None, is_locked)

    def _shipped_arguments(self, image: ImportedImage) -> tuple[str, ...]:
        with self.steps.backend.store.open_tree(image) as tree:
            return kargs.read(tree, self.steps.platform)

    # ------------------------------------------------------------ questions

    def _failed(self, reference: ImageReference, digest: Digest) -> Update:
        return Update(Change.FAILED_BEFORE, reference, failure=self.steps.trials.failure(digest))

    def _current(self) -> Deployment | None:
        """What an update is an update of: the booted deployment; the default one where none is booted."""
        deployments = self.deployments
        booted = Slots.of(deployments).booted
        if booted or self.machine.is_booted:
            return booted
        return next((d for d in deployments if not d.is_staged), None)

    def _unmoved(self, fetcher: Fetcher, reference: ImageReference, present: Collection[Digest]) -> Digest | None:
        """Which of these images one small request shows to be what the reference points to."""
        if reference.digest in present:
            return reference.digest
        if not present or not isinstance(fetcher, Peek):
            return None
        pointed, seen = fetcher.peek(reference), self.steps.references.seen(reference)
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
        self.steps.context.report(Milestone(MilestoneKind.ROLLBACK, message, fields))

    def _set_locked(self, is_locked: bool, reference: ImageReference) -> Update:
        self.steps.backend.deployer.set_locked(is_locked)
        staged = Slots.of(self.deployments).staged
        return Update(Change.LOCKED if is_locked else Change.UNLOCKED, reference, staged)

    def _rollback_order(self) -> tuple[tuple[Deployment, Deployment], tuple[Deployment, ...], bool]:
        deployments = self.deployments
        slots = Slots.of(deployments)
        if slots.booted and slots.rollback:
            pair = (slots.rollback, slots.booted)
            return (pair[::-1] if slots.is_rollback_queued else pair), slots.others, slots.is_rollback_queued
        kept = [d for d in deployments if not d.is_staged]
        if self.machine.is_booted or len(kept) < 2:
            raise DeploymentError("No rollback available", "there is only one deployment on this system")
        return (kept[1], kept[0]), tuple(kept[2:]), False

    @contextmanager
    def _resolved(self, fetcher: Fetcher, reference: ImageReference) -> Iterator[Source]:
        with ExitStack() as stack:
            with self.steps.phase(Phase.RESOLVE, str(reference)):
                source = stack.enter_context(fetcher.resolve(reference, self.steps.platform))
            yield source
