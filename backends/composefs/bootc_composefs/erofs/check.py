"""What the format, overlayfs and mkcomposefs do not accept. All functions raise ValueError with the problem."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bootc_composefs.tree import SECOND, Attributes

MAX_NAME = 255
MAX_TARGET = 4095
MAX_INLINE = 5000
MAX_SIZE = 1 << 53
_MAX_TIME = SECOND << 63
_XATTR_BUDGET = 32767
_XATTR_HEADER, _XATTR_ENTRY = 12, 7


def names(found: Collection[bytes]) -> None:
    """The names in one directory."""
    joined = b"/".join(found)
    if (
        len(joined) - joined.count(b"/") != sum(map(len, found))
        or b"\0" in joined
        or max(map(len, found), default=1) > MAX_NAME
        or not {b"", b".", b".."}.isdisjoint(found)
    ):
        raise ValueError(f"a name that is empty, `.`, `..`, over {MAX_NAME} bytes, or contains NUL or a slash")


def xattrs(found: Mapping[bytes, bytes]) -> None:
    """The attributes of one file, before anything is added."""
    budget = _XATTR_HEADER
    for key, value in found.items():
        budget += _XATTR_ENTRY + len(key) + len(value)
        if not 0 < len(key) <= MAX_NAME or b"\0" in key:
            raise ValueError("the name of an extended attribute is empty, too long, or contains NUL")
    if budget > _XATTR_BUDGET:
        raise ValueError(f"extended attributes of {budget} bytes with their names; {_XATTR_BUDGET} are possible")


def numbers(attributes: Attributes, nlink: int, rdev: int = 0) -> None:
    """Owners, links and device numbers are of 32 bits, seconds of 64 with a sign; modes have no bits of a type here."""
    if (attributes.uid | attributes.gid | nlink | rdev) >> 32 or attributes.mode >> 12:
        raise ValueError("a mode, owner, count of links or device number that Linux does not know")
    if not -_MAX_TIME <= attributes.mtime < _MAX_TIME:
        raise ValueError("a modification time over 64 bits of seconds")


def target(found: bytes) -> None:
    """The target of a symbolic link."""
    if not 0 < len(found) <= MAX_TARGET or b"\0" in found:
        raise ValueError(f"a symbolic link's target is empty, over {MAX_TARGET} bytes, or contains NUL")


def inline(content: bytes, size: int) -> None:
    """Contents that lie in the image."""
    if len(content) != size:
        raise ValueError(f"contents of {len(content)} bytes for a size of {size}")
    if size > MAX_INLINE:
        raise ValueError(f"contents of {size} bytes in the image; over {MAX_INLINE} they must be an object")


def external(path: bytes, digest: bytes, size: int) -> None:
    """Contents that lie in an object."""
    if len(path) > MAX_TARGET or b"\0" in path:
        raise ValueError(f"the path of an object is over {MAX_TARGET} bytes, or contains NUL")
    if len(digest) not in (0, 32, 64):
        raise ValueError(f"a digest of {len(digest)} bytes")
    if not 0 < size <= MAX_SIZE:
        raise ValueError(f"contents of {size} bytes in an object; 1 to {MAX_SIZE} are possible")
