"""Dumps of trees: what is written, what is read, and what is refused."""

from __future__ import annotations

import pytest
from bootc_composefs.dump import read_dump, write_dump
from bootc_composefs.escapes import escape, escape_xattr, unescape
from bootc_composefs.failures import DumpError, TreeError
from bootc_composefs.tree import Attributes, File, HardLink, Kind, Object, Special, Symlink
from hypothesis import given
from hypothesis import strategies as st

from tests.composefs_trees import SECOND, TreeMaker, attributes, directory, dump_of, external, inline, symlink

ROOT = b"/ 0 40755 2 0 0 0 0.0 - - -\n"
DIGEST = b"ab" * 32


def read(*lines: bytes) -> bytes:
    """A dump below the usual root, read and written again, without the root's line."""
    return dump_of(read_dump([ROOT, *(line + b"\n" for line in lines)])).partition(b"\n")[2]


def test_every_kind_of_node_has_its_line() -> None:
    several = File(Attributes(0o4755, 1, 2, 3 * SECOND + 4, {b"user.b": b"=", b"user.a": b"\0"}), 3, b"a b", 2)
    tree = directory(
        {
            b"dir ectory": directory({b"below": directory()}, mtime=-1),
            b"empty": inline(),
            b"fifo": Special(attributes(), Kind.FIFO),
            b"link": symlink(b"-"),
            b"minus": inline(b"-"),
            b"null": Special(attributes(0o666), Kind.CHARACTER, 259),
            b"object": external(70000, Object.of(bytes(32))),
            b"one": HardLink(several),
            b"other": several,
            b"unnamed": external(5, Object(b"", b"")),
        }
    )
    assert list(write_dump(tree)) == [
        b"/ 0 40755 3 0 0 0 0.0 - - -\n",
        b"/dir\\x20ectory 0 40755 3 0 0 0 -1.999999999 - - -\n",
        b"/dir\\x20ectory/below 0 40755 2 0 0 0 0.0 - - -\n",
        b"/empty 0 100644 1 0 0 0 0.0 - - -\n",
        b"/fifo 0 10644 1 0 0 0 0.0 - - -\n",
        b"/link 1 120777 1 0 0 0 0.0 \\x2d - -\n",
        b"/minus 1 100644 1 0 0 0 0.0 - \\x2d -\n",
        b"/null 0 20666 1 0 0 259 0.0 - - -\n",
        b"/object 70000 100644 1 0 0 0 0.0 00/" + b"0" * 62 + b" - " + b"0" * 64 + b"\n",
        b"/one 0 @104755 1 0 0 0 0.0 /other - -\n",
        b"/other 3 104755 2 1 2 0 3.4 - a\\x20b - user.a=\\x00 user.b=\\x3d\n",
        b"/unnamed 5 100644 1 0 0 0 0.0 - - -\n",
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_tree_comes_back_from_its_dump(seed: int) -> None:
    dump = dump_of(TreeMaker(seed).make())
    assert dump_of(read_dump(dump.splitlines(keepends=True))) == dump


ACCEPTED = {
    "path without a slash": (b"x 0 100644 1 0 0 0 0.0 - - -", b"/x 0 100644 1 0 0 0 0.0 - - -\n"),
    "missing fields": (b"/x 0 100644 1 0 0 0 0.0", b"/x 0 100644 1 0 0 0 0.0 - - -\n"),
    "nanoseconds are a number, not a fraction": (
        b"/x 0 100644 1 0 0 0 -1.5 - - -",
        b"/x 0 100644 1 0 0 0 -1.5 - - -\n",
    ),
    "contents win over a payload": (b"/x 1 100644 1 0 0 0 0.0 aa/b c -", b"/x 1 100644 1 0 0 0 0.0 - c -\n"),
    "size of a link": (b"/x 7 120777 1 0 0 0 0.0 abc - -", b"/x 3 120777 1 0 0 0 0.0 abc - -\n"),
    "an attribute twice": (
        b"/x 0 100644 1 0 0 0 0.0 - - - user.a=1 user.a=2",
        b"/x 0 100644 1 0 0 0 0.0 - - - user.a=2\n",
    ),
    "capital digits": (
        b"/x 9 100644 1 0 0 0 0.0 a - " + DIGEST.upper(),
        b"/x 9 100644 1 0 0 0 0.0 a - " + DIGEST + b"\n",
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_other_spellings_are_understood(name: str) -> None:
    line, expected = ACCEPTED[name]
    assert read(line) == expected


def test_hard_links_may_come_before_their_target_and_form_chains() -> None:
    lines = (b"/a 0 @100644 - - - - - /b - -", b"/b 0 @100644 1 0 0 0 0.0 c", b"/c 0 100644 3 0 0 0 0.0 - - -")
    target = b" 0 @100644 1 0 0 0 0.0 /c - -\n"
    assert read(*lines) == b"/a" + target + b"/b" + target + b"/c 0 100644 3 0 0 0 0.0 - - -\n"


FILE = b"/x 0 100644 1 0 0 0 0.0 - - -"
REFUSED = {
    "empty line": (b"", "not `PATH"),
    "double space": (b"/x  0 100644 1 0 0 0 0.0 - - -", "not `PATH"),
    "no time": (b"/x 0 100644 1 0 0 0 0 - - -", "not `PATH"),
    "nanoseconds": (b"/x 0 100644 1 0 0 0 0.1000000000 - - -", "not `PATH"),
    "negative size": (b"/x -1 100644 1 0 0 0 0.0 - - -", "not `PATH"),
    "mode": (b"/x 0 644 1 0 0 0 0.0 - - -", "no type of file"),
    "unknown escape": (b"/\\q 0 100644 1 0 0 0 0.0 - - -", r"unknown escape \\q"),
    "escape cut short": (b"/x 4 120777 1 0 0 0 0.0 a\\x4 - -", r"unknown escape \\x"),
    "backslash at the end": (b"/x 4 120777 1 0 0 0 0.0 a\\ - -", r"unknown escape"),
    "parent": (b"/d/x 0 100644 1 0 0 0 0.0 - - -", "its parent"),
    "slash at the end": (b"/x/ 0 40755 1 0 0 0 0.0 - - -", "empty component"),
    "dots": (b"/.. 0 40755 1 0 0 0 0.0 - - -", "`.` or `..` in a path"),
    "second root": (b"/ 0 40755 1 0 0 0 0.0 - - -", "this path came before"),
    "contents of another size": (b"/x 4 100644 1 0 0 0 0.0 - abc -", "contents of 3 bytes for a size of 4"),
    "digest": (b"/x 4 100644 1 0 0 0 0.0 a - zz", "a digest"),
    "short digest": (b"/x 4 100644 1 0 0 0 0.0 a - abab", "a digest"),
    "attribute": (FILE + b" user.a", "KEY=VALUE"),
    "attribute without name": (FILE + b" =a", "KEY=VALUE"),
    "link to nothing": (b"/x 0 @100644 - - - - - /y - -", "hard link to"),
    "link to itself": (b"/x 0 @100644 - - - - - /x - -", "hard link to"),
    "link to a directory": (b"/x 0 @100644 - - - - - / - -", "hard link to"),
    "link without target": (b"/x 0 @100644 - - - - - - - -", "hard link to"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_line_is_refused_with_its_number(name: str) -> None:
    line, problem = REFUSED[name]
    with pytest.raises(DumpError, match=problem) as caught:
        read(line)
    assert caught.value.line == 2


def test_paths_come_once_and_below_directories() -> None:
    with pytest.raises(DumpError, match="line 3: this path came before"):
        read(FILE, FILE)
    with pytest.raises(DumpError, match="line 3: its parent is no directory"):
        read(FILE, b"/x/y 0 100644 1 0 0 0 0.0 - - -")


@pytest.mark.parametrize("lines", [[], [FILE], [b"/ 0 @40755 - - - - - /x - -"], [b"/ 0 100644 1 0 0 0 0.0 - - -"]])
def test_a_dump_begins_with_the_root(lines: list[bytes]) -> None:
    with pytest.raises(DumpError, match="root directory"):
        read_dump(lines)


def test_a_link_out_of_the_tree_cannot_be_written() -> None:
    with pytest.raises(TreeError, match="/x: hard link to something that is no file of this tree"):
        dump_of(directory({b"x": HardLink(Symlink(attributes(), b"elsewhere"))}))


@given(st.binary())
def test_escapes_are_graphic_and_come_back(value: bytes) -> None:
    for form in (escape(value), escape_xattr(value)):
        assert unescape(form) == value
        assert all(0x20 < byte < 0x7F for byte in form)
    assert b"=" not in escape_xattr(value)
    assert escape(value) != b"-"
