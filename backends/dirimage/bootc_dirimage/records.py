"""What is written down in a slot."""

from __future__ import annotations

from pathlib import PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.errors import ReferenceError, StateError
from bootc.image import Digest, ImportedImage
from bootc.roots import read_record, write_record
from bootc.state import records
from bootc_dirimage.layout import IMAGE, SLOTS


@frozen
class SlotRecord:
    """Which image a slot holds."""

    image: ImportedImage
    layers: tuple[Digest, ...]
    """diffIDs"""

    @classmethod
    def read(cls, volume: DirectoryVolume, key: str) -> SlotRecord | None:
        """The record; None if there is no such slot. Raises StateError."""
        path, hint = SLOTS / key / IMAGE, f"if the running deployment is not of this slot, move {SLOTS / key} away"
        document = read_record(volume, path, hint)
        if document is None:
            if volume.is_directory(SLOTS / key):
                raise StateError(str(path), "missing", hint)
            return None
        digest, manifest, config = (
            records.text(document, name, path, hint) for name in ("digest", "manifest", "config")
        )
        try:
            layers = tuple(map(Digest.parse, records.texts(document, "layers", path, hint)))
            raw = (text.encode(errors="surrogateescape") for text in (manifest, config))
            return cls(ImportedImage(Digest.parse(digest), *raw, key=key), layers)
        except (ReferenceError, UnicodeError) as error:
            raise StateError(str(path), f"damaged: {error}", hint) from error

    def write(self, volume: DirectoryVolume, directory: PurePosixPath) -> None:
        """Write it into a slot that is being built."""
        image = self.image
        document = {
            "digest": str(image.digest),
            "manifest": image.manifest.decode(errors="surrogateescape"),
            "config": image.config.decode(errors="surrogateescape"),
            "layers": list(map(str, self.layers)),
        }
        write_record(volume, directory / IMAGE, document)
