"""Entry files on an ESP: whatever menu follows whatever menu, the default changes in one step."""

from collections.abc import Sequence
from functools import partial

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from bootc.bootloaders.entries import EntryFile, FileName, Plan, Wanted, key_of, make_plan
from bootc.deployment import DeploymentId

KEY = "0123456789abcdef" * 2
NAMES = {
    f"bootc-{KEY}-1.conf": FileName(KEY, 1),
    f"bootc-{KEY}-12+3.conf": FileName(KEY, 12, 3),
    f"bootc-{KEY}-12+2-1.conf": FileName(KEY, 12, 2, 1),
    f"bootc-{KEY}-12+0-3.conf": FileName(KEY, 12, 0, 3),
}
FOREIGN = (
    f"bootc-{KEY}-1.conf.bak",
    f".bootc-{KEY}-1.conf",
    f"bootc-{KEY[1:]}-1.conf",
    f"bootc-{KEY.upper()}-1.conf",
    f"bootc-{KEY}--1.conf",
    f"bootc-{KEY}-1+.conf",
    f"bootc-{KEY}-1+3-.conf",
    f"bootc-{KEY}-1.conf\n",
    f"bootc-{KEY}-{'9' * 40}.conf",
    "bootc_debian-1.conf",
    "arch.conf",
)


@pytest.mark.parametrize(("text", "name"), NAMES.items())
def test_names_are_read_as_they_are_written(text: str, name: FileName) -> None:
    assert FileName.parse(text) == name
    assert str(name) == text


@pytest.mark.parametrize("text", FOREIGN)
def test_files_of_others_are_not_ours(text: str) -> None:
    assert FileName.parse(text) is None


@pytest.mark.parametrize("id", ["default/abc.0", "../../etc/passwd", "a" * 300, "\udcff\n", "ümläut", ""])
def test_any_deployment_id_gives_a_name_that_fat_takes(id: str) -> None:
    assert FileName.parse(str(FileName(key_of(DeploymentId(id)), 1))) == FileName(key_of(DeploymentId(id)), 1)


def wanted(*contents: str) -> list[Wanted]:
    """Entries like `a:text`: the key of `a`, with this text."""
    return [Wanted(key_of(DeploymentId(content[0])), partial(_text, content)) for content in contents]


def _text(content: str, name: FileName) -> bytes:
    return f"{content} {name.rank}".encode()


def booted(files: Sequence[EntryFile]) -> list[str]:
    """What systemd-boot would offer, in its order: out of tries last, then version descending (no other keys here)."""
    return [
        file.text.decode().rpartition(" ")[0]
        for file in sorted(files, key=lambda file: (file.name.tries_left == 0, -file.name.rank))
    ]


def states(present: Sequence[EntryFile], plan: Plan) -> list[list[EntryFile]]:
    """All states that a power cut can leave: before the plan, and after each of its steps."""
    found = [list(present)]
    for file in plan.writes:
        found.append([*found[-1], file])
    for file in plan.removals:
        found.append([one for one in found[-1] if one != file])
    return found


def after(present: Sequence[EntryFile], *contents: str, tries: int | None = None) -> list[EntryFile]:
    """The files that a menu leads to, with no power cut."""
    return states(present, make_plan(wanted(*contents), present, tries))[-1]


def test_an_equal_menu_changes_nothing() -> None:
    present = after([], "a:1", "b:1", tries=3)
    plan = make_plan(wanted("a:1", "b:1"), present, 3)
    assert (plan.writes, plan.removals) == ((), ())


def test_a_new_default_costs_one_file() -> None:
    present = after([], "a:1", "b:1")
    plan = make_plan(wanted("c:1", "a:1"), present, None)
    assert [file.text for file in plan.writes] == [b"c:1 3"]
    assert [file.text for file in plan.removals] == [b"b:1 1"]


def test_only_new_entries_get_tries() -> None:
    present = after([], "a:1")
    present = after(present, "b:1", "a:1", tries=3)
    assert sorted((file.text, file.name.tries_left) for file in present) == [(b"a:1 1", None), (b"b:1 2", 3)]


def test_counters_go_along_when_an_entry_is_written_anew() -> None:
    present = [evolve(file, name=evolve(file.name, tries_left=1, tries_done=2)) for file in after([], "a:1", tries=3)]
    (file,) = after(present, "a:2", tries=3)
    assert (file.text, file.name.tries_left, file.name.tries_done) == (b"a:2 2", 1, 2)


menus = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from("12")), max_size=5, unique_by=lambda item: item[0]
).map(lambda items: [f"{name}:{text}" for name, text in items])


@given(st.lists(st.tuples(menus, st.integers(0, 12)), min_size=1, max_size=6), st.sampled_from([None, 3]))
def test_after_any_power_cuts_the_default_is_the_old_or_the_new_one(
    story: list[tuple[list[str], int]], tries: int | None
) -> None:
    """Each menu of the story is cut short somewhere; the last one is completed."""
    present: list[EntryFile] = []
    for menu, cut in story:
        plan = make_plan(wanted(*menu), present, tries)
        reached = states(present, plan)
        old = booted(present)[:1]
        for state in reached[:-1]:
            assert booted(state)[:1] in (old, menu[:1])
            assert len({file.name for file in state}) == len(state)
        if menu:
            switches = [booted(state)[:1] for state in reached]
            assert switches == sorted(switches, key=lambda default: default == menu[:1])
        present = reached[min(cut, len(reached) - 1)]
    assert booted(after(present, *menu)) == menu
    assert make_plan(wanted(*menu), after(present, *menu), tries).writes == ()
