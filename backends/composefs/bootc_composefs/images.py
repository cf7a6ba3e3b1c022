"""Images as their deployments see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bootc.deployment import KernelArguments
from bootc.durable import DirectoryVolume
from bootc.errors import StateError, StoreError
from bootc.image import ImportedImage
from bootc.roots import DeploymentRecord, Images
from bootc.state import find_system
from bootc.system.initramfs import IMAGE_ARGUMENT, ComposefsRoot
from bootc_composefs.assembly import read_tree, tree_of
from bootc_composefs.image_tree import ComposefsTree
from bootc_composefs.layout import LAYOUT, OBJECTS
from bootc_composefs.objects import Objects
from bootc_composefs.records import ImageRecord, path_of
from bootc_composefs.repository import Repository
from bootc_composefs.tree import File, Object

_BOOTLOADERS = {"systemd-boot": "systemd", "grub": "grub"}
"""what upstream's status document calls them"""


class ComposefsImages(Images):
    """A key is that of an image's record."""

    plan_version = 2

    def __init__(self, volume: DirectoryVolume, repository: Repository) -> None:
        self._volume, self._repository = volume, repository
        self._trees: dict[str, ComposefsTree] = {}

    def image(self, key: str) -> ImportedImage | None:
        record = ImageRecord.read(self._volume, key)
        return record.image if record else None

    def tree(self, key: str) -> ComposefsTree:
        """Read once in the life of this instance."""
        if key not in self._trees:
            algorithm = self._repository.algorithm
            objects = Objects(self._volume, algorithm)
            root = tree_of(self._record(key), objects, algorithm, self._volume)
            self._trees[key] = ComposefsTree(root, objects, self._volume)
        return self._trees[key]

    @contextmanager
    def directory(self, key: str, name: str) -> Iterator[Path]:
        """A checkout."""
        with self.tree(key).checked_out(PurePosixPath(name)) as path:
            yield path

    def source(self, key: str, path: PurePosixPath) -> PurePosixPath:
        found = self.tree(key).find(path)
        if not isinstance(found, File) or not isinstance(found.content, Object):
            raise StoreError(str(path), "is no file with contents", "kernel and initramfs must be files")
        return OBJECTS / found.content.path.decode()

    def root(self, record: DeploymentRecord) -> ComposefsRoot:
        """As the deployment was staged, whatever became of the image's record."""
        value = KernelArguments(record.own_arguments).value(IMAGE_ARGUMENT) or ""
        digest = value.removeprefix("?")
        try:
            erofs = Object.of(bytes.fromhex(digest.partition(":")[2]))
        except ValueError as error:
            raise StateError(record.id, f"damaged: {value!r} is no digest") from error
        return ComposefsRoot(OBJECTS / erofs.path.decode(), OBJECTS, digest, value == digest)

    def arguments(self, key: str) -> tuple[str, ...]:
        erofs = self._record(key).erofs
        digest = f"{self._repository.algorithm.value}-12:{erofs.digest.hex()}"
        path = OBJECTS / erofs.path.decode()
        return (ComposefsRoot(path, OBJECTS, digest, self._repository.is_verity_required).argument,)

    def details(self, record: DeploymentRecord) -> Mapping[str, object]:
        root, system = self.root(record), find_system(self._volume, [LAYOUT.base / "bootc"])
        return {
            "composefs": {
                "verity": root.digest.partition(":")[2],
                "bootType": "Bls",
                "bootloader": _BOOTLOADERS.get(system[1].bootloader, "none") if system else "none",
                "bootDigest": record.boot_digest.hex,
                "missingVerityAllowed": not root.is_verified,
            }
        }

    def problems(self, key: str) -> Iterator[str]:
        yield from super().problems(key)
        if self.image(key) is not None:
            read_tree(self._record(key), Objects(self._volume, self._repository.algorithm), self._repository.algorithm)

    def _record(self, key: str) -> ImageRecord:
        record = ImageRecord.read(self._volume, key)
        if record is None:
            raise StoreError(str(path_of(key)), "the image is gone", "run the command again")
        return record
