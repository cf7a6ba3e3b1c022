"""What is written down in a slot."""

from __future__ import annotations

from pathlib import PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.image import Digest, ImportedImage
from bootc.roots.records import describe_image, described_image, read_record, write_record
from bootc_dirimage.layout import IMAGE, SLOTS


@frozen
class SlotRecord:
    """Which image a slot holds."""

    image: ImportedImage
    layers: tuple[Digest, ...]
    """diffIDs"""

    @classmethod
    def read(cls, volume: DirectoryVolume, key: str) -> SlotRecord | None:
        """The record; None if there is no such slot, or nobody knows of which image it is. Raises StateError."""
        path = SLOTS / key / IMAGE
        hint = "remove the file: the slot then holds an unknown image, and `bootc upgrade` fetches the image anew"
        document = read_record(volume, path, hint)
        if document is None:
            return None
        return cls(*described_image(document, path, hint, key))

    def write(self, volume: DirectoryVolume, directory: PurePosixPath) -> None:
        """Write it into a slot that is being built."""
        write_record(volume, directory / IMAGE, describe_image(self.image, self.layers))
