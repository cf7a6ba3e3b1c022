"""Layers into one tree, in directory objects only: no file is touched.

The result is what the OCI image specification (layer.md, "Changesets") describes: a directory entry of a later layer
replaces mode, owner and attributes of the directory below it. Upstream's ostree importer, which merges by checkouts,
keeps the older ones; here the image wins, as it does everywhere else where it is run.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from attrs import frozen

from bootc.errors import StoreError
from bootc_ostree.dirtree import EMPTY, Directory, DirTree

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


class Trees(Protocol):
    """Directory objects by checksum."""

    def load(self, contents: str) -> DirTree:
        """The directory with this checksum."""

    def store(self, tree: DirTree) -> str:
        """Write a directory object; returns its checksum."""


@frozen
class LayerTree:
    """The tree of one layer commit."""

    root: Directory
    implied: Collection[str] = frozenset()
    """directories that only paths below them imply: they must not change one that exists (`""` is the root)"""


def overlay(trees: Trees, lower: Directory | None, layer: LayerTree) -> Directory:
    """Put a layer, with its whiteouts, on top of a tree."""
    return _overlay(trees, lower, layer.root, "", layer.implied)


def descend(trees: Trees, root: Directory, path: str) -> Directory | None:
    """The directory at a path (`a/b`), links not followed."""
    found: Directory | None = root
    for name in path.split("/"):
        found = trees.load(found.contents).directories.get(name) if found else None
    return found


def without_files(trees: Trees, root: Directory, directory: str, unwanted: Collection[str]) -> Directory:
    """The tree without the files of these names in `directory` (`a/b`; `""` is the root)."""
    name, _, rest = directory.partition("/")
    tree = trees.load(root.contents)
    if not directory:
        kept = {name: checksum for name, checksum in tree.files.items() if name not in unwanted}
        return root if kept == tree.files else root._replace(contents=trees.store(tree._replace(files=kept)))
    child = tree.directories.get(name)
    changed = child and without_files(trees, child, rest, unwanted)
    if changed == child or changed is None:
        return root
    return root._replace(contents=trees.store(tree._replace(directories={**tree.directories, name: changed})))


def _overlay(trees: Trees, lower: Directory | None, upper: Directory, path: str, implied: Collection[str]) -> Directory:
    above = trees.load(upper.contents)
    below = trees.load(lower.contents) if lower else EMPTY
    files, directories = _remaining(trees, below, above, path)
    for name, checksum in above.files.items():
        if not name.startswith(WHITEOUT):
            directories.pop(name, None)
            files[name] = checksum
    for name, child in above.directories.items():
        files.pop(name, None)
        directories[name] = _overlay(trees, directories.get(name), child, f"{path}/{name}" if path else name, implied)
    metadata = lower.metadata if lower and path in implied else upper.metadata
    merged = DirTree(files, directories)
    if merged == above:
        return Directory(upper.contents, metadata)
    if lower and merged == below:
        return Directory(lower.contents, metadata)
    return Directory(trees.store(merged), metadata)


def _remaining(trees: Trees, below: DirTree, above: DirTree, path: str) -> tuple[dict[str, str], dict[str, Directory]]:
    """What the layer's whiteouts leave of the directory below it."""
    if OPAQUE in above.files:
        kept = _only_etc(below) if path == "usr" else EMPTY
        return dict(kept.files), dict(kept.directories)
    files, directories = dict(below.files), dict(below.directories)
    for name in above.files:
        if name.startswith(WHITEOUT):
            gone = name[len(WHITEOUT) :]
            if not gone:
                raise StoreError(f"layer entry {path}/{name}", "a whiteout that names nothing")
            files.pop(gone, None)
            removed = directories.pop(gone, None)
            if removed and not path and gone == "usr":
                _keep_etc(trees, removed, directories)
    return files, directories


def _only_etc(usr: DirTree) -> DirTree:
    """The image's `/etc` lies in `usr/etc`, where whiteouts that are meant for `/usr` must not reach it."""
    return DirTree({}, {"etc": usr.directories["etc"]} if "etc" in usr.directories else {})


def _keep_etc(trees: Trees, usr: Directory, directories: dict[str, Directory]) -> None:
    kept = _only_etc(trees.load(usr.contents))
    if kept.directories:
        directories["usr"] = usr._replace(contents=trees.store(kept))
