"""What counts as a change: content, kind, owner, mode, extended attributes; never times.

SELinux labels and IMA's attributes do not count: policy and kernel derive them, and an image's /etc has others, or
none. Those of overlayfs are its own business.
"""

from __future__ import annotations

import enum
import stat
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from bootc.etc_merge import tree
from bootc.etc_merge.tree import Listing, Node

_DERIVED = frozenset({"security.selinux", "security.ima", "security.evm"})
_OVERLAY = ("trusted.overlay.", "user.overlay.")


class Change(enum.Enum):
    """How a path differs from the image's /etc."""

    ADDED = "added"
    MODIFIED = "modified"
    REMOVED = "removed"


@frozen
class Difference:
    """One path that differs; its bytes are relative to /etc."""

    change: Change
    path: bytes

    def __str__(self) -> str:
        return tree.printable(self.path)


def diff(pristine: Path, current: Path) -> Iterator[Difference]:
    """What is different in `current`, sorted by path.

    An added directory is followed by all that is in it; of a removed one only itself is named. What is mounted
    somewhere below is no part of it. Raises FileSystemError.
    """
    with tree.opened(pristine) as old, tree.opened(current) as new:
        if not has_same_metadata(old, new):
            yield Difference(Change.MODIFIED, b"")
        yield from _differences(old, new)


def has_same_metadata(one: Node, other: Node) -> bool:
    """Owner, mode (which a link has none of) and extended attributes."""
    a, b = one.status, other.status
    if (a.st_uid, a.st_gid) != (b.st_uid, b.st_gid):
        return False
    if not one.is_link and stat.S_IMODE(a.st_mode) != stat.S_IMODE(b.st_mode):
        return False
    return one.identity == other.identity or _counted(one) == _counted(other)


def is_same(one: Node, other: Node) -> bool:
    """Whether two entries are alike; of directories only the metadata is looked at."""
    return one.kind == other.kind and has_same_metadata(one, other) and has_same_content(one, other)


def has_same_content(one: Node, other: Node) -> bool:
    """Bytes of files, targets of links, numbers of devices; both are of one kind."""
    if one.identity == other.identity:
        return True
    match one.kind:
        case stat.S_IFREG:
            return one.status.st_size == other.status.st_size and _has_same_bytes(one, other)
        case stat.S_IFLNK:
            return one.target() == other.target()
        case stat.S_IFBLK | stat.S_IFCHR:
            return one.status.st_rdev == other.status.st_rdev
        case _:
            return True


def is_same_tree(one: Node, other: Node) -> bool:
    """Whether two entries are alike with all that is below them."""
    if not is_same(one, other):
        return False
    if not one.is_directory or one.identity == other.identity:
        return True
    with one.opened() as here, other.opened() as there:
        names = here.names()
        return names == there.names() and all(_is_same_child(name, here, there) for name in names)


def is_counted(xattr: str) -> bool:
    """Whether an extended attribute is somebody's decision."""
    return xattr not in _DERIVED and not xattr.startswith(_OVERLAY)


def copied_xattrs(node: Node) -> dict[str, bytes]:
    """What a copy of it must have; a signature of security.evm holds for one inode only."""
    found = node.xattrs().items()
    return {name: value for name, value in found if not name.startswith(_OVERLAY) and name != "security.evm"}


def _differences(old: Node, new: Node) -> Iterator[Difference]:
    with old.opened() as before, new.opened() as after:
        for name in sorted(before.names() | after.names()):
            yield from _difference(before.node(name), after.node(name))


def _difference(old: Node | None, new: Node | None) -> Iterator[Difference]:
    if new is None:
        if old is not None:
            yield Difference(Change.REMOVED, old.path)
        return
    if new.is_mount_point():
        return
    if old is None:
        yield Difference(Change.ADDED, new.path)
    elif not is_same(old, new):
        yield Difference(Change.MODIFIED, new.path)
    if not new.is_directory:
        return
    if old is not None and old.is_directory:
        yield from _differences(old, new)
    else:
        with new.opened() as content:
            for child in content.nodes():
                yield from _difference(None, child)


def _counted(node: Node) -> dict[str, bytes]:
    return {name: value for name, value in node.xattrs().items() if is_counted(name)}


def _has_same_bytes(one: Node, other: Node) -> bool:
    with one.read() as here, other.read() as there:
        while True:
            chunk = here()
            if chunk != there():
                return False
            if not chunk:
                return True


def _is_same_child(name: bytes, here: Listing, there: Listing) -> bool:
    one, other = here.node(name), there.node(name)
    return one is not None and other is not None and is_same_tree(one, other)
