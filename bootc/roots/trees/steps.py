"""The steps in which a tree is written, as the observer of its volume is told of them."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume


@frozen
class TreeSteps:
    """Tells the volume's observer of each step below `root`, in the words of `bootc.durable.Step`."""

    volume: DirectoryVolume
    root: PurePosixPath

    def tell(self, name: str, *paths: bytes, data: bytes | None = None) -> None:
        """A step that is about to be taken; paths are those of entries."""
        if self.volume.is_observed:
            self.volume.announce(name, *(self.root / os.fsdecode(path) for path in paths), data=data)

    def tell_from(self, other: PurePosixPath, name: str, path: bytes, data: bytes | None = None) -> None:
        """A step whose first path is the same one in another tree."""
        if self.volume.is_observed:
            relative = os.fsdecode(path)
            self.volume.announce(name, other / relative, self.root / relative, data=data)
