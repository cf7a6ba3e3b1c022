"""A machine for the composefs backend on plain directories, as `tests.dirimage_system` has it for dirimage."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field
from bootc_composefs import bootc_storage_backends
from bootc_composefs.layout import LAYOUT, OBJECTS
from bootc_composefs.options import ComposefsOptions
from bootc_composefs.records import ImageRecord

from bootc.deployment import DeploymentId
from bootc.durable import DirectoryVolume
from bootc.hookspec import Context
from bootc.machine import Machine
from bootc.roots import DeploymentRecord
from bootc.storage import Backend
from bootc.system.initramfs import MARKER, VERSION
from tests import dirimage_system
from tests.dirimage_system import Registry
from tests.ostree_images import Tar

(PLUGIN,) = bootc_storage_backends()


def os_layers(version: str, last: Tar | None = None) -> list[bytes]:
    """A bootable image of four layers, of which all versions share the middle ones."""
    marker = Tar().add(str(MARKER), data=b"%d\n" % VERSION)
    base, support, top = dirimage_system.os_layers(version, last)
    return [base, support, marker.data, top]


def registry(version: str, last: Tar | None = None) -> Registry:
    """A registry with this version of the image."""
    return Registry(os_layers(version, last), version)


@define
class System(dirimage_system.System):
    """One machine."""

    settings: ComposefsOptions = field(factory=ComposefsOptions)

    @property
    def machine(self) -> Machine:
        """As a command opens it."""
        run = self.folder / "system/run" if self.running else None
        volume = DirectoryVolume(self.root, observer=self.observer)
        return Machine(volume, PLUGIN.state, run=run, esp=self.esp)

    @property
    def backend(self) -> Backend:
        """Opened anew."""
        return PLUGIN.open(Context(self.machine, self.events.append, lambda: None), self.settings)

    @property
    def volume(self) -> DirectoryVolume:
        """The sysroot, with nobody who notes what is done."""
        return DirectoryVolume(self.root)

    def record(self, deployment: str) -> DeploymentRecord:
        """A deployment's record."""
        found = DeploymentRecord.read(self.volume, LAYOUT, DeploymentId(deployment))
        assert found is not None, f"{deployment} has no record"
        return found

    def image(self, deployment: str) -> ImageRecord:
        """The record of a deployment's image."""
        found = ImageRecord.read(self.volume, self.record(deployment).image)
        assert found is not None, f"the image of {deployment} has no record"
        return found

    def etc(self, deployment: str) -> Path:
        """The /etc of a deployment."""
        return self.root / LAYOUT.deployments / deployment / "etc"

    def names(self, directory: str) -> list[str]:
        """What lies in a directory of the backend."""
        return sorted(path.name for path in (self.root / LAYOUT.base / directory).iterdir())

    def objects(self) -> dict[str, Path]:
        """All objects, by digest."""
        return {path.parent.name + path.name: path for path in (self.root / OBJECTS).glob("??/*")}
