"""Laws of merging /etc, on random trees."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bootc.etc_merge import MergePlan, apply, diff, plan
from bootc.etc_merge.compare import Change
from tests.unit.etc_trees import Entry, Link, Mode, Normal, Sides, Tree, normal, write

NAMES = st.sampled_from(["a", "b", "c"])
FILES = st.builds(Mode, st.sampled_from([b"", b"1", b"2"]), st.sampled_from([0o644, 0o600]))
LEAVES: st.SearchStrategy[Entry] = FILES | st.builds(Link, st.sampled_from(["a", "/nowhere"]))
MODES = st.sampled_from([0o755, 0o700])


def _directories(inner: st.SearchStrategy[Entry]) -> st.SearchStrategy[Entry]:
    return st.builds(Mode, st.dictionaries(NAMES, inner, max_size=3), MODES)


TREES: st.SearchStrategy[Tree] = st.dictionaries(NAMES, st.recursive(LEAVES, _directories, max_leaves=6), max_size=3)
FEW = settings(max_examples=40, deadline=None)


def merged(old: Tree, current: Tree, new: Tree) -> tuple[MergePlan, Normal | None]:
    """The plan, and the result if there is no conflict. Also checked: it can be repeated, and reads only."""
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides.of(Path(folder), old, current, new)
        before = [normal(path) for path in sides.paths]
        found = plan(*sides.paths)
        assert [normal(path) for path in sides.paths] == before
        if found.conflicts:
            return found, None
        apply(found, *sides.paths[1:])
        result = normal(sides.paths[2])
        apply(found, *sides.paths[1:])
        assert normal(sides.paths[2]) == result
        assert [normal(path) for path in sides.paths[:2]] == before[:2]
        return found, result


def on_disk(tree: Tree) -> Normal:
    with tempfile.TemporaryDirectory() as folder:
        return normal(write(Path(folder) / "tree", tree))


@FEW
@given(TREES, TREES)
def test_without_local_changes_the_image_is_followed(old: Tree, new: Tree) -> None:
    assert merged(old, old, new) == (MergePlan((), ()), on_disk(new))


@FEW
@given(TREES, TREES)
def test_without_changes_of_the_image_everything_local_stays(old: Tree, current: Tree) -> None:
    found, result = merged(old, current, old)

    assert found.findings == ()
    assert result == on_disk(current)


@FEW
@given(TREES, TREES)
def test_what_the_image_made_alike_is_no_change(old: Tree, current: Tree) -> None:
    found, result = merged(old, current, current)

    assert not found.findings
    assert result == on_disk(current)


@settings(max_examples=100, deadline=None)
@given(TREES, TREES, TREES)
def test_every_local_change_is_kept(old: Tree, current: Tree, new: Tree) -> None:
    found, result = merged(old, current, new)
    if result is None:
        assert all(finding.path for finding in found.conflicts)
        return
    here, before, image = on_disk(current), on_disk(old), on_disk(new)
    for path in here.keys() | before.keys() | image.keys():
        if here.get(path) == before.get(path):
            continue
        if path in here:
            assert result[path] == here[path], path
        else:
            assert path not in result, path
    for path in result:
        assert result[path] in (here.get(path), image.get(path)), path


@settings(max_examples=100, deadline=None)
@given(TREES, TREES, TREES)
def test_the_image_is_followed_where_nothing_is_local(old: Tree, current: Tree, new: Tree) -> None:
    _, result = merged(old, current, new)
    if result is None:
        return
    here, before, image = on_disk(current), on_disk(old), on_disk(new)
    for path, entry in image.items():
        above = {str(parent) for parent in Path(path).parents}
        if all(here.get(place) == before.get(place) for place in {path} | above):
            assert result[path] == entry, path


@FEW
@given(TREES, TREES)
def test_the_difference_is_what_a_plan_is_made_of(old: Tree, current: Tree) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides.of(Path(folder), old, current, old)
        differences = {str(found): found.change for found in diff(*sides.paths[:2])}
    here, before = on_disk(current), on_disk(old)
    expected = dict.fromkeys(here.keys() - before.keys(), Change.ADDED)
    expected |= {path: Change.MODIFIED for path in here.keys() & before.keys() if here[path] != before[path]}
    removed = before.keys() - here.keys()
    expected |= {
        path: Change.REMOVED for path in removed if here.get(str(Path(path).parent), (0,))[0] == before["."][0]
    }

    assert {path or ".": change for path, change in differences.items()} == expected
