"""The normal form in which trees are compared: every path, with all that an image can say of it.

`NORMAL_FORM` is its number; docs/contracts/storage.md describes it. The root directory itself is left out.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

from attrs import evolve, field, frozen

NORMAL_FORM = 1

_OWN_ATTRIBUTES = ("trusted.overlay.", "security.selinux")
"""extended attributes that a mount or the policy of the machine makes, not the image"""


@frozen
class Node:
    """One file, of whatever kind."""

    kind: str
    """as `ls -l` shows it: `-`, `d`, `l`, `c`, `b`, `p`"""
    mode: int | None = None
    """permission bits; None for a symbolic link"""
    owner: tuple[int, int] = (0, 0)
    """user and group"""
    xattrs: Mapping[str, bytes] = field(factory=dict)
    content: bytes | None = None
    """SHA-256 of a file's content, or a link's target"""
    device: tuple[int, int] | None = None
    """major and minor"""
    mtime: int | None = None
    """seconds"""


@frozen
class NormalTree:
    """A tree: nodes by path, and which paths are one file."""

    nodes: Mapping[bytes, Node]
    links: frozenset[frozenset[bytes]]
    """names that are one file, where there are several"""

    def without_times(self) -> NormalTree:
        """The same without the times, for comparisons of everything else."""
        return evolve(self, nodes={path: evolve(node, mtime=None) for path, node in self.nodes.items()})

    def below(self, *names: bytes) -> NormalTree:
        """Only what lies at or below these top-level names."""
        nodes = {path: node for path, node in self.nodes.items() if path.split(b"/")[0] in names}
        links = frozenset(group for group in self.links if group <= nodes.keys())
        return NormalTree(nodes, links)


def difference(expected: NormalTree, found: NormalTree) -> dict[str, tuple[object, object]]:
    """Where two trees are not equal: what was expected, what was found. Empty if they are.

    Names that should be one file must be; a store may make one file of others that are wholly alike.
    """
    paths = {path for path in {**expected.nodes, **found.nodes} if expected.nodes.get(path) != found.nodes.get(path)}
    wrong: dict[str, tuple[object, object]] = {
        os.fsdecode(path): (expected.nodes.get(path), found.nodes.get(path)) for path in sorted(paths)
    }
    together = {name: group for group in found.links for name in group}
    lost = [group for group in expected.links if any(not group <= together.get(name, frozenset()) for name in group)]
    if lost:
        wrong["one file"] = ([sorted(map(os.fsdecode, group)) for group in lost], None)
    return wrong


def digest(content: bytes) -> bytes:
    """As the content of a regular file stands in a node."""
    return hashlib.sha256(content).digest()


def read(root: Path, skip: Collection[bytes] = ()) -> NormalTree:
    """The tree below a directory; top-level names in `skip` are left out."""
    nodes: dict[bytes, Node] = {}
    groups: dict[tuple[int, int], set[bytes]] = defaultdict(set)
    waiting = [name for name in os.listdir(os.fsencode(root)) if name not in skip]
    while waiting:
        path = waiting.pop()
        full = os.path.join(os.fsencode(root), path)
        status = os.lstat(full)
        nodes[path] = _node(full, status)
        if stat.S_ISDIR(status.st_mode):
            waiting += [os.path.join(path, name) for name in os.listdir(full)]
        else:
            groups[status.st_dev, status.st_ino].add(path)
    return NormalTree(nodes, frozenset(frozenset(group) for group in groups.values() if len(group) > 1))


def _node(path: bytes, status: os.stat_result) -> Node:
    names = (os.fsdecode(name) for name in os.listxattr(path, follow_symlinks=False))
    kept = [name for name in names if not name.startswith(_OWN_ATTRIBUTES)]
    node = Node(
        kind=stat.filemode(status.st_mode)[0],
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        xattrs={name: os.getxattr(path, name, follow_symlinks=False) for name in kept},
        mtime=int(status.st_mtime),
    )
    if stat.S_ISLNK(status.st_mode):
        return evolve(node, mode=None, content=os.readlink(path))
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            return evolve(node, content=hashlib.file_digest(file, "sha256").digest())
    if node.kind in "bc":
        return evolve(node, device=(os.major(status.st_rdev), os.minor(status.st_rdev)))
    return node
