"""What a deployer of whole roots asks of the store of its backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

from bootc import etc_merge
from bootc.durable import DirectoryVolume
from bootc.image import ImportedImage
from bootc.roots.records import DeploymentRecord
from bootc.storage import Tree
from bootc.system.initramfs import Root

_LINKS = 40
"""as many symbolic links as Linux follows in one path (ELOOP)"""


class ImageTree(Tree):
    """The files of an image. Links are followed as if its root were the root of the system."""

    @abstractmethod
    def link_target(self, path: PurePosixPath) -> str | None:
        """Of a symbolic link; None for what is no link. Parents are followed by nobody. Raises FileNotFoundError."""

    @abstractmethod
    def is_directory(self, path: PurePosixPath) -> bool:
        """Whether a path without links is a directory."""

    def resolve_optional(self, path: PurePosixPath) -> PurePosixPath | None:
        """The directory's path without links; None if there is no directory."""
        try:
            found = self.resolve(path)
        except FileNotFoundError:
            return None
        return found if self.is_directory(found) else None

    def has_directory(self, name: str) -> bool:
        """Whether this is a directory in its root, and no link to one."""
        return self.resolve_optional(PurePosixPath(name)) == PurePosixPath(name)

    def resolve(self, path: PurePosixPath) -> PurePosixPath:
        """The path without links. Raises FileNotFoundError if something in it is missing."""
        pending, real, links = list(reversed(path.parts)), PurePosixPath(), 0
        while pending:
            name = pending.pop()
            if name in ("/", ".", "..", ""):
                real = PurePosixPath() if name == "/" else real.parent if name == ".." else real
                continue
            target = self.link_target(real / name)
            if target is None:
                real /= name
                continue
            links += 1
            if links > _LINKS:
                raise FileNotFoundError(f"{path}: too many symbolic links")
            pending += reversed(["/", *target.split("/")] if target.startswith("/") else target.split("/"))
        return real


class Images(ABC):
    """The images of a store, by `ImportedImage.key`."""

    plan_version: int = 1
    """of mount plans that have roots of this kind"""

    @abstractmethod
    def image(self, key: str) -> ImportedImage | None:
        """The image; None if it is gone. Raises StateError."""

    @abstractmethod
    def tree(self, key: str) -> ImageTree:
        """Its files. Raises StoreError if it is gone or damaged."""

    @abstractmethod
    def directory(self, key: str, name: str) -> AbstractContextManager[Path]:
        """A directory in its root (`etc`, `var`) as one of this system, with all attributes: to be read only."""

    def copy(self, key: str, name: str, volume: DirectoryVolume, path: PurePosixPath) -> None:
        """A copy of such a directory, at a path of the volume where nothing is. Not synced; its steps are announced."""
        with self.directory(key, name) as source:
            etc_merge.copy(source, volume, path)

    @abstractmethod
    def source(self, key: str, path: PurePosixPath) -> PurePosixPath:
        """Where one of its files (a path without links) lies below the sysroot."""

    @abstractmethod
    def root(self, record: DeploymentRecord) -> Root:
        """How the initramfs mounts it for a deployment."""

    @abstractmethod
    def details(self, record: DeploymentRecord) -> Mapping[str, object]:
        """Fields of a deployment's entry in the status document."""

    def arguments(self, key: str) -> tuple[str, ...]:
        """Further kernel arguments for a new deployment, which belong to the backend."""
        return ()

    @property
    def initramfs_programs(self) -> tuple[str, ...]:
        """What an image must have for its initramfs, beyond the script, to mount roots of this kind."""
        return ()

    def problems(self, key: str) -> Iterator[str]:
        """What is wrong with it, as far as that is seen without reading everything."""
        if self.image(key) is None:
            yield f"its image {key} is gone"
