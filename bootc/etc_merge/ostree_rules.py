"""What libostree's own merge of /etc will do, foretold: it runs at shutdown, when nobody looks.

libostree compares kind, mode, owner and content, puts changes into the new /etc one by one, each below a directory that
must be one there, and never turns a directory of the new image into something else. It follows links that the image
has in place of directories. (`merge_configuration_from`, the same from 2022.7 to 2026.4.)
"""

from __future__ import annotations

import ctypes
import functools
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import define, field, frozen

from bootc.etc_merge import tree
from bootc.etc_merge.compare import Change, has_same_content, has_same_metadata
from bootc.etc_merge.findings import Findings, MergeFinding, Reason
from bootc.etc_merge.tree import Listing, Node

_OPENAT2, _RESOLVE_BENEATH = 437, 0x08
_ORDINARY = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


@frozen
class _Place:
    """What libostree will find in place of a directory in which it has something to change."""

    listing: Listing | None = None
    """None: nothing is there"""
    is_free: bool = False
    """the local directory was copied there with everything in it"""
    obstacle: Reason | None = None
    """why changes below will fail"""
    link: bool = False


def preview_ostree(old: Path, current: Path, new: Path) -> tuple[MergeFinding, ...]:
    """Findings about a merge of these by libostree; fatal ones if it would fail, or write somewhere else.

    `old` and `new` are usr/etc of the two commits, `current` is the deployment's etc, which is read
    again if it changes meanwhile. Raises FileSystemError.
    """
    return tree.steadily(lambda: _preview(old, current, new))


def _preview(old: Path, current: Path, new: Path) -> tuple[MergeFinding, ...]:
    with tree.opened(old) as before, tree.opened(current) as here, tree.opened(new) as after, after.opened() as content:
        preview = _Preview(content.descriptor)
        if not _has_same_mode(before, here):
            preview.findings.add(Reason.OSTREE_METADATA, b"")
        preview.content(before, here, _Place(content))
        return preview.findings.all()


@define
class _Preview:
    root: int
    """descriptor of the new /etc"""
    findings: Findings = field(factory=Findings)

    def content(self, old: Node | None, current: Node, place: _Place) -> bool:
        """Everything in one directory; answers whether libostree puts something right into it."""
        if current.is_too_deep:
            self.findings.add(Reason.TOO_DEEP, current.path)
            return False
        changes: set[Change | None] = set()
        with ExitStack() as stack:
            here = stack.enter_context(current.opened())
            before = stack.enter_context(old.opened()) if old else None
            for name in sorted(here.names() | (before.names() if before else set())):
                original = before.node(name) if before else None
                change = self._child(original, here.node(name), name, place)
                if change and place.obstacle:
                    self.findings.add(place.obstacle, current.path)
                    return True
                changes.add(change)
        if place.link and changes - {None}:
            self.findings.add(Reason.OSTREE_LINK, current.path)
        return bool(changes & {Change.ADDED, Change.MODIFIED})

    def _child(self, old: Node | None, current: Node | None, name: bytes, place: _Place) -> Change | None:
        """Answers what libostree sees as changed here, and will do again in the new /etc."""
        if current is None:
            return Change.REMOVED if old else None
        if current.marks().is_fixed:
            self.findings.add(Reason.FIXED, current.path)
        new = place.listing.node(name) if place.listing else None
        change = Change.ADDED if old is None else None if _is_same(old, current) else Change.MODIFIED
        if change and place.obstacle:
            return change
        if change:
            self._copied(current, new)
        elif old and not current.is_directory and not has_same_metadata(old, current):
            self.findings.add(Reason.OSTREE_XATTRS, current.path)
        if current.is_directory:
            self._directory(old, current, new, place, change is not None)
        return change

    def _copied(self, current: Node, new: Node | None) -> None:
        if new and new.is_directory and not current.is_directory:
            self.findings.add(Reason.OSTREE_DIRECTORY, current.path)
        elif current.kind not in _ORDINARY:
            self.findings.add(Reason.OSTREE_SPECIAL, current.path)

    def _directory(self, old: Node | None, current: Node, new: Node | None, above: _Place, is_changed: bool) -> None:
        if old and not old.is_directory:
            if new and new.is_directory:
                self.findings.add(Reason.OSTREE_CONTENT, current.path)
            return
        if old and is_changed and not above.is_free and not (new and new.is_directory):
            self.findings.add(Reason.OSTREE_WHOLE, current.path)
        with self._place(new, above, is_changed) as place:
            has_copies = self.content(old, current, place)
        if new and new.is_directory and not has_copies:
            self._metadata(old, current, new, is_changed)

    def _metadata(self, old: Node | None, current: Node, new: Node, is_changed: bool) -> None:
        """A directory that both have, and in which nothing is copied, stays as the image has it."""
        if is_changed and not _has_same_mode(current, new):
            self.findings.add(Reason.OSTREE_METADATA, current.path)
        elif not is_changed and old and not has_same_metadata(old, current):
            self.findings.add(Reason.OSTREE_XATTRS, current.path)

    @contextmanager
    def _place(self, new: Node | None, above: _Place, is_changed: bool) -> Iterator[_Place]:
        if above.obstacle:
            yield above
        elif is_changed and not (new and new.is_directory):
            yield _Place(is_free=True)
        elif new is None:
            yield _Place(is_free=above.is_free)
        elif new.is_directory:
            with new.opened() as listing:
                yield _Place(listing)
        elif new.is_link:
            with self._behind(new) as place:
                yield place
        else:
            yield _Place(obstacle=Reason.OSTREE_NO_DIRECTORY)

    @contextmanager
    def _behind(self, link: Node) -> Iterator[_Place]:
        """The directory of the new /etc that a link leads to, if it leads to one."""
        try:
            descriptor = _open_beneath(self.root, link.path)
        except OSError:
            yield _Place(obstacle=Reason.OSTREE_LINK_OUT)
            return
        try:
            yield _Place(Listing(link, descriptor), link=True)
        finally:
            os.close(descriptor)


def _is_same(old: Node, current: Node) -> bool:
    """As libostree sees it; numbers of devices and extended attributes are not looked at."""
    is_special = current.kind not in _ORDINARY
    return old.kind == current.kind and _has_same_mode(old, current) and (is_special or has_same_content(old, current))


def _has_same_mode(one: Node, other: Node) -> bool:
    a, b = one.status, other.status
    return (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)


def _open_beneath(root: int, path: bytes) -> int:
    """Open a directory through links, none of which may lead out of `root` (openat2(2))."""
    how = struct.pack("=QQQ", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, _RESOLVE_BENEATH)
    descriptor = _libc().syscall(_OPENAT2, root, path, how, len(how))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(descriptor)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
