"""How layers stack. Each expectation is what podman 4.3 with the overlay driver shows for the same archives.

Two exceptions on purpose: implied directories leave the attributes of lower ones alone, where podman resets them; and a
directory that is whited out and brought again in one layer starts empty, as in podman's other driver.
"""

from __future__ import annotations

import pytest

from bootc.layers import Entry, EntryKind
from bootc.layers.flatten import Node, flatten
from tests.unit.layer_samples import directory, file, header, read

LOWER = b"".join(
    [
        directory(b"usr/"),
        directory(b"usr/lib/"),
        file(b"usr/lib/bar", b"low"),
        header(b"lib", b"2", target=b"usr/lib"),
        header(b"a/", b"5", mode=b"0000700\0", uid=b"0000005\0"),
        file(b"a/x", b"ax"),
        file(b"a/y", b"ay"),
    ]
)
LINK = {b"lib": "-> usr/lib"}
USR = {b"usr": "0755", b"usr/lib": "0755", b"usr/lib/bar": "low"}
A = {b"a": "0700", b"a/x": "ax", b"a/y": "ay"}
OPAQUE = b".wh..wh..opq"


def shown(node: Node[bytes], path: bytes = b"") -> dict[bytes, str]:
    """Path to content, target, or mode of a directory."""
    found: dict[bytes, str] = {}
    for name, child in node.children.items():
        below = path + b"/" + name if path else name
        match child.entry.kind:
            case EntryKind.DIRECTORY:
                found[below] = f"{child.entry.mode:04o}"
            case EntryKind.SYMLINK:
                found[below] = f"-> {child.entry.target.decode()}"
            case _:
                found[below] = (child.content or b"").decode()
        found |= shown(child, below)
    return found


STACKS = {
    "file below a lower link": (file(b"lib/foo", b"up"), USR | A | {b"lib": "0755", b"lib/foo": "up"}),
    "directory and file below a lower link": (
        directory(b"lib/") + file(b"lib/foo", b"up"),
        USR | A | {b"lib": "0755", b"lib/foo": "up"},
    ),
    "whiteout below a lower link": (file(b"lib/.wh.bar"), USR | A | {b"lib": "0755"}),
    "opaque below a lower link": (file(b"lib/" + OPAQUE), USR | A | {b"lib": "0755"}),
    "file below a lower file": (
        file(b"usr/lib/bar/foo", b"up"),
        USR | A | LINK | {b"usr/lib/bar": "0755", b"usr/lib/bar/foo": "up"},
    ),
    "link over a directory": (
        header(b"usr", b"2", target=b"x"),
        A | LINK | {b"usr": "-> x"},
    ),
    "file over a directory": (file(b"a", b"up"), USR | LINK | {b"a": "up"}),
    "directory over a file": (directory(b"a/x"), USR | LINK | A | {b"a/x": "0755"}),
    "directory over a directory": (directory(b"a"), USR | LINK | A | {b"a": "0755"}),
    "implied directory over a directory": (file(b"a/z", b"up"), USR | LINK | A | {b"a/z": "up"}),
    "whiteout": (file(b"a/.wh.x"), USR | LINK | {b"a": "0700", b"a/y": "ay"}),
    "whiteout of a directory": (file(b".wh.a"), USR | LINK),
    "whiteout of nothing": (file(b"a/.wh.no") + file(b"b/.wh.no"), USR | LINK | A | {b"b": "0755"}),
    "whiteout, then the same path": (
        directory(b"a") + file(b"a/.wh.x") + file(b"a/x", b"up"),
        USR | LINK | A | {b"a": "0755", b"a/x": "up"},
    ),
    "whiteout, then a directory there": (
        file(b".wh.a") + directory(b"a") + file(b"a/n", b"up"),
        USR | LINK | {b"a": "0755", b"a/n": "up"},
    ),
    "opaque, then others": (
        directory(b"a") + file(b"a/" + OPAQUE) + file(b"a/n", b"up"),
        USR | LINK | {b"a": "0755", b"a/n": "up"},
    ),
    "others, then opaque": (
        directory(b"a") + directory(b"a/d") + file(b"a/d/n", b"up") + file(b"a/" + OPAQUE),
        USR | LINK | {b"a": "0755", b"a/d": "0755", b"a/d/n": "up"},
    ),
}


@pytest.mark.parametrize(("upper", "expected"), STACKS.values(), ids=STACKS.keys())
def test_a_layer_is_put_over_another(upper: bytes, expected: dict[bytes, str]) -> None:
    assert shown(flatten([read(LOWER), read(upper)])) == expected


def test_a_whiteout_in_the_lowest_layer_hides_nothing() -> None:
    assert shown(flatten([read(file(b".wh.a") + file(b"b", b"b"))])) == {b"b": "b"}


def test_hard_links_are_one_inode_until_a_layer_replaces_a_name() -> None:
    lower = file(b"f", b"one") + header(b"g", b"1", target=b"f") + header(b"h", b"1", target=b"g")
    root = flatten([read(lower)])
    assert root.children[b"f"] is root.children[b"g"] is root.children[b"h"]
    root = flatten([read(lower), read(file(b".wh.f") + file(b"h", b"two"))])
    assert shown(root) == {b"g": "one", b"h": "two"}


def test_the_root_has_the_attributes_of_the_last_layer_that_names_it() -> None:
    assert flatten([read(file(b"f"))]).entry == Entry(b"", EntryKind.DIRECTORY, 0o755, 0, 0, 0, is_implied=True)
    named = header(b"./", b"5", mode=b"0000555\0")
    assert flatten([read(named), read(file(b"f"))]).entry.mode == 0o555
