"""What was decided for all objects and images of a sysroot when it was made, and whether fs-verity is in use."""

from __future__ import annotations

from functools import cached_property

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.errors import StateError
from bootc.roots.records import read_record, write_record
from bootc.state import records
from bootc_composefs import fsverity
from bootc_composefs.failures import VerityUnsupportedError
from bootc_composefs.fsverity import Algorithm
from bootc_composefs.layout import LAYOUT, OBJECTS, PRIVATE, REPOSITORY
from bootc_composefs.options import ComposefsOptions

FORMAT = "1/1"
"""lowest and highest version of the image format that mkcomposefs would be given"""

_HINT = (
    f'write {{"algorithm": A, "image-format": "{FORMAT}", "verity": "auto"}} to it, or "require"; '
    "A is sha256 if the names of objects have 62 digits, sha512 if 126"
)


@frozen
class Decisions:
    """Recorded once."""

    algorithm: Algorithm
    is_verity_required: bool


class Repository:
    """One sysroot's, with the options that are in force now."""

    def __init__(self, volume: DirectoryVolume, options: ComposefsOptions) -> None:
        self._volume, self._options = volume, options

    def initialize(self) -> None:
        """Make directories and record, where there are none."""
        self._volume.make_directories(LAYOUT.base)
        for directory in PRIVATE:
            self._volume.make_directories(directory, 0o700)
        if self._read() is None:
            if self._options.verity == "require":
                self._require_verity(Algorithm(self._options.algorithm))
            document = {"algorithm": self._options.algorithm, "image-format": FORMAT, "verity": self._options.verity}
            write_record(self._volume, REPOSITORY, document)

    @cached_property
    def decisions(self) -> Decisions:
        """What is recorded. Raises StateError."""
        found = self._read()
        if found is None:
            raise StateError(str(REPOSITORY), "missing", _HINT)
        return found

    @property
    def algorithm(self) -> Algorithm:
        """Of all digests."""
        return self.decisions.algorithm

    @property
    def is_verity_required(self) -> bool:
        """Whether new deployments boot only with fs-verity."""
        return self._options.verity == "require" or (
            self._options.verity == "auto" and self.decisions.is_verity_required
        )

    @cached_property
    def has_verity(self) -> bool:
        """Whether files get fs-verity. Raises VerityUnsupportedError if they must and cannot."""
        if self._options.verity == "off":
            return False
        if self.is_verity_required:
            self._require_verity(self.algorithm)
            return True
        return fsverity.unsupported_reason(self._volume.path(OBJECTS), self.algorithm) is None

    def _require_verity(self, algorithm: Algorithm) -> None:
        path = self._volume.path(OBJECTS)
        if reason := fsverity.unsupported_reason(path, algorithm):
            hint = 'use ext4 with the feature `verity`, or btrfs, and a kernel that has fs-verity; or `verity = "auto"`'
            raise VerityUnsupportedError(str(path), f"fs-verity is required, but {reason}", hint)

    def _read(self) -> Decisions | None:
        document = read_record(self._volume, REPOSITORY, _HINT)
        if document is None:
            return None
        texts = {key: records.text(document, key, REPOSITORY, _HINT) for key in ("algorithm", "image-format", "verity")}
        if texts["image-format"] != FORMAT:
            newer = "use the version of bootc that wrote it"
            raise StateError(str(REPOSITORY), f"images have format {texts['image-format']}, not {FORMAT}", newer)
        try:
            return Decisions(Algorithm(texts["algorithm"]), texts["verity"] == "require")
        except ValueError as error:
            raise StateError(str(REPOSITORY), f"damaged: {error}", _HINT) from error
