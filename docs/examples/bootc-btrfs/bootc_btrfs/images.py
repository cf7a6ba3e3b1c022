"""Images as their deployments see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.image import Digest, ImportedImage
from bootc.roots.images import Images
from bootc.roots.records import DeploymentRecord, describe_image, described_image, read_record, write_record
from bootc.roots.trees import DirectoryTree
from bootc_btrfs.layout import IMAGES


@frozen
class BtrfsImages(Images):
    """A key is the hexadecimal digest of a manifest."""

    volume: DirectoryVolume

    def image(self, key: str) -> ImportedImage | None:
        found = self.read(key)
        return found[0] if found else None

    def tree(self, key: str) -> DirectoryTree:
        return DirectoryTree(self.volume.path(IMAGES / key))

    @contextmanager
    def directory(self, key: str, name: str) -> Iterator[Path]:
        yield self.volume.path(IMAGES / key / name)

    def source(self, key: str, path: PurePosixPath) -> PurePosixPath:
        return IMAGES / key / path

    def root(self, record: DeploymentRecord) -> PurePosixPath:
        return IMAGES / record.image

    def details(self, record: DeploymentRecord) -> Mapping[str, object]:
        return {"btrfs": {"subvolume": str(IMAGES / record.image), "stateroot": record.stateroot}}

    # ------------------------------------------------------------ records

    def keys(self) -> tuple[str, ...]:
        """The keys of all images that count."""
        return tuple(name.removesuffix(".json") for name in self.volume.names(IMAGES) if name.endswith(".json"))

    def read(self, key: str) -> tuple[ImportedImage, tuple[Digest, ...]] | None:
        """An image and its diffIDs; None if it does not count."""
        path, hint = self._record(key), "remove the file: the next upgrade brings the image again"
        document = read_record(self.volume, path, hint)
        if document is None or not self.volume.is_directory(IMAGES / key):
            return None
        return described_image(document, path, hint, key)

    def write(self, image: ImportedImage, layers: tuple[Digest, ...]) -> None:
        """From now on it counts."""
        write_record(self.volume, self._record(image.key), describe_image(image, layers))

    def forget(self, key: str) -> None:
        """From now on it does not."""
        self.volume.remove(self._record(key))

    def _record(self, key: str) -> PurePosixPath:
        return IMAGES / f"{key}.json"
