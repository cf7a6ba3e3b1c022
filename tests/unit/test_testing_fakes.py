"""The kit's fakes: archives that real readers read, trees as the core's rules make them, streams that fail as told."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from bootc.errors import IntegrityError, NetworkError
from bootc.layers import EntryKind, read_layer
from bootc.layers.flatten import Node, flatten
from bootc.testing.fakes import Altered, Cut, FakeLayer, fold, os_image
from bootc.testing.trees import Node as NormalNode
from bootc.testing.trees import NormalTree, difference, digest, read

KINDS = {
    EntryKind.FILE: "-",
    EntryKind.DIRECTORY: "d",
    EntryKind.SYMLINK: "l",
    EntryKind.CHARACTER: "c",
    EntryKind.BLOCK: "b",
    EntryKind.FIFO: "p",
}


def layers() -> list[FakeLayer]:
    """Everything that the builder can do."""
    lower = FakeLayer().directories("a", "a/b", "gone", "kept").file("a/file", b"x" * 1000, mode=0o4755, uid=1 << 31)
    lower.hardlink("a/twice", "a/file").symlink("a/link", "../" * 60).fifo("a/pipe").device("a/null", "c", 1, 3)
    lower.sparse("a/sparse", 1 << 20, (5000, b"data")).file("a/" + "n" * 200, b"long").file(b"a/\xff", b"raw")
    lower.file("gone/x", b"1").file("kept/old", b"1").file(
        "a/attributes", xattrs={"user.a": b"\xff\n\0", "user.b": b""}
    )
    upper = FakeLayer().whiteout("gone").directory("kept", mode=0o700, mtime=5).opaque("kept").file("kept/new", b"2")
    return [lower, upper.file("a/b", b"a file over a directory").directory("a/file").file("a/file/in", b"3")]


def flattened() -> NormalTree:
    """The tree of the same layers, by the core's reader and rules."""
    read_layers = [[(entry, body.read()) for entry, body in read_layer(io.BytesIO(layer.data))] for layer in layers()]
    nodes: dict[bytes, NormalNode] = {}
    names: dict[int, set[bytes]] = {}
    waiting: list[tuple[bytes, Node[bytes]]] = [(b"", flatten(read_layers))]
    while waiting:
        path, node = waiting.pop()
        if path:
            nodes[path] = _normal(node)
            names.setdefault(id(node), set()).add(path)
        waiting += [(path + b"/" + name if path else name, child) for name, child in node.children.items()]
    return NormalTree(nodes, frozenset(frozenset(group) for group in names.values() if len(group) > 1))


def _normal(node: Node[bytes]) -> NormalNode:
    entry = node.entry
    content = {EntryKind.FILE: digest(node.content or b""), EntryKind.SYMLINK: entry.target}.get(entry.kind)
    return NormalNode(
        kind=KINDS[entry.kind],
        mode=None if entry.kind is EntryKind.SYMLINK else entry.mode,
        owner=(entry.uid, entry.gid),
        xattrs={os.fsdecode(name): value for name, value in entry.xattrs.items()},
        content=content,
        device=entry.device if entry.kind in (EntryKind.CHARACTER, EntryKind.BLOCK) else None,
        mtime=entry.mtime // 10**9,
    )


def test_layers_fold_as_the_core_flattens_them() -> None:
    expected, found = fold(layers()), flattened()
    assert difference(expected, found) == {}
    assert expected.links == found.links


def test_python_reads_the_archives() -> None:
    with tarfile.open(fileobj=io.BytesIO(layers()[0].data), errors="surrogateescape") as tar:
        members = {os.fsencode(member.name): member for member in tar}
        assert members[b"a/\xff"].size == 3
        assert members[b"a/twice"].linkname == "a/file"
        assert (members[b"a/file"].mode, members[b"a/file"].uid) == (0o4755, 1 << 31)
        assert members[b"a/sparse"].size == 1 << 20
        sparse = tar.extractfile(members[b"a/sparse"])
        assert sparse is not None
        assert sparse.read() == bytes(5000) + b"data" + bytes((1 << 20) - 5004)


def test_a_tree_on_disk_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir(mode=0o750)
    (tmp_path / "directory/file").write_bytes(b"content")
    (tmp_path / "directory/file").chmod(0o640)
    os.link(tmp_path / "directory/file", tmp_path / "other")
    (tmp_path / "link").symlink_to("nowhere")
    found, owner = read(tmp_path, skip=(b"absent",)).without_times(), (os.getuid(), os.getgid())
    file = NormalNode("-", 0o640, owner, content=digest(b"content"))
    assert found.nodes == {
        b"directory": NormalNode("d", 0o750, owner),
        b"directory/file": file,
        b"other": file,
        b"link": NormalNode("l", None, owner, content=b"nowhere"),
    }
    assert found.links == {frozenset({b"directory/file", b"other"})}


def test_a_store_may_make_one_file_of_others_that_are_alike_but_not_the_other_way_round() -> None:
    nodes = dict.fromkeys((b"a", b"b", b"c"), NormalNode("-", 0o644))
    pair = NormalTree(nodes, frozenset({frozenset({b"a", b"b"})}))
    assert difference(pair, NormalTree(nodes, frozenset({frozenset(nodes)}))) == {}
    assert difference(pair, NormalTree(nodes, frozenset())) == {"one file": ([["a", "b"]], None)}


def test_streams_fail_as_they_are_told() -> None:
    image = os_image("1")
    layer, data = image.image.layers[1], image.layers[1].data
    moments: list[object] = []
    streams = image.streams()
    streams.during = moments.append
    with streams.open(layer) as stream:
        assert stream.read() + stream.read() == data
    assert (streams.opened, moments) == ([layer.diff_id], [layer])
    with pytest.raises(NetworkError), image.streams({layer.diff_id: Cut(100)}).open(layer) as stream:
        assert stream.read() == data[:100]
        stream.read()
    with pytest.raises(IntegrityError), image.streams({layer.diff_id: Altered(7)}).open(layer) as stream:
        assert stream.read(8) == data[:7] + bytes([data[7] ^ 1])


def test_two_versions_of_an_image_share_the_first_layer_only() -> None:
    one, two = os_image("1").image, os_image("2").image
    assert one.layers[0] == two.layers[0]
    assert {layer.diff_id for layer in one.layers} & {layer.diff_id for layer in two.layers} == {one.layers[0].diff_id}
    assert os_image("1").image == one
