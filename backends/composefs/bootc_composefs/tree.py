"""The file tree of an image, as it is to be written: what a dump describes and an EROFS image holds.

Names, targets and attribute names are bytes. Contents are either in the tree (small ones) or named by the object that
holds them. A file with several names stands at one of them; the others are hard links to it.
"""

from __future__ import annotations

import enum
import stat
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from attrs import define, field, frozen

from bootc.layers import printable
from bootc.layers.entry import NO_XATTRS

SECOND = 10**9
"""nanoseconds"""


@frozen
class Object:
    """Contents that lie in a file of their own below the directory of objects."""

    digest: bytes
    """fs-verity digest that overlayfs demands of the object: 32 (SHA-256) or 64 bytes (SHA-512); empty: none"""
    own_path: bytes | None = None
    """if it does not lie where its digest says; a tree has very many objects, and hardly one with it"""

    @staticmethod
    def of(digest: bytes) -> Object:
        """The object that is named by its digest: `xx/` and the remaining digits."""
        return Object(digest)

    @staticmethod
    def at(digest: bytes, path: bytes) -> Object:
        """The object at a path, which may be that of the digest."""
        named = Object(digest)
        return named if named.path == path else Object(digest, path)

    @property
    def path(self) -> bytes:
        """Relative to the directory of objects; empty: contents that nothing can give."""
        if self.own_path is not None:
            return self.own_path
        digits = self.digest.hex().encode()
        return digits[:2] + b"/" + digits[2:]


Content: TypeAlias = bytes | Object


@frozen
class Attributes:
    """What every kind of file has."""

    mode: int
    """permission bits with setuid, setgid and sticky"""
    uid: int
    gid: int
    mtime: int
    """nanoseconds since 1970, possibly negative"""
    xattrs: Mapping[bytes, bytes] = field(default=NO_XATTRS, hash=False)


class Kind(enum.Enum):
    """Files without content; the values are the bits of the mode."""

    CHARACTER = stat.S_IFCHR
    BLOCK = stat.S_IFBLK
    FIFO = stat.S_IFIFO
    SOCKET = stat.S_IFSOCK


@define(eq=False)
class Directory:
    """A directory with its entries by name."""

    attributes: Attributes
    children: dict[bytes, Child] = field(factory=dict)


@define(eq=False)
class File:
    """A regular file. `content` of an empty one is `b""`."""

    attributes: Attributes
    size: int
    content: Content
    nlink: int = 1


@define(eq=False)
class Symlink:
    """A symbolic link."""

    attributes: Attributes
    target: bytes
    nlink: int = 1


@define(eq=False)
class Special:
    """A device, fifo or socket. A character device with number 0 is a whiteout of overlayfs."""

    attributes: Attributes
    kind: Kind
    rdev: int = 0
    """`st_rdev` as Linux encodes it (`os.makedev`); 0 for what is no device"""
    nlink: int = 1

    @property
    def is_whiteout(self) -> bool:
        """Whether overlayfs would hide the name, if the image did not escape it."""
        return self.kind is Kind.CHARACTER and not self.rdev


@define(eq=False)
class HardLink:
    """One more name of a file that stands elsewhere in the tree."""

    target: File | Symlink | Special


Node: TypeAlias = Directory | File | Symlink | Special
Child: TypeAlias = Node | HardLink


def walk(root: Directory) -> Iterator[tuple[bytes, Child]]:
    """Every name with its path (`/`, `/usr`, ...), each directory before what is in it, in order of bytes."""
    pending: list[tuple[bytes, Child]] = [(b"/", root)]
    while pending:
        path, child = pending.pop()
        yield path, child
        if isinstance(child, Directory):
            base = path if path == b"/" else path + b"/"
            pending += [(base + name, child.children[name]) for name in sorted(child.children, reverse=True)]


def path_of(root: Directory, wanted: Child) -> str:
    """Where a node stands, for messages."""
    return next((printable(path) for path, child in walk(root) if child is wanted), "(not in the tree)")


def mode_of(node: Node) -> int:
    """Permissions and the bits of the type, as `st_mode` has them."""
    match node:
        case Directory():
            return stat.S_IFDIR | node.attributes.mode
        case File():
            return stat.S_IFREG | node.attributes.mode
        case Symlink():
            return stat.S_IFLNK | node.attributes.mode
        case Special():
            return int(node.kind.value) | node.attributes.mode
