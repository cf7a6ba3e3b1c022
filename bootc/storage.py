"""The import and deploy interfaces: what a storage backend does."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from attrs import frozen

from bootc.deployment import Deployment, DeploymentId, KernelArguments
from bootc.fetcher import Readable
from bootc.image import Image, ImageReference, ImportedImage, Layer


class MenuFormat(enum.Enum):
    """What a backend that keeps a boot directory itself must write there for the bootloader."""

    BLS = "bls"
    SYSLINUX = "syslinux"


@frozen
class Finding:
    """Something noticed by a check; a fatal one stops an update."""

    subject: str
    message: str
    is_fatal: bool


class LayerStreams(ABC):
    """Layers of one image, fetched side by side; whatever a store reads here is verified."""

    @abstractmethod
    def open(self, layer: Layer) -> AbstractContextManager[Readable]:
        """The layer's tar stream, decompressed. It counts only when the `with` block ended without an error:
        size, digest and diffID are checked at its end (what was not read is read then)."""

    def room(self) -> int:
        """Bytes that the streams take on the sysroot while a layer is read, beside what the store itself writes.

        A store that looks for room before it begins adds them.
        """
        return 0


class Tree(ABC):
    """The files of an image, read-only. Paths are the image's (relative); symbolic links never lead out of it."""

    @abstractmethod
    def open(self, path: PurePosixPath) -> BinaryIO:
        """A regular file, links followed inside the image. Raises FileNotFoundError."""

    @abstractmethod
    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        """Sorted names in a directory; empty if there is no such directory."""

    @abstractmethod
    def directory(self) -> AbstractContextManager[Path]:
        """The whole tree as a directory of this system, for a program that must run in it. May cost a checkout."""

    def read_optional(self, path: PurePosixPath) -> bytes | None:
        """A whole file, or None if it is absent."""
        try:
            with self.open(path) as file:
                return file.read()
        except FileNotFoundError:
            return None


class ImageStore(ABC):
    """Import: keeps images on the sysroot."""

    @abstractmethod
    def find(self, image: Image) -> ImportedImage | None:
        """This very image (manifest digest), if it is whole in the store."""

    @abstractmethod
    def missing(self, image: Image) -> tuple[Layer, ...]:
        """The layers that an import would have to read, in order."""

    @abstractmethod
    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        """Bring the image in. May be interrupted at any time; what was finished is not read again."""

    @abstractmethod
    def open_tree(self, image: ImportedImage) -> AbstractContextManager[Tree]:
        """The files of an imported image."""

    @abstractmethod
    def prune(self, keep: Collection[ImportedImage]) -> int:
        """Remove all images but these and what belongs to nothing; returns the bytes freed."""

    @abstractmethod
    def check(self) -> Iterator[Finding]:
        """Read everything and report what is damaged."""


@frozen
class DeployRequest:
    """What to deploy an image as."""

    stateroot: str
    reference: ImageReference
    """recorded for upgrades, with its signature policy"""
    arguments: KernelArguments
    """complete, without the backend's own"""
    merge_from: DeploymentId | None = None
    """whose local /etc changes are carried over; None: a fresh /etc"""
    is_locked: bool = False
    """staged, but not to be applied at shutdown"""


class Deployer(ABC):
    """Deploy: keeps bootable roots and their order. Every change ends in one atomic step."""

    menu_directory: PurePosixPath | None = None
    """a BLS directory below the sysroot that this backend itself keeps equal to the deployments"""

    @abstractmethod
    def initialize(self, stateroot: str, menu_format: MenuFormat) -> None:
        """Prepare an empty sysroot (or add a stateroot to one); repeating it changes nothing."""

    @abstractmethod
    def deployments(self) -> tuple[Deployment, ...]:
        """All, in boot order, the staged one first. Needs no lock and never waits for a writer."""

    @abstractmethod
    def etc(self, deployment: DeploymentId) -> Path:
        """The writable /etc of a deployment, as a path of this system."""

    @abstractmethod
    def preview(self, image: ImportedImage, merge_from: DeploymentId) -> tuple[Finding, ...]:
        """What carrying the local /etc of a deployment over to this image would meet, if it were done now.

        A fatal finding says that `finalize` would fail. The core asks before it stages; nothing is changed.
        """

    @abstractmethod
    def stage(self, image: ImportedImage, request: DeployRequest) -> Deployment:
        """Make a deployment that `finalize` will make the default; an earlier staged one is dropped."""

    @abstractmethod
    def set_locked(self, is_locked: bool) -> None:
        """Lock or unlock the staged deployment. Raises DeploymentError if there is none."""

    @abstractmethod
    def unstage(self) -> None:
        """Drop the staged deployment, if there is one."""

    @abstractmethod
    def finalize(self) -> None:
        """Merge /etc and make the staged deployment the default. Does nothing if none is staged or it is locked."""

    @abstractmethod
    def arrange(self, order: Sequence[DeploymentId]) -> None:
        """Put deployments into this boot order; it names each that is not staged, once."""

    @abstractmethod
    def clean(self) -> None:
        """Delete what no deployment and no record names."""

    @abstractmethod
    def check(self) -> Iterator[Finding]:
        """Report deployments that are incomplete or damaged."""


class Pinning(ABC):
    """Capability `pin`: a deployment that is kept until it is unpinned."""

    @abstractmethod
    def set_pinned(self, deployment: DeploymentId, is_pinned: bool) -> None:
        """Pin or unpin."""


@frozen
class Backend:
    """An importer and a deployer that agree on one sysroot."""

    store: ImageStore
    deployer: Deployer
