"""Layers put together in directory objects, against a model that works on flat paths."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from bootc_ostree import merge
from bootc_ostree.dirtree import EMPTY, Directory, DirTree, serialize
from bootc_ostree.merge import LayerTree
from hypothesis import given
from hypothesis import strategies as st

from bootc.errors import StoreError

Flat = Mapping[str, str]
"""paths: a file's content, or a directory's metadata behind a slash"""


class Memory:
    """Directory objects in a dictionary."""

    def __init__(self) -> None:
        self._trees = {self.name(EMPTY): EMPTY}

    @staticmethod
    def name(tree: DirTree) -> str:
        return hashlib.sha256(serialize(tree)).hexdigest()

    def load(self, contents: str) -> DirTree:
        return self._trees[contents]

    def store(self, tree: DirTree) -> str:
        self._trees[self.name(tree)] = tree
        return self.name(tree)

    def of(self, flat: Flat, path: str = "") -> Directory:
        """Build objects from flat paths; file contents stand for checksums."""
        prefix = f"{path}/" if path else ""
        names = {p[len(prefix) :].partition("/")[0] for p in flat if p.startswith(prefix) and p != path}
        files = {n: _checksum(flat[prefix + n]) for n in names if not flat[prefix + n].startswith("/")}
        directories = {n: self.of(flat, prefix + n) for n in names if n not in files}
        return Directory(self.store(DirTree(files, directories)), _checksum(flat.get(path, "/root")))

    def flat(self, root: Directory, path: str = "") -> dict[str, str]:
        """All paths with the checksums that stand for their contents and metadata."""
        tree = self.load(root.contents)
        prefix = f"{path}/" if path else ""
        found = {path: root.metadata} | {prefix + name: checksum for name, checksum in tree.files.items()}
        for name, child in tree.directories.items():
            found |= self.flat(child, prefix + name)
        return found


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def put_together(layers: list[Flat], implied: frozenset[str] = frozenset()) -> dict[str, str]:
    memory = Memory()
    root = None
    for layer in layers:
        root = merge.overlay(memory, root, LayerTree(memory.of(layer), implied))
    assert root is not None
    return memory.flat(root)


def expected(flat: Flat) -> dict[str, str]:
    return {path: _checksum(value) for path, value in {"": "/root", **flat}.items()}


CASES = {
    "a file is added": ([{"a": "1"}, {"b": "2"}], {"a": "1", "b": "2"}),
    "a file is replaced": ([{"a": "1"}, {"a": "2"}], {"a": "2"}),
    "a later directory entry gives its metadata": (
        [{"d": "/old", "d/a": "1"}, {"d": "/new"}],
        {"d": "/new", "d/a": "1"},
    ),
    "a whiteout removes a file": ([{"a": "1", "b": "2"}, {".wh.a": ""}], {"b": "2"}),
    "a whiteout removes a directory with all in it": (
        [{"d": "/x", "d/e": "/y", "d/e/f": "1"}, {".wh.d": ""}],
        {},
    ),
    "a whiteout spares what its own layer brings": (
        [{"d": "/x", "d/a": "1"}, {".wh.d": "", "d": "/z", "d/b": "2"}],
        {"d": "/z", "d/b": "2"},
    ),
    "a whiteout of nothing is nothing": ([{"a": "1"}, {".wh.b": ""}], {"a": "1"}),
    "an opaque directory hides what was in it": (
        [{"d": "/x", "d/a": "1"}, {"d": "/y", "d/.wh..wh..opq": "", "d/b": "2"}],
        {"d": "/y", "d/b": "2"},
    ),
    "an opaque root hides everything": ([{"a": "1"}, {".wh..wh..opq": "", "b": "2"}], {"b": "2"}),
    "a file replaces a directory": ([{"d": "/x", "d/a": "1"}, {"d": "2"}], {"d": "2"}),
    "a directory replaces a file": ([{"d": "1"}, {"d": "/x", "d/a": "2"}], {"d": "/x", "d/a": "2"}),
    "a whiteout below a lower file leaves an empty directory": (
        [{"lib": "link"}, {"lib": "/x", "lib/.wh.foo": ""}],
        {"lib": "/x"},
    ),
    "whiteouts of the first layer vanish": (
        [{"d": "/x", "d/.wh.a": "", "d/.wh..wh..opq": "", ".wh.b": ""}],
        {"d": "/x"},
    ),
    "an opaque /usr spares /etc, which is kept there": (
        [{"usr": "/u", "usr/a": "1", "usr/etc": "/e", "usr/etc/f": "2"}, {"usr": "/v", "usr/.wh..wh..opq": ""}],
        {"usr": "/v", "usr/etc": "/e", "usr/etc/f": "2"},
    ),
    "a removed /usr spares /etc": (
        [{"usr": "/u", "usr/a": "1", "usr/etc": "/e", "usr/etc/f": "2"}, {".wh.usr": ""}],
        {"usr": "/u", "usr/etc": "/e", "usr/etc/f": "2"},
    ),
}


@pytest.mark.parametrize(("layers", "result"), CASES.values(), ids=CASES)
def test_layers_are_stacked_as_the_image_specification_says(layers: list[Flat], result: Flat) -> None:
    assert put_together(layers) == expected(result)


def test_a_directory_that_is_only_implied_changes_nothing_where_one_is() -> None:
    layers: list[Mapping[str, str]] = [
        {"root": "/0700", "root/a": "1"},
        {"root": "/0755", "root/b": "2", "new": "/0755", "new/c": "3"},
    ]
    found = put_together(layers, frozenset({"root", "new", ""}))
    assert found == expected({"root": "/0700", "root/a": "1", "root/b": "2", "new": "/0755", "new/c": "3"})


def test_an_implied_directory_replaces_a_link() -> None:
    found = put_together([{"lib": "link"}, {"lib": "/0755", "lib/a": "1"}], frozenset({"lib", ""}))
    assert found == expected({"lib": "/0755", "lib/a": "1"})


def test_a_whiteout_without_a_name_is_refused() -> None:
    with pytest.raises(StoreError, match="names nothing"):
        put_together([{"a": "1"}, {".wh.": ""}])


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@st.composite
def layers(draw: st.DrawFn) -> dict[str, str]:
    """A consistent layer: every parent is a directory; some whiteouts, which never name what the layer brings."""
    layer: dict[str, str] = {}
    for path in draw(st.lists(PATHS, max_size=6)):
        parts = path.split("/")
        parents = ["/".join(parts[:end]) for end in range(1, len(parts))]
        if any(not layer.get(parent, "/").startswith("/") for parent in parents) or path in layer:
            continue
        for parent in parents:
            layer.setdefault(parent, draw(st.sampled_from(["/m1", "/m2"])))
        layer[path] = draw(st.sampled_from(["/m1", "/m2", "f1", "f2"]))
    for path in draw(st.lists(PATHS, max_size=3)):
        parent, _, name = path.rpartition("/")
        if path not in layer and (not parent or layer.get(parent, "").startswith("/")):
            layer[f"{parent}/.wh.{name}" if parent else f".wh.{name}"] = ""
    for parent in draw(st.lists(st.sampled_from(sorted(p for p in layer if layer[p].startswith("/")) or [""]))):
        if parent:
            layer[f"{parent}/.wh..wh..opq"] = ""
    return layer


def by_model(stack: list[Flat]) -> dict[str, str]:
    """The same on flat paths: first what a layer hides, then what it brings."""
    found: dict[str, str] = {}
    for layer in stack:
        for path in layer:
            parent, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                found = {p: v for p, v in found.items() if not p.startswith(f"{parent}/")}
            elif name.startswith(".wh."):
                gone = f"{parent}/{name[4:]}".lstrip("/")
                found = {p: v for p, v in found.items() if p != gone and not p.startswith(f"{gone}/")}
        for path in sorted(layer):
            if ".wh." in path:
                continue
            if not (layer[path].startswith("/") and found.get(path, "").startswith("/")):
                found = {p: v for p, v in found.items() if not p.startswith(f"{path}/")}
            found[path] = layer[path]
    return found


@given(st.lists(layers(), min_size=1, max_size=4))
def test_any_stack_of_layers_gives_what_the_model_gives(stack: list[Flat]) -> None:
    assert put_together(stack) == expected(by_model(stack))


@given(layers())
def test_a_layer_upon_itself_changes_nothing(layer: Flat) -> None:
    assert put_together([layer, layer]) == put_together([layer])


def test_unwanted_files_are_left_out_of_one_directory() -> None:
    memory = Memory()
    root = memory.of({"usr": "/u", "usr/etc": "/e", "usr/etc/hostname": "", "usr/etc/passwd": "1", "hostname": "2"})
    found = memory.flat(merge.without_files(memory, root, "usr/etc", ["hostname"]))
    assert found == expected({"usr": "/u", "usr/etc": "/e", "usr/etc/passwd": "1", "hostname": "2"})


def test_a_directory_that_is_not_there_needs_nothing_left_out() -> None:
    memory = Memory()
    root = memory.of({"usr": "/u"})
    assert merge.without_files(memory, root, "usr/etc", ["hostname"]) == root
    assert merge.descend(memory, root, "usr/etc") is None
