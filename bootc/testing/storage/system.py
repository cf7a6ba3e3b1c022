"""A system that a backend keeps on a fake machine: installed, upgraded, shut down and booted in the core's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from bootc.deployment import Deployment, DeploymentId, KernelArguments, Slots
from bootc.image import ImportedImage
from bootc.storage import Backend, Deployer, DeployRequest, Finding, ImageStore, MenuFormat
from bootc.testing.fakes import REFERENCE, FakeImage, FakeMachine, os_image

STATEROOT = "default"
ARGUMENTS = KernelArguments(("root=LABEL=root", "rw", "quiet"))


@define
class System:
    """One system; `backend` is opened anew by `reopen` and at each boot, as every command opens it."""

    machine: FakeMachine
    open_backend: Callable[[], Backend]
    backend: Backend = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reopen()

    def reopen(self) -> Backend:
        """What another process would see from now on."""
        self.backend = self.open_backend()
        return self.backend

    @property
    def store(self) -> ImageStore:
        """The backend's importer."""
        return self.backend.store

    @property
    def deployer(self) -> Deployer:
        """The backend's deployer."""
        return self.backend.deployer

    # ------------------------------------------------------------ what the core does

    def initialize(self, stateroot: str = STATEROOT) -> None:
        """Prepare the sysroot."""
        self.deployer.initialize(stateroot, MenuFormat.BLS)

    def fetch(self, image: FakeImage) -> ImportedImage:
        """Import an image; the menu is narrowed first."""
        self.publish(narrow=True)
        return self.store.import_image(image.image, image.streams())

    def stage(self, image: FakeImage, **changes: Any) -> Deployment:
        """Import and stage an image, merging /etc from what runs (or is the default); `changes` are of the request."""
        imported = self.fetch(image)
        staged = self.deployer.stage(imported, self.request(**{"reference": image.image.reference, **changes}))
        self.publish()
        return staged

    def request(self, **changes: Any) -> DeployRequest:
        """What the core asks for in an upgrade of what runs (or is the default)."""
        fields: dict[str, Any] = {"stateroot": STATEROOT, "reference": REFERENCE, "arguments": ARGUMENTS}
        stateroot = changes.get("stateroot", STATEROOT)
        present = [d for d in self.deployments() if not d.is_staged and d.stateroot == stateroot]
        origin = next((d for d in present if d.is_booted), present[0] if present else None)
        fields["merge_from"] = origin.id if origin else None
        return DeployRequest(**{**fields, **changes})

    def finalize(self) -> None:
        """What happens at shutdown."""
        self.publish(narrow=True)
        self.deployer.finalize()
        self.publish()

    def arrange(self, *order: DeploymentId) -> None:
        """Put deployments into this order."""
        self.deployer.arrange(order)
        self.publish()

    def clean(self) -> int:
        """Delete what is not needed; what `prune` says is freed."""
        self.deployer.clean()
        return self.store.prune([d.image for d in self.deployments() if d.image])

    def publish(self, *, narrow: bool = False) -> None:
        """Offer the menu that follows from the deployments."""
        self.machine.publish(self.deployments(), narrow=narrow)

    # ------------------------------------------------------------ whole stories

    def install(self, version: str = "1", *more: Any, **changes: Any) -> Deployment:
        """The first deployment, on a sysroot that is not booted; then it is booted."""
        self.initialize()
        self.stage(os_image(version, *more), **changes)
        self.finalize()
        self.clean()
        return self.reboot()

    def upgrade(self, version: str, *more: Any, **changes: Any) -> Deployment:
        """Stage the next version, shut down and boot."""
        self.stage(os_image(version, *more), **changes)
        self.finalize()
        booted = self.reboot()
        self.clean()
        return booted

    def reboot(self) -> Deployment:
        """Power off as all is, and on; what runs then, after the core published again."""
        self.machine.reboot()
        self.reopen()
        self.publish()
        return self.booted

    # ------------------------------------------------------------ what there is

    def deployments(self) -> tuple[Deployment, ...]:
        """As the backend lists them."""
        return self.deployer.deployments()

    @property
    def slots(self) -> Slots:
        """As people name them."""
        return Slots.of(self.deployments())

    @property
    def booted(self) -> Deployment:
        """What runs."""
        booted = self.slots.booted
        assert booted is not None, "none of the deployments is booted"
        return booted

    @property
    def staged(self) -> Deployment | None:
        """What is staged."""
        return self.slots.staged

    @property
    def rollback(self) -> Deployment:
        """The rollback, which must be there."""
        rollback = self.slots.rollback
        assert rollback is not None, "there is no rollback"
        return rollback

    def ids(self) -> list[DeploymentId]:
        """Ids in boot order, the staged one first."""
        return [deployment.id for deployment in self.deployments()]

    def running(self) -> str:
        """The version of the image that runs, from its own files."""
        return (self.machine.system / "usr/lib/version").read_text()

    @property
    def etc(self) -> Path:
        """The /etc of what runs."""
        return self.machine.system / "etc"

    @property
    def var(self) -> Path:
        """The /var of what runs."""
        return self.machine.system / "var"

    def findings(self) -> list[str]:
        """What both checks find, in words."""
        return [f"{finding.subject}: {finding.message}" for finding in self._checked()]

    def damage(self) -> list[str]:
        """What both checks find that is fatal, in words."""
        return [f"{finding.subject}: {finding.message}" for finding in self._checked() if finding.is_fatal]

    def _checked(self) -> tuple[Finding, ...]:
        return (*self.store.check(), *self.deployer.check())


def versions(deployments: Sequence[Deployment]) -> list[str | None]:
    """The image versions of deployments, in their order."""
    return [deployment.image.version if deployment.image else None for deployment in deployments]
