"""Entries of a layer as values, and their names in words."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from attrs import field, frozen

from bootc.errors import LayerError

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"

_SHOWN = 200

NO_XATTRS: Mapping[bytes, bytes] = MappingProxyType({})


class EntryKind(enum.Enum):
    """What an entry puts at its path; the values are the type flags of tar."""

    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


@frozen
class Entry:
    """One member of a layer, checked and without any trace of how tar spelt it."""

    path: bytes
    """Relative to the root of the image, without empty, `.` and `..` components; `b""` is the root directory itself."""
    kind: EntryKind
    mode: int
    """Permission bits with setuid, setgid and sticky; never the bits of the type."""
    uid: int
    gid: int
    mtime: int
    """Nanoseconds since 1970, possibly negative; it fits into 64 bits with sign."""
    size: int = 0
    """Bytes of content; 0 for everything but files. Holes of sparse files count."""
    target: bytes = b""
    """Of a symbolic link as it stands in the archive; of a hard link normalised like `path`, an earlier entry."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a CHARACTER or BLOCK entry."""
    xattrs: Mapping[bytes, bytes] = field(default=NO_XATTRS, hash=False)
    is_implied: bool = False
    """A directory that has no entry, or not yet: only paths below it. An explicit entry may follow and replaces it."""

    @property
    def parent(self) -> bytes:
        """The path of the directory that holds this entry; the root's parent is the root."""
        return self.path.rpartition(b"/")[0]

    @property
    def name(self) -> bytes:
        """The last component of the path."""
        return self.path.rpartition(b"/")[2]

    @property
    def is_opaque(self) -> bool:
        """Whether this marker hides all that lower layers have in `parent`; what its own layer has there stays."""
        return self.name == OPAQUE

    @property
    def whiteout(self) -> bytes | None:
        """The path that this marker removes from the lower layers, with all below it; None for other entries."""
        directory, slash, name = self.path.rpartition(b"/")
        if not name.startswith(WHITEOUT) or name == OPAQUE:
            return None
        return directory + slash + name[len(WHITEOUT) :]


def printable(name: bytes) -> str:
    """A name from an image, safe to show: what is not UTF-8 or could steer a terminal is escaped; cut at 200."""
    text = name[:1000].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if not shown or shown != shown.strip():
        return repr(shown)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"


def refusal(name: bytes, problem: str) -> LayerError:
    """The error for an entry that is not let in, to be raised by the caller."""
    return LayerError(printable(name), problem)
