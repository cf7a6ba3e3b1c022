"""Images as their deployments see them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bootc.deployment import KernelArguments
from bootc.durable import DirectoryVolume
from bootc.errors import StateError, StoreError
from bootc.image import ImportedImage
from bootc.roots.images import Images
from bootc.roots.layout import DEPLOYMENT
from bootc.roots.records import DeploymentRecord
from bootc.roots.sysroot import Sysroot
from bootc.state import find_system
from bootc.system.initramfs import IMAGE_ARGUMENT, ComposefsRoot
from bootc_composefs.assembly import read_tree, tree_of
from bootc_composefs.image_tree import ComposefsTree
from bootc_composefs.layout import LAYOUT, OBJECTS
from bootc_composefs.objects import Objects
from bootc_composefs.records import ImageRecord, path_of
from bootc_composefs.repository import Repository
from bootc_composefs.tree import Directory, File, Object

_BOOTLOADERS = {"systemd-boot": "systemd", "grub": "grub"}
"""what upstream's status document calls them"""
_ARGUMENT = re.compile(r"sha256-12:[0-9a-f]{64}|sha512-12:[0-9a-f]{128}")


class ComposefsImages(Images):
    """A key is that of an image's record."""

    plan_version = 2

    def __init__(self, sysroot: Sysroot, repository: Repository) -> None:
        self._sysroot, self._repository = sysroot, repository
        self._volume = sysroot.volume
        self._trees: dict[str, ComposefsTree] = {}

    def image(self, key: str) -> ImportedImage | None:
        record = ImageRecord.read(self._volume, key)
        return record.image if record else None

    def tree(self, key: str) -> ComposefsTree:
        """Read once in the life of this instance."""
        if key not in self._trees:
            objects = Objects(self._volume, self._repository.algorithm)
            self._trees[key] = ComposefsTree(self._read(key, objects), objects, self._volume)
        return self._trees[key]

    def deployed(self) -> dict[str, Object]:
        """The EROFS images of all deployments, by the keys of their images, which may have lost their records."""
        view = self._sysroot.view()
        records = (*view.order, *([view.staged] if view.staged else ()))
        return {record.image: Object.of(_digest(self.root(record))) for record in records}

    @contextmanager
    def directory(self, key: str, name: str) -> Iterator[Path]:
        """A checkout."""
        with self.tree(key).checked_out(PurePosixPath(name)) as path:
            yield path

    def copy(self, key: str, name: str, volume: DirectoryVolume, path: PurePosixPath) -> None:
        """Checked out where it is to be."""
        self.tree(key).check_out(PurePosixPath(name), path)

    def source(self, key: str, path: PurePosixPath) -> PurePosixPath:
        found = self.tree(key).find(path)
        if not isinstance(found, File) or not isinstance(found.content, Object):
            raise StoreError(str(path), "is no file with contents", "kernel and initramfs must be files")
        return OBJECTS / found.content.path.decode()

    def root(self, record: DeploymentRecord) -> ComposefsRoot:
        """As the deployment was staged, whatever became of the image's record."""
        value = KernelArguments(record.own_arguments).value(IMAGE_ARGUMENT) or ""
        digest = value.removeprefix("?")
        path = self._sysroot.layout.deployments / record.id
        if not _ARGUMENT.fullmatch(digest):
            hint = f"move {path} away while another deployment runs"
            raise StateError(str(path / DEPLOYMENT), f"damaged: {value!r} is no digest of an image", hint)
        digits = digest.partition(":")[2]
        return ComposefsRoot(OBJECTS / digits[:2] / digits[2:], OBJECTS, digest, value == digest)

    def arguments(self, key: str) -> tuple[str, ...]:
        erofs = self._record(key).erofs
        digest = f"{self._repository.algorithm.value}-12:{erofs.digest.hex()}"
        path = OBJECTS / erofs.path.decode()
        return (ComposefsRoot(path, OBJECTS, digest, self._repository.is_verity_required).argument,)

    @property
    def initramfs_programs(self) -> tuple[str, ...]:
        return ("fsverity",) if self._repository.is_verity_required else ()

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
            algorithm = self._repository.algorithm
            read_tree(self._record(key).erofs, Objects(self._volume, algorithm), algorithm)

    def _read(self, key: str, objects: Objects) -> Directory:
        record, algorithm = ImageRecord.read(self._volume, key), self._repository.algorithm
        if record:
            return tree_of(record, objects, algorithm, self._volume)
        erofs = self.deployed().get(key)
        if erofs is None:
            raise StoreError(str(path_of(key)), "the image is gone", "run the command again")
        return read_tree(erofs, objects, algorithm)

    def _record(self, key: str) -> ImageRecord:
        record = ImageRecord.read(self._volume, key)
        if record is None:
            raise StoreError(str(path_of(key)), "the image is gone", "run the command again")
        return record


def _digest(root: ComposefsRoot) -> bytes:
    return bytes.fromhex(root.digest.partition(":")[2])
