"""Layers on top of each other: the tree that an image stands for, by the rules of the package documentation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from attrs import define, field

from bootc.layers.entry import Entry, EntryKind

T = TypeVar("T")


@define(eq=False)
class Node(Generic[T]):
    """An inode of the flattened image; all names of a hard-linked one lead to the same object."""

    entry: Entry
    """Its attributes. `path` is the name under which its layer brought it."""
    content: T | None = None
    """What the caller made of the content, such as the digest under which it is stored."""
    children: dict[bytes, Node[T]] = field(factory=dict)
    """Of a directory, by name."""


def flatten(layers: Iterable[Iterable[tuple[Entry, T]]]) -> Node[T]:
    """The root directory of an image, from its layers' entries, lowest layer first. A pure function over what
    `read_layer` gave out and the caller replaced the contents of; 0755 root:root where no layer has a root entry.
    """
    root: Node[T] = _implied_root()
    for layer in layers:
        tree: _LayerTree[T] = _LayerTree()
        for entry, content in layer:
            tree.add(entry, content)
        tree.put_over(root)
    return root


def _implied_root() -> Node[T]:
    return Node(Entry(b"", EntryKind.DIRECTORY, 0o755, 0, 0, 0, is_implied=True))


class _LayerTree(Generic[T]):
    """One layer by itself, with its markers aside."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, Node[T]] = {b"": _implied_root()}
        self._hidden: dict[bytes, list[bytes]] = {}
        self._opaque: set[bytes] = set()

    def add(self, entry: Entry, content: T) -> None:
        if entry.is_opaque:
            self._opaque.add(entry.parent)
        elif (hidden := entry.whiteout) is not None:
            self._hidden.setdefault(entry.parent, []).append(hidden.rpartition(b"/")[2])
        elif (known := self._nodes.get(entry.path)) is not None:
            known.entry, known.content = entry, content
        else:
            is_link = entry.kind is EntryKind.HARDLINK
            node = self._nodes[entry.target] if is_link else Node(entry, content)
            self._nodes[entry.path] = self._nodes[entry.parent].children[entry.name] = node

    def put_over(self, lower: Node[T]) -> None:
        self._merge(b"", self._nodes[b""], lower)

    def _merge(self, path: bytes, upper: Node[T], lower: Node[T]) -> None:
        if not upper.entry.is_implied:
            lower.entry, lower.content = upper.entry, upper.content
        if path in self._opaque:
            lower.children.clear()
        for name in self._hidden.get(path, ()):
            lower.children.pop(name, None)
        for name, node in upper.children.items():
            below = lower.children.get(name)
            if below is not None and _both_directories(node, below):
                self._merge(path + b"/" + name if path else name, node, below)
            else:
                lower.children[name] = node


def _both_directories(upper: Node[T], lower: Node[T]) -> bool:
    return upper.entry.kind is EntryKind.DIRECTORY and lower.entry.kind is EntryKind.DIRECTORY
