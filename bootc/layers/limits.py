"""What one layer may ask of the machine before it is refused."""

from __future__ import annotations

from attrs import frozen

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@frozen
class Limits:
    """Upper bounds for one layer; sizes are bytes. The defaults are far above real images and far below harm.

    A large desktop image has some 300,000 entries in all its layers; an image with machine-learning models, 30 GiB.
    """

    entries: int = 2_000_000
    """Entries, with the directories that are only implied by the paths below them."""
    names: int = 256 * MIB
    """All paths together: the reader keeps them in memory to find repetitions."""
    file: int = 32 * GIB
    """One file, with the holes of a sparse one filled."""
    total: int = 64 * GIB
    """All files together, likewise."""
    path: int = 4096
    """A path, and the target of a link (PATH_MAX)."""
    component: int = 255
    """One component of a path (NAME_MAX)."""
    depth: int = 256
    """Components of a path. It keeps recursive code of the stores away from its own limit."""
    records: int = MIB
    """The extended header (PAX) of one entry, and the map of a sparse file."""
    xattrs: int = 128
    """Extended attributes of one entry."""
    xattr_name: int = 255
    """XATTR_NAME_MAX."""
    xattr_value: int = 64 * KIB
    """XATTR_SIZE_MAX."""
