"""The inodes of an image, in their order, made from a file tree: the names of the object directories are hidden in the
root, and marks of overlayfs are put where whiteouts were.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from operator import itemgetter

from attrs import define

from bootc_composefs.erofs import check
from bootc_composefs.erofs.format import OPAQUE, OPAQUE_WITHIN, STUBS, WHITEOUTS, Versions
from bootc_composefs.erofs.inode import Inode, make_inode, make_stub, replaced
from bootc_composefs.failures import TreeError
from bootc_composefs.tree import Child, Directory, HardLink, Node, Special, path_of

_NAME = itemgetter(0)


@define(eq=False)
class Plan:
    """All inodes in their order in the image, which is breadth-first; an inode's number is its index."""

    inodes: deque[Inode]
    version: int


def plan(root: Directory, versions: Versions) -> Plan:
    """Turn a tree into the inodes of an image. Raises TreeError for what none can hold."""
    return _Planner(root).run(versions)


class _Planner:
    def __init__(self, root: Directory) -> None:
        self._root = root
        self._inodes: deque[Inode] = deque()
        self._leaves: dict[Node, Inode] = {}
        self._links: list[tuple[list[tuple[bytes, Inode]], bytes, HardLink]] = []
        self._around_whiteouts: list[Inode] = []

    def run(self, versions: Versions) -> Plan:
        top = self._inode(self._root)
        top.xattrs = replaced(top.xattrs, {OPAQUE: b"y"})
        self._inodes.append(top)
        queue = deque([(self._root, top, top)])
        while queue:
            directory, inode, parent = queue.popleft()
            below = self._add_children(directory, inode, parent)
            inode.nlink = 2 + len(below)
            queue.extend((child, made, inode) for child, made in below)
        self._add_links()
        version = versions.choose(has_whiteouts=bool(self._around_whiteouts))
        marks = dict.fromkeys(WHITEOUTS, b"") | (dict.fromkeys(OPAQUE_WITHIN, b"x") if version else {})
        for inode in self._around_whiteouts:
            inode.xattrs = replaced(inode.xattrs, marks)
        return Plan(self._inodes, version)

    def _add_children(self, directory: Directory, inode: Inode, parent: Inode) -> list[tuple[Directory, Inode]]:
        """Make the inodes in a directory; gives those that are directories too."""
        found, below = [(b".", inode), (b"..", parent)], []
        has_whiteouts = False
        for name, child in self._sorted(directory):
            if isinstance(child, HardLink):
                self._links.append((found, name, child))
                continue
            made = make_stub(self._root.attributes) if child is None else self._inode(child)
            self._inodes.append(made)
            found.append((name, made))
            if isinstance(child, Directory):
                below.append((child, made))
            elif child is not None:
                self._leaves[child] = made
                has_whiteouts |= isinstance(child, Special) and child.is_whiteout
        found.sort(key=_NAME)
        inode.children = found
        if has_whiteouts:
            self._around_whiteouts.append(inode)
        return below

    def _sorted(self, directory: Directory) -> list[tuple[bytes, Child | None]]:
        """What is in a directory, in order of names; None stands for a name that the root must hide."""
        try:
            check.names(directory.children)
        except ValueError as error:
            raise self._refusal(directory, f"below it: {error}") from error
        children: Mapping[bytes, Child | None] = directory.children
        if directory is self._root:
            children = {**dict.fromkeys(STUBS), **children}
        return sorted(children.items(), key=_NAME)

    def _inode(self, node: Node) -> Inode:
        try:
            return make_inode(node)
        except ValueError as error:
            raise self._refusal(node, str(error)) from error

    def _add_links(self) -> None:
        for found, name, link in self._links:
            made = self._leaves.get(link.target)
            if made is None:
                raise self._refusal(link, "hard link to something that is no file of this tree")
            if isinstance(link.target, Special) and link.target.is_whiteout:
                raise self._refusal(link, "hard link to a whiteout")
            found.append((name, made))
        for found in {id(found): found for found, _, _ in self._links}.values():
            found.sort(key=_NAME)

    def _refusal(self, child: Child, problem: str) -> TreeError:
        return TreeError(path_of(self._root, child), problem)
