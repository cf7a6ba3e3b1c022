"""The steps that every change is made of, in one order for every backend: narrow, record, publish, clean.

Narrow (write the boot menu without what will be destroyed), record (stage, finalize or arrange), publish (write the
menu that follows from the deployments), clean. The sysroot is the truth and the menu its shadow: an entry stays
bootable until a `write` without it has returned. Publishing again finishes whatever a power cut left undone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol

from attrs import evolve, field, frozen

from bootc import bootable
from bootc.bootloader import Bootloader
from bootc.deployment import BootMenu, Deployment, DeploymentId, Slots
from bootc.errors import BootcError, EtcConflictError, ImageError, NoSpaceError, RebuiltLayerError
from bootc.events import FetchPlanned, Milestone, MilestoneKind, Notice, Phase, PhaseFinished, PhaseStarted
from bootc.fetcher import Source
from bootc.hookspec import Context, ImageView
from bootc.image import Digest, Image, ImageReference, ImportedImage, Layer
from bootc.partial.prediction import Prediction
from bootc.platform import Platform
from bootc.state import Failure, State
from bootc.storage import Backend, DeployRequest, Finding, ImageStore, LayerStreams
from bootc.trials import Boots, Trials
from bootc.trust import Trust


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


def _predict_from_nothing(source: Source, missing: Sequence[Layer]) -> Prediction:
    from bootc.partial.known import Nothing
    from bootc.partial.predicting import predict
    from bootc.partial.rule import Rule

    return predict(source, missing, Nothing(), Rule())


@frozen
class Steps:
    """The parts of one system, opened and checked, and the steps that change it. The caller holds the lock."""

    context: Context
    backend: Backend
    bootloader: Bootloader
    hooks: Hooks
    references: References
    platform: Platform
    open_streams: Callable[[Source, ImageStore], AbstractContextManager[LayerStreams]]
    """fetches, decompresses and verifies layers"""
    shielded: Callable[[], AbstractContextManager[None]]
    """no cancellation inside: for the steps from record to publish"""
    prune_spool: Callable[[], int]
    tries: int | None = None
    """how often a new deployment may fail to boot before the machine falls back; None: boots are not counted"""
    predict: Callable[[Source, Sequence[Layer]], Prediction] = _predict_from_nothing
    """what fetching these layers will cost, with what is present"""
    boots: Boots = field()

    @boots.default
    def _recorded_boots(self) -> Boots:
        return State.of(self.context.machine).boots

    trust: Trust = field()
    """which images were accepted, and the guard against going back behind them"""

    @trust.default
    def _recorded_trust(self) -> Trust:
        return Trust(State.of(self.context.machine).acceptances)

    @property
    def trials(self) -> Trials:
        """Counted boots, and what is known of those that failed."""
        return Trials(self.bootloader, self.boots, self.tries, self.context.report)

    @contextmanager
    def phase(self, phase: Phase, detail: str = "") -> Iterator[None]:
        """Report the beginning and the end of a part of a change; a cancelled command stops before it."""
        self.context.check_cancelled()
        started = time.monotonic()
        self.context.report(PhaseStarted(phase, detail))
        yield
        self.context.report(PhaseFinished(phase, time.monotonic() - started))

    # ------------------------------------------------------------ narrow and publish

    def narrow(self) -> None:
        """Write the boot menu without what the next step destroys."""
        self._write_menu(is_narrow=True)

    def publish(self) -> None:
        """Write the boot menu that follows from the deployments."""
        self._write_menu(is_narrow=False)

    def _write_menu(self, *, is_narrow: bool) -> None:
        deployments, directory = self.backend.deployer.deployments(), self.backend.deployer.menu_directory
        menu = BootMenu.of(deployments, directory, narrow=is_narrow)
        self.bootloader.write(menu, self.trials.tries_for(deployments))

    # ------------------------------------------------------------ record: stage

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
        with self.phase(Phase.STAGE, str(wanted.reference)):
            staged = self.backend.deployer.stage(image, wanted)
            self.publish()
        self.hooks.staged(staged)
        fields = {"manifest_digest": str(image.digest), "deployment": staged.id, "image": str(wanted.reference)}
        self.context.report(Milestone(MilestoneKind.STAGED, f"Staged {wanted.reference} ({image.digest})", fields))
        return staged

    def missing(self, image: Image) -> tuple[Layer, ...]:
        """The layers that have to be fetched for this image to be whole in the store."""
        store = self.backend.store
        return () if store.find(image) else store.missing(image)

    def _import(self, source: Source) -> ImportedImage:
        store, image = self.backend.store, source.image
        for notice in bootable.check_image(image, self.platform):
            self.context.report(notice)
        self.narrow()
        found = store.find(image)
        self.context.report(_plan(image, () if found else store.missing(image)))
        if found:
            return found
        with self.phase(Phase.IMPORT, str(image.reference)):
            while True:  # Each time one layer more comes whole.
                with suppress(RebuiltLayerError), self.open_streams(source, store) as streams:
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

    @contextmanager
    def taken_back_on_failure(self) -> Iterator[None]:
        """A failure leaves nothing staged that was not staged before, and on a full filesystem nothing fetched."""
        deployer, before = self.backend.deployer, self._staged_id()
        try:
            yield
        except BootcError as error:
            with suppress(BootcError), self.shielded():
                if self._staged_id() not in (None, before):
                    deployer.unstage()
                    self.publish()
                    deployer.clean()
                if isinstance(error, NoSpaceError):
                    self.clean()
            raise

    def _staged_id(self) -> DeploymentId | None:
        staged = Slots.of(self.backend.deployer.deployments()).staged
        return staged.id if staged else None

    # ------------------------------------------------------------ record: finalize, arrange

    def finalize(self) -> None:
        """The staged deployment becomes the default, with its own tries."""
        with self.phase(Phase.FINALIZE):
            deployments = self.backend.deployer.deployments()
            self.trials.begin(deployments[0], deployments)
            self.narrow()
            self.backend.deployer.finalize()
            self.trials.finalized()
            self.publish()
        default = next(iter(self.backend.deployer.deployments()), None)
        if default:
            message = f"Deployment {default.id} is the default now"
            self.context.report(Milestone(MilestoneKind.FINALIZED, message, {"deployment": default.id}))

    def arrange(self, order: Sequence[Deployment]) -> None:
        """Nothing is staged any more, and the first of these is the default; with new tries, if it failed before."""
        with self.shielded():
            self.backend.deployer.unstage()
            self._begin_again(order[0], order[1:])
            self.backend.deployer.arrange([deployment.id for deployment in order])
            self.publish()

    def _begin_again(self, deployment: Deployment, others: Sequence[Deployment]) -> None:
        """A deployment that failed, and is to be the default once more, gets new tries: its old count is forgotten."""
        if self.trials.must_begin_again(deployment):
            self.trials.begin(deployment, others)
            menu = BootMenu.of(others, self.backend.deployer.menu_directory)
            self.bootloader.write(menu)
            tries = self.trials.tries_for((deployment, *others))
            self.bootloader.write(evolve(menu, prepared=(deployment.entry,)), tries)

    def fall_back(self, booted: Deployment, deployments: Sequence[Deployment], failure: Failure) -> None:
        """What runs becomes the default in place of the one that failed; what is staged stays so."""
        self.trials.record(failure)
        others = [d.id for d in deployments if not d.is_staged and d.id != booted.id]
        self.backend.deployer.arrange([booted.id, *others])
        self.publish()
        message = f"Fell back from {failure.deployment} to {booted.id}: {failure.reason}"
        fields: dict[str, str] = {"deployment": booted.id, "failed_deployment": failure.deployment}
        if failure.digest:
            fields["failed_manifest_digest"] = str(failure.digest)
        self.context.report(Milestone(MilestoneKind.FALLBACK, message, fields))

    # ------------------------------------------------------------ clean

    def clean(self) -> int:
        """Delete what nothing names any more; returns the bytes freed."""
        with self.phase(Phase.CLEAN):
            self.backend.deployer.clean()
            deployed = [d.image for d in self.backend.deployer.deployments() if d.image]
            return self.backend.store.prune(deployed) + self.prune_spool()

    def tidy_up(self, image: Image, reference: ImageReference) -> None:
        """What follows an update that is in force: no failure of it makes that a failure; the next command goes on."""
        try:
            self.trust.accept(image, reference)
            self.references.record(image)
            self.clean()
            self.references.touch()
        except BootcError as error:
            message = f"the update is in force, but cleaning up after it failed: {error.message}"
            self.context.report(Notice(message, is_warning=True))


def _plan(image: Image, missing: Sequence[Layer]) -> FetchPlanned:
    needed = {layer.descriptor.digest for layer in missing}
    present = [layer for layer in image.layers if layer.descriptor.digest not in needed]
    return FetchPlanned(
        str(image.digest),
        len(present),
        sum(layer.expected_size for layer in present),
        len(missing),
        sum(layer.expected_size for layer in missing),
    )
