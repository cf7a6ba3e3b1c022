"""A machine for the dirimage backend on plain directories: a sysroot, an ESP in a file, and a boot that is only told.

`boot()` does what a power-on would: it asks the boot menu for the default, and from then on that deployment runs. What
was in /run is gone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from attrs import Factory, define, field
from bootc_dirimage import bootc_storage_backends
from bootc_dirimage.layout import LAYOUT, SLOTS, TREE

from bootc import platform
from bootc.bootloader import Bootloader
from bootc.bootloaders.none import NoBootloader
from bootc.bootloaders.systemd_boot import SystemdBoot
from bootc.deployment import Deployment, DeploymentId, Slots
from bootc.durable import DirectoryVolume, Observer, Volume
from bootc.events import Event
from bootc.fetcher import Fetcher, Readable, Source
from bootc.hookspec import BackendPlugin, Context
from bootc.image import Descriptor, Image, ImageReference
from bootc.install import InstallRequest, install
from bootc.machine import Machine
from bootc.platform import Platform
from bootc.roots.layout import Layout
from bootc.roots.records import DeploymentRecord
from bootc.state import State
from bootc.steps import Steps
from bootc.storage import Backend
from bootc.system.initramfs import MARKER
from bootc.transaction import Transaction
from bootc.updates import Update
from tests.ostree_images import Streams, Tar, base_layer, make_image
from tests.unit.toys import NoHooks

REFERENCE = ImageReference.of("registry.example/os:latest")
(PLUGIN,) = bootc_storage_backends()


def os_layers(version: str, last: Tar | None = None) -> list[bytes]:
    """A bootable image of three layers, of which all versions share the second."""
    support = Tar().directory("sysroot").directory("usr/lib/bootc/initramfs").add(str(MARKER), data=b"1\n")
    support.add("usr/lib/large", data=b"the same in all versions\n" * 9999)
    top = last or Tar()
    top.add("usr/lib/version", data=version.encode()).add("etc/version", data=f"image {version}\n".encode())
    return [base_layer(version).data, support.data, top.data]


@define
class Registry(Fetcher):
    """Serves one image, from memory."""

    layers: Sequence[bytes]
    version: str
    reference: ImageReference = REFERENCE

    @property
    def image(self) -> Image:
        """As `resolve` finds it."""
        labels = {"org.opencontainers.image.version": self.version}
        return make_image(self.layers, self.reference.name, labels=labels)

    @contextmanager
    def resolve(self, reference: ImageReference, platform: Platform) -> Iterator[Source]:
        yield MemorySource(self.image)

    def close(self) -> None:
        """Nothing is open."""


@define
class MemorySource(Source):
    """An image whose layers the transaction gets elsewhere."""

    image: Image

    def open_blob(self, blob: Descriptor, start: int = 0) -> AbstractContextManager[Readable]:
        raise NotImplementedError


def registry(version: str, last: Tar | None = None) -> Registry:
    """A registry with this version of the image."""
    return Registry(os_layers(version, last), version)


@define
class System:
    """One machine. With an ESP it starts by systemd-boot, without one the backend's own order counts."""

    plugin: ClassVar[BackendPlugin[Any]] = PLUGIN
    layout: ClassVar[Layout] = LAYOUT

    folder: Path
    options: object = field(default=Factory(lambda self: self.plugin.options(), takes_self=True))
    esp: Volume | None = None
    observer: Observer | None = None
    running: str | None = None
    events: list[Event] = field(factory=list)
    streams: Streams = field(factory=lambda: Streams(()))

    @property
    def root(self) -> Path:
        """The sysroot."""
        return self.folder / "sysroot"

    @property
    def machine(self) -> Machine:
        """As a command opens it."""
        run = self.folder / "system/run" if self.running else None
        volume = DirectoryVolume(self.root, observer=self.observer)
        return Machine(volume, self.plugin.state, run=run, esp=self.esp)

    @property
    def backend(self) -> Backend:
        """Opened anew."""
        backend: Backend = self.plugin.open(self._context(), self.options)
        return backend

    @property
    def bootloader(self) -> Bootloader:
        """Opened anew."""
        return SystemdBoot(self.machine) if self.esp else NoBootloader()

    def transaction(self) -> Transaction:
        """Opened anew, as by another process."""
        steps = Steps(
            context=self._context(),
            backend=self.backend,
            bootloader=self.bootloader,
            hooks=NoHooks(),
            references=State(self.machine.sysroot, self.plugin.state).references,
            platform=platform.current(),
            open_streams=lambda source, store: nullcontext(self.streams),
            shielded=nullcontext,
            prune_spool=lambda: 0,
        )
        return Transaction(steps, nullcontext)

    def install(self, source: Registry) -> Deployment:
        """The first deployment."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.streams = Streams(source.layers)
        transaction = self.transaction()
        with source.resolve(REFERENCE, transaction.steps.platform) as opened:
            return install(transaction, opened, InstallRequest(REFERENCE, ("root=LABEL=root", "rw")))

    def upgrade(self, source: Registry, *, is_locked: bool = False) -> Update:
        """`bootc upgrade`."""
        self.streams = Streams(source.layers)
        return self.transaction().upgrade(source, REFERENCE, is_locked=is_locked)

    def shut_down(self) -> None:
        """What the unit does at shutdown."""
        self.transaction().finalize()

    def boot(self) -> str:
        """Power on: forget /run, start the default."""
        run = self.folder / "system/run"
        shutil.rmtree(run.parent, ignore_errors=True)
        run.mkdir(parents=True)
        self.running = None
        self.running = self.default
        (run.parent / "proc").mkdir()
        (run.parent / "proc/cmdline").write_text(f"quiet bootc.deployment={self.running} rw\n")
        self.transaction().publish()
        return self.running

    @property
    def default(self) -> str:
        """What a power-on would start."""
        if self.esp:
            return self.bootloader.read().entries[0].deployment
        return next(d.id for d in self.backend.deployer.deployments() if not d.is_staged)

    @property
    def slots(self) -> Slots:
        """As `bootc status` sorts them."""
        return Slots.of(self.backend.deployer.deployments())

    def record(self, deployment: str) -> DeploymentRecord:
        """A deployment's record."""
        found = DeploymentRecord.read(DirectoryVolume(self.root), self.layout, DeploymentId(deployment))
        assert found is not None, f"{deployment} has no record"
        return found

    def tree(self, deployment: str) -> Path:
        """The image's files of a deployment."""
        return self.root / SLOTS / self.record(deployment).image / TREE

    def etc(self, deployment: str) -> Path:
        """The /etc of a deployment."""
        return self.root / self.layout.deployments / deployment / "etc"

    def names(self, directory: str) -> list[str]:
        """What lies in a directory of the backend."""
        return sorted(path.name for path in (self.root / self.layout.base / directory).iterdir())

    def versions(self) -> list[str]:
        """The image versions of all deployments in boot order, the staged one first."""
        return [str(d.image and d.image.version) for d in self.backend.deployer.deployments()]

    def _context(self) -> Context:
        return Context(self.machine, self.events.append, lambda: None)
