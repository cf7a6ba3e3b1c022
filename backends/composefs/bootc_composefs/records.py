"""What is written down of an image."""

from __future__ import annotations

from pathlib import PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.errors import StateError
from bootc.image import Digest, ImportedImage
from bootc.roots.records import describe_image, described_image, read_record, write_record
from bootc.state import records
from bootc_composefs.layout import IMAGES, SUFFIX
from bootc_composefs.tree import Object

_HINT = "move it away; the next import of the image writes it again"


@frozen
class ImageRecord:
    """An image that is whole in the store."""

    image: ImportedImage
    layers: tuple[Digest, ...]
    """diffIDs"""
    erofs: Object
    """its EROFS image"""
    size: int
    """of the EROFS image, in bytes"""

    @classmethod
    def read(cls, volume: DirectoryVolume, key: str) -> ImageRecord | None:
        """The record; None if there is none. Raises StateError."""
        path = path_of(key)
        document = read_record(volume, path, _HINT)
        if document is None:
            return None
        image, layers = described_image(document, path, _HINT, key)
        size = document.get("erofs-size")
        try:
            digest = bytes.fromhex(records.text(document, "erofs", path, _HINT))
        except ValueError as error:
            raise StateError(str(path), "damaged: 'erofs' is no digest", _HINT) from error
        if not isinstance(size, int) or len(digest) not in (32, 64):
            raise StateError(str(path), "damaged: 'erofs' or 'erofs-size' is missing or wrong", _HINT)
        return cls(image, layers, Object.of(digest), size)

    def write(self, volume: DirectoryVolume) -> None:
        """Replace the record, in one step."""
        document = {
            **describe_image(self.image, self.layers),
            "erofs": self.erofs.digest.hex(),
            "erofs-size": self.size,
        }
        write_record(volume, path_of(self.image.key), document)


def path_of(key: str) -> PurePosixPath:
    """Where the record lies."""
    return IMAGES / f"{key}{SUFFIX}"


def keys(volume: DirectoryVolume) -> tuple[str, ...]:
    """Of all images that have a record."""
    return tuple(name.removesuffix(SUFFIX) for name in volume.names(IMAGES) if name.endswith(SUFFIX))
