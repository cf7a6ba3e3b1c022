"""`references.json`: what each image reference was last seen to point to, and the update that was found there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.errors import ReferenceError, StateError
from bootc.image import Digest, Image, ImageReference, ImageSummary
from bootc.state import records
from bootc.state.system import now

FILE = "references.json"
_HINT = "it is a cache: remove the file, and the next `bootc upgrade` writes it anew"


@frozen
class Sighting:
    """What a reference pointed to when it was last looked at."""

    top_digest: Digest | None
    """of what the tag points to (the index, for multi-arch); None: the source could not know"""
    digest: Digest
    """of this machine's manifest"""
    time: str
    """RFC 3339"""
    update: ImageSummary | None
    """the image itself, as it was then"""


@frozen
class References:
    """The records of all references of one sysroot. A damaged file is a StateError."""

    volume: DirectoryVolume
    directory: PurePosixPath
    check_writable: Callable[[], None]

    def get(self, reference: ImageReference) -> Sighting | None:
        """The record of one reference; None if it was never looked at."""
        entry = self._all().get(reference.origin)
        return None if entry is None else self._sighting(entry)

    def seen(self, reference: ImageReference) -> tuple[Digest | None, Digest] | None:
        """The digest it pointed to, and that of this machine's manifest."""
        found = self.get(reference)
        return None if found is None else (found.top_digest, found.digest)

    def cached_update(self, reference: ImageReference) -> ImageSummary | None:
        """The newest image that was seen there."""
        found = self.get(reference)
        return found.update if found else None

    def record(self, image: Image) -> None:
        """Remember what its reference points to now."""
        self._write({**self._all(), image.reference.origin: _document(image)})

    def retain(self, references: Collection[ImageReference]) -> None:
        """Forget all but these."""
        old, keep = self._all(), {reference.origin for reference in references}
        new = {origin: entry for origin, entry in old.items() if origin in keep}
        if new != old:
            self._write(new)

    def touch(self) -> None:
        """Set the time of the state directory to now: `bootc-status-updated.path` watches it."""
        self.volume.touch(self.directory)

    @property
    def _path(self) -> PurePosixPath:
        return self.directory / FILE

    def _all(self) -> dict[str, Any]:
        document = records.read(self.volume, self._path, _HINT)
        return records.table(document or {}, "references", self._path, _HINT)

    def _write(self, entries: Mapping[str, Any]) -> None:
        self.check_writable()
        document = records.read(self.volume, self._path, _HINT) or {}
        records.write(self.volume, self._path, {**document, "references": entries})

    def _sighting(self, entry: object) -> Sighting:
        if not isinstance(entry, dict):
            raise StateError(str(self._path), "damaged: a reference is not an object", _HINT)
        top, update = entry.get("top-digest"), entry.get("update")
        return Sighting(
            None if top is None else self._digest(entry, "top-digest"),
            self._digest(entry, "digest"),
            records.text(entry, "time", self._path, _HINT),
            None if update is None else self._update(records.table(entry, "update", self._path, _HINT)),
        )

    def _update(self, document: Mapping[str, Any]) -> ImageSummary:
        manifest, config = (records.text(document, key, self._path, _HINT) for key in ("manifest", "config"))
        return ImageSummary(self._digest(document, "digest"), _bytes(manifest), _bytes(config))

    def _digest(self, document: Mapping[str, Any], key: str) -> Digest:
        try:
            return Digest.parse(records.text(document, key, self._path, _HINT))
        except ReferenceError as error:
            raise StateError(str(self._path), f"damaged: {error}", _HINT) from error


def _document(image: Image) -> dict[str, Any]:
    return {
        "top-digest": str(image.top_digest) if image.top_digest else None,
        "digest": str(image.digest),
        "time": now(),
        "update": {"digest": str(image.digest), "manifest": _text(image.manifest), "config": _text(image.config)},
    }


def _text(data: bytes) -> str:
    """Keeps every byte: documents are compared by digest."""
    return data.decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
