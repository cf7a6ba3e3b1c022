"""A machine for the composefs backend on plain directories, as `tests.dirimage_system` has it for dirimage."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from attrs import define
from bootc_composefs import bootc_storage_backends
from bootc_composefs.layout import LAYOUT, OBJECTS
from bootc_composefs.records import ImageRecord

from bootc.durable import DirectoryVolume
from bootc.hookspec import BackendPlugin
from bootc.roots.layout import Layout
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
    """One machine; what it has as a tree is an image."""

    plugin: ClassVar[BackendPlugin[Any]] = PLUGIN
    layout: ClassVar[Layout] = LAYOUT

    @property
    def volume(self) -> DirectoryVolume:
        """The sysroot, with nobody who notes what is done."""
        return DirectoryVolume(self.root)

    def image(self, deployment: str) -> ImageRecord:
        """The record of a deployment's image."""
        found = ImageRecord.read(self.volume, self.record(deployment).image)
        assert found is not None, f"the image of {deployment} has no record"
        return found

    def objects(self) -> dict[str, Path]:
        """All objects, by digest."""
        return {path.parent.name + path.name: path for path in (self.root / OBJECTS).glob("??/*")}
