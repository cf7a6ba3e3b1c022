"""`accepted.json`: why the images of this system were accepted, and the newest one of each reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.errors import ReferenceError, StateError
from bootc.image import Digest, Image, ImageReference, ImageSummary, parse_time
from bootc.state import records
from bootc.state.system import now

FILE = "accepted.json"
_HINT = "without the file, the newest accepted image of a reference is the one that runs"
_MOST_VERDICTS = 16
"""of one reference, the last ones"""
_FIRST_YEAR = 1980
"""reproducible images state a time before, often 1970, that says nothing of their age"""


@frozen
class Accepted:
    """The newest image of one reference that was deployed here."""

    digest: Digest
    created: str | None
    """RFC 3339, of this image; where it states none that counts, of the one before"""
    version: str | None
    """likewise"""

    @classmethod
    def of(cls, image: ImageSummary, before: Accepted | None = None) -> Accepted:
        """After this image was deployed."""
        created = image.created if creation_time(image.created) else None
        earlier = (before.created, before.version) if before else (None, None)
        return cls(image.digest, created or earlier[0], image.version or earlier[1])


def creation_time(text: str | None) -> datetime | None:
    """When an image was created, if what it states can be its age."""
    moment = parse_time(text) if text else None
    return moment if moment and moment.year >= _FIRST_YEAR else None


@frozen
class Acceptances:
    """The record of one sysroot. A damaged file is a StateError."""

    volume: DirectoryVolume
    directory: PurePosixPath
    check_writable: Callable[[], None]

    def newest(self, reference: ImageReference) -> Accepted | None:
        """The newest image that was deployed from there, whatever signature policy was asked for."""
        entry = self._table("newest").get(str(reference))
        return None if entry is None else self._accepted(entry)

    def verdict(self, reference: ImageReference, digest: Digest) -> str | None:
        """Why an image was accepted when it was last deployed from this reference; None: not known."""
        entries = records.table(self._table("verdicts"), reference.origin, self._path, _HINT)
        if str(digest) not in entries:
            return None
        return records.text(records.table(entries, str(digest), self._path, _HINT), "verdict", self._path, _HINT)

    def accept(self, image: Image, reference: ImageReference) -> None:
        """Remember that an image was accepted and deployed; upgrades will follow `reference`."""
        self.check_writable()
        newest = Accepted.of(image, self.newest(reference))
        verdicts = self._table("verdicts")
        others = self._latest(records.table(verdicts, reference.origin, self._path, _HINT))
        mine = {**others, str(image.digest): {"verdict": image.verdict, "time": now()}}
        document = {
            **(records.read(self.volume, self._path, _HINT) or {}),
            "newest": {**self._table("newest"), str(reference): _document(newest)},
            "verdicts": {**verdicts, reference.origin: mine},
        }
        records.write(self.volume, self._path, document)

    @property
    def _path(self) -> PurePosixPath:
        return self.directory / FILE

    def _table(self, key: str) -> dict[str, Any]:
        document = records.read(self.volume, self._path, _HINT)
        return records.table(document or {}, key, self._path, _HINT)

    def _latest(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        def time(digest: str) -> str:
            return records.text(records.table(entries, digest, self._path, _HINT), "time", self._path, _HINT)

        return {digest: entries[digest] for digest in sorted(entries, key=time)[1 - _MOST_VERDICTS :]}

    def _accepted(self, entry: object) -> Accepted:
        if not isinstance(entry, dict):
            raise StateError(str(self._path), "damaged: a reference is not an object", _HINT)
        created, version = (self._optional(entry, key) for key in ("created", "version"))
        try:
            digest = Digest.parse(records.text(entry, "digest", self._path, _HINT))
        except ReferenceError as error:
            raise StateError(str(self._path), f"damaged: {error}", _HINT) from error
        return Accepted(digest, created, version)

    def _optional(self, entry: Mapping[str, Any], key: str) -> str | None:
        return None if entry.get(key) is None else records.text(entry, key, self._path, _HINT)


def _document(accepted: Accepted) -> dict[str, Any]:
    return {"digest": str(accepted.digest), "created": accepted.created, "version": accepted.version, "time": now()}
