"""The tree of a deployment beside the one that podman shows for the same image, in one normal form.

The normal form of a tree maps each path to kind, permission bits, owner, extended attributes, and the digest of a
file's content or a link's target; and it knows which names are one file. What an ostree deployment cannot hold is left
out of both sides:

* times (ostree stores none);
* hard links between empty files, and those below /etc: the first are always copies, the second too, because /etc is.
  Link counts are told as "these names are one file"; ostree also makes one file of others that are wholly equal;
* what lies below /dev, /proc, /run, /sys and /tmp: only the directories themselves are deployed;
* empty regular files /etc/hostname and /etc/resolv.conf, which container builds leave behind;
* permission bits of symbolic links, which Linux does not use;
* the root directory itself, for which podman shows its own (mode 0555), whatever the layers say.

Where a deployment keeps things elsewhere, they are looked at where they are: the image's /var is the stateroot's, with
some directories that every stateroot has. The deployment's `usr/etc` must be what its /etc is as long as nobody
changed it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from attrs import evolve, frozen

_RUNTIME = ("dev", "proc", "run", "sys", "tmp")
_RESIDUE = ("etc/hostname", "etc/resolv.conf")
_STATEROOT = frozenset({"lib", "log", "tmp", "lock", "run", ".ostree-selabeled"})
"""what libostree puts into each stateroot's /var"""
_EMPTY = hashlib.sha256().hexdigest()


@frozen
class Node:
    """One path of a tree; `content` is a digest, or a link's target."""

    kind: str
    mode: str | None
    owner: tuple[int, int]
    xattrs: Mapping[str, bytes]
    content: str | None = None
    device: int | None = None


@frozen
class Tree:
    """A tree in normal form."""

    nodes: Mapping[str, Node]
    links: frozenset[frozenset[str]]
    """names that are one file, where there are several"""


def of_image(root: Path) -> Tree:
    """What a deployment should have, from an image's flattened tree."""
    tree = read(root)
    kept = {path: node for path, node in tree.nodes.items() if not _is_unheld(path, node)}
    return _without_unheld_links(kept, tree.links)


def of_deployment(deployment: Path, initial_var: Path | None = None) -> Tree:
    """The image that a deployment shows; /var is that of the stateroot, or not looked at."""
    tree = read(deployment)
    nodes = {path: node for path, node in tree.nodes.items() if not _is_below(path, "usr/etc", "var")}
    nodes = {path: node for path, node in nodes.items() if not _is_unheld(path, node)}
    if initial_var:
        nodes |= {str(PurePosixPath("var", path)): node for path, node in read(initial_var).nodes.items()}
    return _without_unheld_links(nodes, tree.links)


def shipped_etc(deployment: Path) -> Mapping[str, Node]:
    """A deployment's `usr/etc`."""
    return read(deployment / "usr/etc").nodes


def difference(deployed: Tree, image: Tree, *, has_var: bool) -> dict[str, tuple[Node | None, Node | None]]:
    """Where the two are not equal: deployed, then what the image says. Empty if all is well."""
    expected = image.nodes
    if not has_var:
        expected = {path: node for path, node in expected.items() if not _is_below(path, "var")}
    paths = {path for path in {**deployed.nodes, **expected} if deployed.nodes.get(path) != expected.get(path)}
    extra = {f"var/{name}" for name in _STATEROOT}
    wrong = {path for path in paths if path in expected or path not in extra}
    return {path: (deployed.nodes.get(path), expected.get(path)) for path in sorted(wrong)}


def lost_links(deployed: Tree, image: Tree) -> list[frozenset[str]]:
    """Names that are one file in the image and several in the deployment."""
    where = {name: group for group in deployed.links for name in group}
    return [group for group in image.links if any(where.get(name, frozenset()) < group for name in group)]


def read(root: Path) -> Tree:
    """A tree as it is, all of it; `.` is the root itself."""
    nodes: dict[str, Node] = {}
    groups: dict[int, set[str]] = defaultdict(set)
    pending = [root]
    while pending:
        path = pending.pop()
        status, name = path.lstat(), str(path.relative_to(root))
        nodes[name] = _node(path, status)
        if stat.S_ISDIR(status.st_mode):
            pending += path.iterdir()
        elif stat.S_ISREG(status.st_mode):
            groups[status.st_ino].add(name)
    return Tree(nodes, frozenset(frozenset(names) for names in groups.values() if len(names) > 1))


def _node(path: Path, status: os.stat_result) -> Node:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    found = {name: os.getxattr(path, name, follow_symlinks=False) for name in names if "overlay" not in name}
    mode = oct(stat.S_IMODE(status.st_mode))
    node = Node(stat.filemode(status.st_mode)[0], mode, (status.st_uid, status.st_gid), found)
    if stat.S_ISLNK(status.st_mode):
        return evolve(node, mode=None, content=os.readlink(path))
    if stat.S_ISREG(status.st_mode):
        with path.open("rb") as file:
            return evolve(node, content=hashlib.file_digest(file, "sha256").hexdigest())
    return evolve(node, device=status.st_rdev) if node.kind in "bc" else node


def _is_unheld(path: str, node: Node) -> bool:
    if path == "." or (path in _RESIDUE and node.content == _EMPTY):
        return True
    top, _, rest = path.partition("/")
    return bool(rest) and top in _RUNTIME


def _without_unheld_links(nodes: Mapping[str, Node], links: frozenset[frozenset[str]]) -> Tree:
    """The tree with groups of names only where ostree keeps them."""
    held = {path for path, node in nodes.items() if node.content != _EMPTY and not _is_below(path, "etc", "var")}
    groups = (group & held for group in links)
    return Tree(nodes, frozenset(group for group in groups if len(group) > 1))


def _is_below(path: str, *directories: str) -> bool:
    return any(path == directory or path.startswith(f"{directory}/") for directory in directories)
