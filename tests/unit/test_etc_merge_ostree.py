"""What libostree's merge of /etc is foretold to do. Real libostree: tests/integration/test_etc_merge_libostree.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootc.etc_merge import preview_ostree
from tests.unit.etc_trees import Entry, Link, Mode, Sides, Tree

X = (("user.x", b"1"),)
CASES: dict[str, tuple[Entry, Entry, Tree, dict[str, str]]] = {
    "nothing local": ({"f": b"f"}, {"f": b"f"}, {"f": {}}, {}),
    "both changed": ({"f": b"f"}, {"f": b"c"}, {"f": b"n"}, {}),
    "a file where the image has a directory": ({"f": b"f"}, {"f": b"c"}, {"f": {}}, {"f": "OSTREE_DIRECTORY"}),
    "a link in place of the image's directory": ({"d": {}}, {"d": Link("/x")}, {"d": {}}, {"d": "OSTREE_DIRECTORY"}),
    "an added directory where the image has a file": ({}, {"d": {"f": b"f"}}, {"d": b"n"}, {}),
    "a change below what the image made a file": (
        {"d": {"f": b"f", "g": b"g"}},
        {"d": {"f": b"c", "g": b"c"}},
        {"d": b"n"},
        {"d": "OSTREE_NO_DIRECTORY"},
    ),
    "a removal below it": ({"d": {"f": b"f"}}, {"d": {}}, {"d": b"n"}, {"d": "OSTREE_NO_DIRECTORY"}),
    "deep below it": (
        {"d": {"e": {"f": b"f"}}},
        {"d": {"e": {"f": b"c"}}},
        {"d": b"n"},
        {"d/e": "OSTREE_NO_DIRECTORY"},
    ),
    "a change below it, whose mode changed too": (
        {"d": {"f": b"f"}},
        {"d": Mode({"f": b"c"}, 0o700)},
        {"d": b"n"},
        {"d": "OSTREE_WHOLE"},
    ),
    "a change below what the image removed": ({"d": {"f": b"f"}}, {"d": {"f": b"c"}}, {}, {}),
    "a change below a link inside": (
        {"d": {"f": b"f"}},
        {"d": {"f": b"c"}},
        {"d": Link("e"), "e": {}},
        {"d": "OSTREE_LINK"},
    ),
    "a conflict behind a link inside": (
        {"d": {"f": b"f"}},
        {"d": {"f": b"c"}},
        {"d": Link("e"), "e": {"f": {}}},
        {"d": "OSTREE_LINK", "d/f": "OSTREE_DIRECTORY"},
    ),
    "nothing changed below a link": ({"d": {"f": b"f"}}, {"d": {"f": b"f"}}, {"d": Link("/tmp")}, {}),
    "a change below a link out": (
        {"d": {"f": b"f"}},
        {"d": {"f": b"c"}},
        {"d": Link("/tmp")},
        {"d": "OSTREE_LINK_OUT"},
    ),
    "a change below a link up": (
        {"d": {"f": b"f"}},
        {"d": {"f": b"c"}},
        {"d": Link("../old")},
        {"d": "OSTREE_LINK_OUT"},
    ),
    "a change below a dangling link": (
        {"d": {"f": b"f"}},
        {"d": {"f": b"c"}},
        {"d": Link("no")},
        {"d": "OSTREE_LINK_OUT"},
    ),
    "attributes of a file": ({"f": b"f"}, {"f": Mode(b"f", None, X)}, {"f": b"f"}, {"f": "OSTREE_XATTRS"}),
    "attributes of a changed file": ({"f": b"f"}, {"f": Mode(b"c", None, X)}, {"f": b"f"}, {}),
    "attributes of a directory": ({"d": {}}, {"d": Mode({}, None, X)}, {"d": {}}, {"d": "OSTREE_XATTRS"}),
    "the mode of a file": ({"f": b"f"}, {"f": Mode(b"f", 0o600)}, {"f": b"f"}, {}),
    "the mode of a directory": ({"d": {}}, {"d": Mode({}, 0o700)}, {"d": {}}, {"d": "OSTREE_METADATA"}),
    "the mode of a directory with a change": ({"d": {}}, {"d": Mode({"f": b""}, 0o700)}, {"d": {}}, {}),
    "the mode of a directory with a removal": (
        {"d": {"f": b"f"}},
        {"d": Mode({}, 0o700)},
        {"d": {"f": b"f"}},
        {"d": "OSTREE_METADATA"},
    ),
    "the mode of a directory that the image removed": (
        {"d": {"e": {"f": b""}}},
        {"d": Mode({"e": Mode({"f": b""}, 0o700)}, 0o700)},
        {},
        {"d": "OSTREE_WHOLE"},
    ),
    "the mode of an added directory": ({}, {"d": Mode({}, 0o700)}, {"d": {}}, {"d": "OSTREE_METADATA"}),
    "the mode of etc": ({}, Mode({}, 0o700), {}, {"/etc": "OSTREE_METADATA"}),
    "a file that became a directory on both sides": (
        {"d": b"f"},
        {"d": {"f": b""}},
        {"d": {}},
        {"d": "OSTREE_CONTENT"},
    ),
    "a file that became a directory here": ({"d": b"f"}, {"d": {"f": b""}}, {"d": b"n"}, {}),
}


@pytest.mark.parametrize(("old", "current", "new", "findings"), CASES.values(), ids=CASES.keys())
def test_the_preview(tmp_path: Path, old: Entry, current: Entry, new: Tree, findings: dict[str, str]) -> None:
    found = preview_ostree(*Sides.of(tmp_path, old, current, new).paths)

    assert {finding.subject.removeprefix("/etc/"): finding.reason.name for finding in found} == findings


def test_special_files_are_told(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {"f": b""}, {"d": {}}, {"f": b"", "p": {}})
    for path in ("f", "d/f", "p"):
        os.mkfifo(tmp_path / "current" / path)
    found = preview_ostree(*sides.paths)

    expected = {"/etc/f": "OSTREE_SPECIAL", "/etc/d/f": "OSTREE_SPECIAL", "/etc/p": "OSTREE_DIRECTORY"}
    assert {finding.subject: finding.reason.name for finding in found} == expected
    assert [finding.subject for finding in found if finding.is_fatal] == ["/etc/p"]


def test_what_is_nested_too_deeply_is_told(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {}, {})
    (tmp_path / "current" / "/".join("d" * 150)).mkdir(parents=True)

    assert [finding.reason.name for finding in preview_ostree(*sides.paths)] == ["TOO_DEEP"]
