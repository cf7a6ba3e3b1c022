"""Origin files: what a deployment was made from, and follows."""

from __future__ import annotations

from bootc.errors import ReferenceError
from bootc.image import ImageReference
from bootc_ostree.glib import GLib

_GROUP, _KEY = "origin", "container-image-reference"
_FOREIGN = frozenset({"rpmostree", "packages", "overrides", "modules"})
"""groups by which rpm-ostree says that it changed the image on this machine"""


def write(reference: ImageReference) -> GLib.KeyFile:
    """The origin of a deployment that follows an image reference."""
    origin = GLib.KeyFile()
    origin.set_string(_GROUP, _KEY, reference.origin)
    return origin


def reference(origin: GLib.KeyFile | None) -> ImageReference | None:
    """The image reference in an origin; None if it has none, or one that cannot be read."""
    try:
        return ImageReference.parse(origin.get_string(_GROUP, _KEY)) if origin else None
    except (GLib.Error, ReferenceError):
        return None


def is_foreign(origin: GLib.KeyFile | None) -> bool:
    """Whether packages were layered onto the image, which an upgrade would lose."""
    return bool(origin and _FOREIGN.intersection(origin.get_groups()[0]))
