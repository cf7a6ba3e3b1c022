"""Images as their deployments see them: trees in slots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bootc.durable import DirectoryVolume
from bootc.image import ImportedImage
from bootc.roots.images import Images
from bootc.roots.records import DeploymentRecord
from bootc.roots.trees import DirectoryTree
from bootc_dirimage.layout import SLOTS, TREE
from bootc_dirimage.records import SlotRecord


class SlotImages(Images):
    """A key is the name of a slot."""

    def __init__(self, volume: DirectoryVolume) -> None:
        self._volume = volume

    def image(self, key: str) -> ImportedImage | None:
        slot = SlotRecord.read(self._volume, key)
        return slot.image if slot else None

    def tree(self, key: str) -> DirectoryTree:
        return DirectoryTree(self._volume.path(SLOTS / key / TREE))

    @contextmanager
    def directory(self, key: str, name: str) -> Iterator[Path]:
        """The slot's own."""
        yield self._volume.path(SLOTS / key / TREE / name)

    def source(self, key: str, path: PurePosixPath) -> PurePosixPath:
        return SLOTS / key / TREE / path

    def root(self, record: DeploymentRecord) -> PurePosixPath:
        return SLOTS / record.image / TREE

    def details(self, record: DeploymentRecord) -> Mapping[str, object]:
        return {"dirimage": {"id": record.id, "slot": record.image, "stateroot": record.stateroot}}
