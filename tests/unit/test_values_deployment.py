"""Kernel arguments, slots and boot menus."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from bootc.deployment import BootEntry, BootMenu, Deployment, DeploymentId, KernelArguments, Slots

ARGUMENTS = st.lists(st.sampled_from(["a", "a=1", "a=2", "b-c", "b_c=1", 'd="x y"', "e=", "quiet"]), max_size=6)


def arguments(*items: str) -> KernelArguments:
    return KernelArguments(items)


# ---------------------------------------------------------------- kernel arguments


@pytest.mark.parametrize(
    ("text", "items"),
    [
        pytest.param("", (), id="empty"),
        pytest.param("  \t\n", (), id="blanks"),
        pytest.param("a b=c", ("a", "b=c"), id="two"),
        pytest.param(" a\t\nb\r\v\fc ", ("a", "b", "c"), id="all blanks"),
        pytest.param('a="b c" d', ('a="b c"', "d"), id="quoted value"),
        pytest.param('"a=b c" d', ('"a=b c"', "d"), id="quoted whole"),
        pytest.param('a="b c', ('a="b c',), id="open quote"),
        pytest.param('a="" b', ('a=""', "b"), id="empty quotes"),
        pytest.param("a=b=c", ("a=b=c",), id="two equal signs"),
        pytest.param("a\u00a0b", ("a\u00a0b",), id="other blanks belong to the argument"),
        pytest.param("a a", ("a", "a"), id="repeated"),
    ],
)
def test_command_lines_are_split_outside_quotes(text: str, items: tuple[str, ...]) -> None:
    assert KernelArguments.parse(text).items == items


@given(st.text(' ab="=', max_size=20))
def test_splitting_its_own_text_changes_nothing(text: str) -> None:
    parsed = KernelArguments.parse(text)

    assert KernelArguments.parse(str(parsed)) == parsed
    assert list(parsed) == list(parsed.items)


@pytest.mark.parametrize(
    ("items", "key", "value"),
    [
        (("root=a", "root=b"), "root", "b"),
        (("quiet",), "quiet", ""),
        (("quiet=",), "quiet", ""),
        (("a=1",), "b", None),
        (("rd.luks-uuid=1",), "rd.luks_uuid", "1"),
        (("a_b=1",), "a-b", "1"),
        (("a=b-c",), "a", "b-c"),
        (('a="b c"',), "a", "b c"),
        (('"a=b c"',), "a", "b c"),
        (("a=b=c",), "a", "b=c"),
        (("ab=1",), "a", None),
    ],
)
def test_the_value_of_a_key(items: tuple[str, ...], key: str, value: str | None) -> None:
    assert KernelArguments(items).value(key) == value


@pytest.mark.parametrize(
    ("items", "added", "result"),
    [
        (("a",), ("b",), ("a", "b")),
        (("a=1",), ("a=2",), ("a=1", "a=2")),
        (("a=1",), ("a=1",), ("a=1",)),
        (("a=1",), ('a="1"',), ("a=1",)),
        (("a-b",), ("a_b",), ("a-b",)),
        (("a",), ("a=",), ("a", "a=")),
        ((), ("a", "a"), ("a",)),
        (("b", "a"), ("a", "c"), ("b", "a", "c")),
    ],
)
def test_adding(items: tuple[str, ...], added: tuple[str, ...], result: tuple[str, ...]) -> None:
    assert KernelArguments(items).with_added(added).items == result


@pytest.mark.parametrize(
    ("items", "dropped", "result"),
    [
        (("a", "b"), ("a",), ("b",)),
        (("a=1", "a=2", "a"), ("a",), ()),
        (("a=1", "a=2", "a"), ("a=1",), ("a=2", "a")),
        (("a-b=1",), ("a_b",), ()),
        (("a-b=1",), ("a_b=1",), ()),
        (('a="1"',), ("a=1",), ()),
        (("a=", "a=1"), ("a=",), ("a=1",)),
        (("ab=1",), ("a",), ("ab=1",)),
        (("a",), ("missing", "x=1"), ("a",)),
    ],
)
def test_dropping(items: tuple[str, ...], dropped: tuple[str, ...], result: tuple[str, ...]) -> None:
    assert KernelArguments(items).without(dropped).items == result


@pytest.mark.parametrize(
    ("items", "old", "new", "result"),
    [
        pytest.param(("a",), (), ("b",), ("a", "b"), id="new one"),
        pytest.param(("a", "b"), ("b",), (), ("a",), id="gone"),
        pytest.param(("a", "b"), ("b",), ("b",), ("a", "b"), id="unchanged"),
        pytest.param(("a",), ("b",), ("b",), ("a",), id="removed here stays removed"),
        pytest.param(("a", "x=2"), ("x=1",), (), ("a", "x=2"), id="changed here stays changed"),
        pytest.param(("x=1",), ("x=1",), ("x=2",), ("x=2",), id="new value"),
        pytest.param(("x=1", "x=1"), ("x=1",), (), ("x=1",), id="removed once"),
        pytest.param(("b",), (), ("b",), ("b",), id="added here before"),
    ],
)
def test_following_an_image(
    items: tuple[str, ...], old: tuple[str, ...], new: tuple[str, ...], result: tuple[str, ...]
) -> None:
    assert KernelArguments(items).updated(old, new).items == result


@given(ARGUMENTS, ARGUMENTS)
def test_an_image_that_does_not_change_changes_nothing(items: list[str], shipped: list[str]) -> None:
    assert KernelArguments(tuple(items)).updated(shipped, shipped).items == tuple(items)


@given(ARGUMENTS, ARGUMENTS)
def test_what_was_added_is_there_once_and_can_be_dropped(items: list[str], added: list[str]) -> None:
    found = KernelArguments(tuple(items)).with_added(added)

    assert found.with_added(added) == found
    assert found.items[: len(items)] == tuple(items)
    assert KernelArguments().with_added(added).without(added) == KernelArguments()


# ---------------------------------------------------------------- slots


def deployment(name: str, **changes: Any) -> Deployment:
    entry = BootEntry(DeploymentId(name), name, "1", PurePosixPath(name, "vmlinuz"), (), arguments())
    made = Deployment(DeploymentId(name), "default", None, None, arguments(), None, entry)
    return evolve(made, **changes)


BOOTED = deployment("booted", is_booted=True)
STAGED = deployment("staged", is_staged=True)
OLD = deployment("old")
OLDER = deployment("older", is_pinned=True)
FOREIGN = deployment("foreign", stateroot="other")


@pytest.mark.parametrize(
    ("deployments", "slots"),
    [
        pytest.param((), Slots(None, None, None, (), False), id="nothing"),
        pytest.param((BOOTED,), Slots(BOOTED, None, None, (), False), id="only booted"),
        pytest.param((BOOTED, OLD), Slots(BOOTED, None, OLD, (), False), id="rollback"),
        pytest.param((OLD, BOOTED), Slots(BOOTED, None, OLD, (), True), id="rollback queued"),
        pytest.param((STAGED, BOOTED, OLD), Slots(BOOTED, STAGED, OLD, (), False), id="staged"),
        pytest.param((STAGED, OLD, BOOTED), Slots(BOOTED, STAGED, OLD, (), True), id="staged and queued"),
        pytest.param((BOOTED, OLD, OLDER), Slots(BOOTED, None, OLD, (OLDER,), False), id="others"),
        pytest.param((BOOTED, FOREIGN, OLD), Slots(BOOTED, None, OLD, (FOREIGN,), False), id="another stateroot"),
        pytest.param((FOREIGN, BOOTED), Slots(BOOTED, None, None, (FOREIGN,), False), id="only another stateroot"),
        pytest.param((OLD, OLDER), Slots(None, None, None, (OLD, OLDER), False), id="not booted"),
        pytest.param((STAGED, OLD), Slots(None, STAGED, None, (OLD,), False), id="staged, not booted"),
    ],
)
def test_what_each_deployment_is_for(deployments: tuple[Deployment, ...], slots: Slots) -> None:
    assert Slots.of(deployments) == slots


# ---------------------------------------------------------------- menus


def test_a_menu_offers_all_but_the_staged_one_in_boot_order() -> None:
    menu = BootMenu.of((STAGED, BOOTED, OLD), PurePosixPath("boot/loader"))

    assert menu == BootMenu((BOOTED.entry, OLD.entry), (STAGED.entry,), PurePosixPath("boot/loader"))


def test_a_narrow_menu_leaves_out_what_will_be_destroyed() -> None:
    doomed = evolve(OLD, is_expendable=True)

    assert BootMenu.of((STAGED, BOOTED, doomed), None, narrow=True).entries == (BOOTED.entry,)
    assert BootMenu.of((STAGED, BOOTED, doomed), None).entries == (BOOTED.entry, doomed.entry)


def test_counters_are_no_part_of_what_a_menu_says() -> None:
    counted = BootMenu((evolve(BOOTED.entry, tries_left=2, tries_done=1),))

    assert counted.without_tries() == BootMenu((BOOTED.entry,))
    assert counted != BootMenu((BOOTED.entry,))
