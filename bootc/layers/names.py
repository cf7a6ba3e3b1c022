"""Paths of one layer: made relative and clean, each brought once, none below anything but a directory."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from bootc.layers.entry import OPAQUE, WHITEOUT, printable, refusal
from bootc.layers.limits import Limits


class Place(enum.Enum):
    """What a layer has at a path so far."""

    IMPLIED = "a directory above other paths"
    DIRECTORY = "a directory"
    OTHER = "an entry that is not a directory"
    MARKER = "a whiteout"


_OTHER = Place.OTHER
_NO_NAMES = (b"", b".", b"..")


class Names:
    """Remembers the paths of a layer and refuses those that make its meaning depend on order or on links."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places: dict[bytes, Place] = {b"": Place.IMPLIED}
        self._directories = {b""}
        self._size = 0
        self._longest, self._most, self._component = limits.path, limits.entries, limits.component

    def enter(self, raw: bytes, *, is_directory: bool, is_file: bool) -> tuple[bytes, Sequence[bytes]]:
        """The clean path for a name in the archive, and its parents that no entry has brought, outermost first.

        Raises LayerError for a name that means no path below the root, for a path that the layer has already or that is
        below something else than a directory, and for a whiteout that is misnamed, not an empty file, or late.
        """
        path = raw[2:] if raw[:2] == b"./" else raw
        parent, slash, name = path.rpartition(b"/")
        if (
            parent not in self._directories
            or (slash and not parent)
            or is_directory
            or path in self._places
            or name[:4] == WHITEOUT
            or name in _NO_NAMES
            or len(name) > self._component
        ):
            return self._enter_carefully(raw, is_directory=is_directory, is_file=is_file)
        self._remember(path, _OTHER)
        return path, ()

    def clean(self, raw: bytes, subject: bytes) -> bytes:
        """The relative, normalised path for a name. Raises LayerError, naming `subject`, if it could mean another."""
        if not raw:
            raise refusal(subject, "the name is empty")
        components = [part for part in raw.split(b"/") if part not in (b"", b".")]
        if b".." in components:
            raise refusal(subject, "the name contains `..`")
        if any(len(part) > self._component for part in components):
            raise refusal(subject, f"a component of the name is longer than {self._component} bytes")
        return b"/".join(components)

    def _enter_carefully(self, raw: bytes, *, is_directory: bool, is_file: bool) -> tuple[bytes, Sequence[bytes]]:
        path = self.clean(raw, raw)
        if not is_directory and (not path or raw.endswith((b"/", b"/."))):
            raise refusal(raw, "only a directory can have this name")
        if path.count(b"/") >= self._limits.depth:
            raise refusal(path, f"the name has more than {self._limits.depth} components")
        parent, _, name = path.rpartition(b"/")
        implied = () if parent in self._directories else self._imply(path, parent)
        place = Place.DIRECTORY if is_directory else Place.OTHER
        if name.startswith(WHITEOUT):
            self._check_marker(path, name, is_file=is_file)
            place = Place.MARKER
        known = self._places.get(path)
        if known is not None and (known is not Place.IMPLIED or place is not Place.DIRECTORY):
            raise refusal(path, f"the layer brings this path twice, before as {known.value}")
        self._remember(path, place)
        if is_directory:
            self._directories.add(path)
        return path, implied

    def check_target(self, path: bytes, target: bytes) -> None:
        """Raises LayerError unless `target` is an entry before this one which a hard link at `path` can share."""
        place = self._places.get(target)
        if target == path or place is None:
            raise refusal(path, f"hard link to {printable(target)}, which is no earlier entry of this layer")
        if place is not Place.OTHER:
            raise refusal(path, f"hard link to {printable(target)}, which is {place.value}")

    def _imply(self, path: bytes, parent: bytes) -> Sequence[bytes]:
        """Enter the missing parents of a path as implied directories."""
        missing = []
        while (place := self._places.get(parent)) is None:
            missing.append(parent)
            parent, _, name = parent.rpartition(b"/")
            if name.startswith(WHITEOUT):
                raise refusal(path, "nothing can be below a whiteout")
        if parent not in self._directories:
            raise refusal(path, f"the layer has {place.value} at {printable(parent)}, and this path is below it")
        missing.reverse()
        for directory in missing:
            self._remember(directory, Place.IMPLIED)
            self._directories.add(directory)
        return missing

    def _remember(self, path: bytes, place: Place) -> None:
        self._places[path] = place
        self._size += len(path)
        if len(path) > self._longest:
            raise refusal(path, f"the name is longer than {self._longest} bytes")
        if len(self._places) > self._most or self._size > self._limits.names:
            raise refusal(path, f"the layer has over {self._most} entries or {self._limits.names} bytes of names")

    def _check_marker(self, path: bytes, name: bytes, *, is_file: bool) -> None:
        if not is_file:
            raise refusal(path, "a whiteout must be a regular file without content")
        if name == OPAQUE:
            if path == name:
                raise refusal(path, "an opaque marker for the whole image; storage drivers disagree on it")
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in _NO_NAMES or hidden.startswith(WHITEOUT):
            raise refusal(path, "a whiteout with this name removes nothing that could exist")
        if self._places.get(path[: -len(name)] + hidden) is not None:
            raise refusal(path, "the layer brings this path and then removes it")
