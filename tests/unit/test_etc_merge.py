"""What a merge of /etc keeps, follows and reports, for everything that can be on the three sides."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bootc.errors import EtcConflictError, FileSystemError
from bootc.etc_merge import Action, Change, MergePlan, Verb, apply, diff, plan
from bootc.etc_merge.findings import Findings, Reason
from bootc.etc_merge.tree import ChangedError, steadily
from tests.unit.etc_trees import Entry, Link, Mode, Sides, Tree, normal, write

ATOMS: dict[str, Entry] = {"a": b"one\n", "b": b"two\n", "d": {"in": b"in\n"}, "l": Link("elsewhere")}
SIDES = "-abdl"
MARKS = {
    " ": None,
    "*": Reason.BOTH_CHANGED,
    "~": Reason.IMAGE_REMOVED,
    "x": Reason.REMOVED_HERE,
    "!": Reason.FILE_OR_DIRECTORY,
}
TABLE = """
    - - | -  a  b  d  l
    - a | a  a  a* !! a*
    - b | b  b* b  !! b*
    - d | d  !! !! d  !!
    - l | l  l* l* !! l
    a - | -  -  -x -x -x
    a a | -  a  b  d  l
    a b | b~ b  b  !! b*
    a d | d~ d  d* d  d*
    a l | l~ l  l* !! l
    b - | -  -x -  -x -x
    b a | a~ a  a  !! a*
    b b | -  a  b  d  l
    b d | d~ d* d  d  d*
    b l | l~ l* l  !! l
    d - | -  -x -x -  -x
    d a | a~ a  a* a  a*
    d b | b~ b* b  b  b*
    d d | -  a  b  d  l
    d l | l~ l* l* l  l
    l - | -  -x -x -x -
    l a | a~ a  a* !! a
    l b | b~ b* b  !! b
    l d | d~ d* d* d  d
    l l | -  a  b  d  l
"""
"""old, current | result and finding for each kind of new: absent, file a, file b, directory, link"""


def rows() -> dict[str, tuple[str, Reason | None]]:
    """`old current new` to the result and the finding; `!` is no result."""
    found = {}
    for line in TABLE.strip().splitlines():
        sides, _, cells = line.strip().partition(" | ")
        cells = cells.ljust(14)
        for position, new in enumerate(SIDES):
            cell = cells[3 * position : 3 * position + 2]
            found[f"{sides} {new}"] = (cell[0], MARKS[cell[1]])
    return found


ROWS = rows()


def side(position: int, names: list[str]) -> Tree:
    """What one of the three sides holds for these rows; each row is a name."""
    return {name: ATOMS[name[position]] for name in names if name[position] != "-"}


def paths(reason: Reason | None) -> set[str]:
    return {name for name, (_, expected) in ROWS.items() if expected is reason}


def at(place: str, tree: Tree) -> Tree:
    """The tree itself, or below a directory."""
    return tree if place == "root" else {"sub": {"dir": tree}}


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 125


@pytest.mark.parametrize("place", ["root", "below"])
def test_every_combination_is_reported_as_the_table_says(tmp_path: Path, place: str) -> None:
    names = list(ROWS)
    sides = Sides.of(tmp_path, *(at(place, side(position, names)) for position in (0, 2, 4)))
    prefix = "" if place == "root" else "sub/dir/"

    expected = {prefix + name: reason.name for name, (_, reason) in ROWS.items() if reason}
    assert sides.findings() == expected
    found = plan(*sides.paths)
    assert {finding.subject for finding in found.conflicts} == {
        f"/etc/{prefix}{name}" for name in paths(Reason.FILE_OR_DIRECTORY)
    }
    with pytest.raises(EtcConflictError):
        found.require_possible()


@pytest.mark.parametrize("place", ["root", "below"])
def test_every_combination_is_merged_as_the_table_says(tmp_path: Path, place: str) -> None:
    names = [name for name, (result, _) in ROWS.items() if result != "!"]
    sides = Sides.of(tmp_path, *(at(place, side(position, names)) for position in (0, 2, 4)))
    results = {name: ATOMS[ROWS[name][0]] for name in names if ROWS[name][0] != "-"}

    assert sides.merged() == normal(write(tmp_path / "expected", at(place, results)))


DIRECTORIES: dict[str, tuple[Tree, Tree, Tree, Tree, dict[str, str]]] = {
    "both add to it": ({"d": {}}, {"d": {"c": b"c"}}, {"d": {"n": b"n"}}, {"d": {"c": b"c", "n": b"n"}}, {}),
    "both make it": ({}, {"d": {"c": b"c"}}, {"d": {"n": b"n"}}, {"d": {"c": b"c", "n": b"n"}}, {}),
    "both add one file": (
        {"d": {}},
        {"d": {"f": b"c"}},
        {"d": {"f": b"n"}},
        {"d": {"f": b"c"}},
        {"d/f": "BOTH_CHANGED"},
    ),
    "the image removes it, nothing is local": ({"d": {"f": b"f"}}, {"d": {"f": b"f"}}, {}, {}, {}),
    "the image removes it, a file was added": (
        {"d": {"f": b"f", "e": {}}},
        {"d": {"f": b"f", "e": {"x": b"x"}}},
        {},
        {"d": {"e": {"x": b"x"}}},
        {"d": "IMAGE_REMOVED", "d/e": "IMAGE_REMOVED"},
    ),
    "the image removes it, a file was changed": (
        {"d": {"f": b"f"}},
        {"d": {"f": b"c"}},
        {},
        {"d": {"f": b"c"}},
        {"d": "IMAGE_REMOVED", "d/f": "IMAGE_REMOVED"},
    ),
    "the image removes it, a file was removed": ({"d": {"f": b"f", "g": b"g"}}, {"d": {"g": b"g"}}, {}, {}, {}),
    "the image makes it a file, nothing is local": (
        {"d": {"f": b"f"}},
        {"d": {"f": b"f"}},
        {"d": b"n"},
        {"d": b"n"},
        {},
    ),
    "the image makes it a file, a file was removed": ({"d": {"f": b"f"}}, {"d": {}}, {"d": b"n"}, {"d": b"n"}, {}),
    "removed here, the image adds to it": (
        {"d": {"f": b"f"}},
        {},
        {"d": {"f": b"f", "n": b"n"}},
        {},
        {"d": "REMOVED_HERE"},
    ),
    "removed here, the image keeps it": ({"d": {"f": b"f"}}, {}, {"d": {"f": b"f"}}, {}, {}),
    "a link here, the image adds to it": (
        {"d": {"f": b"f"}},
        {"d": Link("/run")},
        {"d": {"f": b"f", "n": b"n"}},
        {"d": Link("/run")},
        {"d": "BOTH_CHANGED"},
    ),
    "a file became one here, the image's too": (
        {"d": b"file"},
        {"d": {"c": b"c", "f": b"c"}},
        {"d": {"n": b"n", "f": b"n"}},
        {"d": {"c": b"c", "f": b"c", "n": b"n"}},
        {"d/f": "BOTH_CHANGED"},
    ),
    "the image moves a file into it": (
        {"f": b"f"},
        {"f": b"c"},
        {"d": {"f": b"f"}},
        {"f": b"c", "d": {"f": b"f"}},
        {"f": "IMAGE_REMOVED"},
    ),
}


@pytest.mark.parametrize(("old", "current", "new", "merged", "findings"), DIRECTORIES.values(), ids=DIRECTORIES.keys())
def test_directories_are_merged(
    tmp_path: Path, old: Tree, current: Tree, new: Tree, merged: Tree, findings: dict[str, str]
) -> None:
    sides = Sides.of(tmp_path, old, current, new)

    assert sides.findings() == findings
    assert sides.merged() == normal(write(tmp_path / "expected", merged))


CONFLICTS: dict[str, tuple[Tree, Tree, Tree, str]] = {
    "a file added below": ({"d": {}}, {"d": {"f": b"c"}}, {"d": b"n"}, "d"),
    "a file changed below": ({"d": {"f": b"f"}}, {"d": {"f": b"c"}}, {"d": b"n"}, "d"),
    "a link in its place": ({"d": {"f": b"f"}}, {"d": {"f": b"c"}}, {"d": Link("x")}, "d"),
    "deeper": ({"d": {"e": {"f": b"f"}}}, {"d": {"e": {"f": b"c"}}}, {"d": {"e": b"n"}}, "d/e"),
    "a mode below": ({"d": {"f": b"f"}}, {"d": {"f": Mode(b"f", 0o600)}}, {"d": b"n"}, "d"),
    "the directory's mode": ({"d": {}}, {"d": Mode({}, 0o700)}, {"d": b"n"}, "d"),
    "a file's mode": ({"f": b"f"}, {"f": Mode(b"f", 0o600)}, {"f": {}}, "f"),
}


@pytest.mark.parametrize(("old", "current", "new", "subject"), CONFLICTS.values(), ids=CONFLICTS.keys())
def test_what_would_lose_a_local_change_is_a_conflict(
    tmp_path: Path, old: Tree, current: Tree, new: Tree, subject: str
) -> None:
    sides = Sides.of(tmp_path, old, current, new)
    before = normal(tmp_path / "new")

    assert sides.findings() == {subject: "FILE_OR_DIRECTORY"}
    with pytest.raises(EtcConflictError, match=f"/etc/{subject} is a directory on one side only"):
        sides.merged()
    assert normal(tmp_path / "new") == before


X, Y, Z = (("user.x", value) for value in (b"1", b"2", b"3"))
METADATA: dict[str, tuple[Tree, Tree, Tree, Tree, dict[str, str]]] = {
    "a file's mode here keeps the whole file": (
        {"f": b"f"},
        {"f": Mode(b"f", 0o600)},
        {"f": b"n"},
        {"f": Mode(b"f", 0o600)},
        {"f": "BOTH_CHANGED"},
    ),
    "a file's mode in the image": ({"f": b"f"}, {"f": b"f"}, {"f": Mode(b"f", 0o600)}, {"f": Mode(b"f", 0o600)}, {}),
    "a file's attribute here": (
        {"f": b"f"},
        {"f": Mode(b"f", None, (X,))},
        {"f": b"f"},
        {"f": Mode(b"f", None, (X,))},
        {},
    ),
    "a file's attribute in the image": (
        {"f": Mode(b"f", None, (X,))},
        {"f": Mode(b"f", None, (X,))},
        {"f": Mode(b"f", None, (Y,))},
        {"f": Mode(b"f", None, (Y,))},
        {},
    ),
    "a directory's mode here": (
        {"d": {"f": b"f"}},
        {"d": Mode({"f": b"f"}, 0o700)},
        {"d": {"f": b"n"}},
        {"d": Mode({"f": b"n"}, 0o700)},
        {},
    ),
    "a directory's mode in the image": (
        {"d": {"f": b"f"}},
        {"d": {"f": b"c"}},
        {"d": Mode({"f": b"f"}, 0o700)},
        {"d": Mode({"f": b"c"}, 0o700)},
        {},
    ),
    "a directory's mode in both": (
        {"d": {}},
        {"d": Mode({}, 0o700)},
        {"d": Mode({}, 0o750)},
        {"d": Mode({}, 0o700)},
        {"d": "BOTH_CHANGED"},
    ),
    "a directory's mode alike in both": (
        {"d": {}},
        {"d": Mode({}, 0o700)},
        {"d": Mode({}, 0o700)},
        {"d": Mode({}, 0o700)},
        {},
    ),
    "a directory's mode, and the image removes it": (
        {"d": {"f": b"f"}},
        {"d": Mode({"f": b"f"}, 0o700)},
        {},
        {"d": Mode({}, 0o700)},
        {"d": "IMAGE_REMOVED"},
    ),
    "a directory's attribute in all": (
        {"d": Mode({}, None, (X,))},
        {"d": Mode({}, None, (Y,))},
        {"d": Mode({}, None, (Z,))},
        {"d": Mode({}, None, (Y,))},
        {"d": "BOTH_CHANGED"},
    ),
    "both make it, with other modes": (
        {},
        {"d": Mode({}, 0o700)},
        {"d": {}},
        {"d": Mode({}, 0o700)},
        {"d": "BOTH_CHANGED"},
    ),
}


@pytest.mark.parametrize(("old", "current", "new", "merged", "findings"), METADATA.values(), ids=METADATA.keys())
def test_metadata_counts(
    tmp_path: Path, old: Tree, current: Tree, new: Tree, merged: Tree, findings: dict[str, str]
) -> None:
    sides = Sides.of(tmp_path, old, current, new)

    assert sides.findings() == findings
    assert sides.merged() == normal(write(tmp_path / "expected", merged))


def test_the_mode_of_etc_itself_is_kept(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, Mode({}, 0o700), {"n": b"n"})

    assert plan(*sides.paths) == MergePlan((Action(Verb.SET_METADATA, b""),), ())
    assert sides.merged() == normal(write(tmp_path / "expected", Mode({"n": b"n"}, 0o700)))


def test_a_plan_names_actions_parents_first(tmp_path: Path) -> None:
    sides = Sides.of(
        tmp_path,
        {"gone": {"f": b"f"}, "r": b"r", "m": {}},
        {"gone": {"f": b"c"}, "new": {"deep": {"f": b"f"}}, "m": Mode({}, 0o700)},
        {"r": b"r", "m": {}},
    )
    found = plan(*sides.paths)

    assert found.actions == (
        Action(Verb.MAKE_DIRECTORY, b"gone"),
        Action(Verb.COPY, b"gone/f"),
        Action(Verb.SET_METADATA, b"m"),
        Action(Verb.COPY, b"new"),
        Action(Verb.REMOVE, b"r"),
    )
    assert not found.conflicts


def test_times_do_not_count(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {"f": b"f"}, {"f": b"f"}, {"f": b"f"})
    os.utime(tmp_path / "current/f", (1, 1))

    assert plan(*sides.paths) == MergePlan((), ())


def test_files_of_equal_size_and_time_are_compared(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {"f": b"x" * 300_000}, {"f": b"x" * 299_999 + b"y"}, {"f": b"x" * 300_000})
    for path in sides.paths:
        os.utime(path / "f", (0, 0))

    assert plan(*sides.paths).actions == (Action(Verb.COPY, b"f"),)


def test_the_stamp_of_the_last_update_is_on_no_side(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {".updated": b"c", "d": {".updated": b"file"}}, {".updated": b"n"})

    assert plan(*sides.paths) == MergePlan((Action(Verb.COPY, b"d"),), ())
    assert sides.merged() == normal(write(tmp_path / "expected", {"d": {".updated": b"file"}}))


def test_sockets_are_told_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = Sides.of(tmp_path, {"s": b"s"}, {"added": {"f": b"f"}, "gone": {}}, {"s": b"n"})
    monkeypatch.chdir(tmp_path / "current")  # a socket's path is short
    for name in ("s", "added/s", "lone"):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)

    assert sides.findings() == {"s": "SOCKET", "added/s": "SOCKET", "lone": "SOCKET"}
    assert sides.merged() == normal(write(tmp_path / "expected", {"s": b"n", "added": {"f": b"f"}, "gone": {}}))


def test_fifos_are_carried_over(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {"d": {}}, {})
    for path in ("p", "d/p"):
        os.mkfifo(tmp_path / "current" / path, 0o640)

    expected = normal(tmp_path / "current")
    assert sides.findings() == {}
    assert sides.merged() == expected


NAMES = [b"\xff\xfe", b"new\nline", b"a b", b"-rf", b"\x1b[31m", "ä".encode(), b"x" * 255]


def test_names_are_bytes(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {}, {})
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(tmp_path / "current") + b"/" + name)).write_bytes(name)

    assert {action.path for action in plan(*sides.paths).actions} == set(NAMES)
    assert sides.merged() == normal(tmp_path / "current")


def test_subjects_can_be_shown_on_a_terminal(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {}, {})
    for name in NAMES:
        (tmp_path / "new" / os.fsdecode(name)).mkdir()
        (tmp_path / "current" / os.fsdecode(name)).write_text("x")
    found = plan(*sides.paths)

    assert all(finding.subject.isprintable() for finding in found.conflicts)
    assert {finding.path for finding in found.conflicts} == set(NAMES)
    assert "/etc/\\x1b[31m" in {finding.subject for finding in found.conflicts}


def test_hard_links_here_stay_links_of_each_other(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {"same": b"x"}, {"one": b"x", "d": {}}, {"same": b"x"})
    os.link(tmp_path / "current/one", tmp_path / "current/d/two")
    os.link(tmp_path / "current/one", tmp_path / "current/same")
    sides.merged()

    one, two, same = ((tmp_path / "new" / path).stat() for path in ("one", "d/two", "same"))
    assert one.st_ino == two.st_ino
    assert (one.st_nlink, same.st_nlink) == (2, 1)  # `same` was not changed here: it is the image's


def test_links_are_never_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"f": b"secret", "d": {"f": b"f"}})
    evil = Link(str(outside))
    sides = Sides.of(tmp_path, {"l": evil, "x": evil}, {"l": {"f": b"mine"}, "x": evil}, {"l": evil, "x": {"f": b"n"}})
    before = normal(outside)

    assert sides.merged() == normal(write(tmp_path / "expected", {"l": {"f": b"mine"}, "x": {"f": b"n"}}))
    assert normal(outside) == before


@pytest.mark.parametrize("position", range(3))
def test_a_side_that_is_a_link_is_refused(tmp_path: Path, position: int) -> None:
    sides = Sides.of(tmp_path, {}, {}, {})
    victim = sides.paths[position]
    victim.rename(tmp_path / "real")
    victim.symlink_to("real")

    with pytest.raises(FileSystemError, match=victim.name):
        plan(*sides.paths)


def test_a_plan_does_not_lead_through_links_of_its_target(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {"d": {}}, {"d": {"f": b"mine"}}, {"d": {}})
    found = plan(*sides.paths)
    outside = write(tmp_path / "outside", {})
    (tmp_path / "new/d").rmdir()
    (tmp_path / "new/d").symlink_to(outside)

    with pytest.raises(FileSystemError, match="new/d: is no directory"):
        apply(found, tmp_path / "current", tmp_path / "new")
    assert list(outside.iterdir()) == []


def deep(path: Path, depth: int) -> None:
    path.mkdir()
    descriptor = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)


def test_directories_that_are_nested_too_deeply_are_a_conflict(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {}, {"fine": {}}, {})
    deep(tmp_path / "current/deep", 300)
    deep(tmp_path / "current/fine/fine", 90)
    found = plan(*sides.paths)

    assert [finding.reason for finding in found.findings] == [Reason.TOO_DEEP]
    assert found.conflicts


def test_an_image_that_is_nested_too_deeply_is_an_error(tmp_path: Path) -> None:
    sides = Sides.of(tmp_path, {"deep": {}}, {}, {})
    deep(tmp_path / "new/deep", 150)
    (tmp_path / "old/deep").rmdir()
    deep(tmp_path / "old/deep", 150)

    with pytest.raises(FileSystemError, match="nested too deeply"):
        plan(*sides.paths)


def test_findings_are_bounded() -> None:
    findings = Findings()
    for number in range(1500):
        findings.add(Reason.SOCKET, b"%d" % number)
    findings.add(Reason.TOO_DEEP, b"x")
    found = findings.all()

    assert len(found) == 1002
    assert (found[-1].subject, found[-1].message, found[-1].is_fatal) == ("/etc", "has 500 more notices", False)


def test_the_difference_is_told_path_by_path(tmp_path: Path) -> None:
    write(
        tmp_path / "old", {"same": b"s", "f": b"f", "gone": {"x": b"x"}, "d": {"f": b"f"}, "t": b"t", "k": {"x": b""}}
    )
    write(
        tmp_path / "new",
        Mode(
            {
                "same": b"s",
                "f": b"c",
                "d": Mode({"f": b"f"}, 0o700),
                "a": {"b": {"c": b"c"}},
                "t": {"i": b"i"},
                "k": b"",
            },
            0o700,
        ),
    )

    assert [(found.change, str(found)) for found in diff(tmp_path / "old", tmp_path / "new")] == [
        (Change.MODIFIED, ""),
        (Change.ADDED, "a"),
        (Change.ADDED, "a/b"),
        (Change.ADDED, "a/b/c"),
        (Change.MODIFIED, "d"),
        (Change.MODIFIED, "f"),
        (Change.REMOVED, "gone"),
        (Change.MODIFIED, "k"),
        (Change.MODIFIED, "t"),
        (Change.ADDED, "t/i"),
    ]


def test_equal_trees_do_not_differ(tmp_path: Path) -> None:
    for name in ("old", "new"):
        write(tmp_path / name, {"f": b"f", "d": {"l": Link("x")}})

    assert list(diff(tmp_path / "old", tmp_path / "new")) == []


def test_an_etc_that_changes_while_it_is_read_is_read_again() -> None:
    found: list[object] = []

    def read() -> int:
        found.append(None)
        if len(found) < 3:
            raise ChangedError("/etc/f", "No such file or directory")
        return len(found)

    assert steadily(read) == 3


def test_an_etc_that_never_rests_is_an_error() -> None:
    def read() -> None:
        raise ChangedError("/etc/f", "No such file or directory")

    with pytest.raises(FileSystemError, match="/etc/f"):
        steadily(read)
