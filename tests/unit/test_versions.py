"""The order of version labels; the cases were compared with `systemd-analyze compare-versions`."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootc.versions import uapi_key

ASCENDING = {
    "releases": ("9", "10", "10.1", "10.1.1", "10.2"),
    "pre-releases": ("1~beta", "1~rc1", "1~rc2", "1", "1.0"),
    "patches": ("1", "1-1", "1^p1", "1.1", "1a", "11"),
    "parts": ("", "-", "^", ".", "a", "ab", "b", "0"),
    "capitals": ("A", "Z", "a"),
    "builds": ("20251231.9", "20260101.0", "20260101.1-2", "20260101.1-10"),
    "large numbers": ("1" * 5000, "2" * 5000, "1" + "0" * 5000),
}
EQUAL = {
    "zeros": ("1.01", "1.1"),
    "other characters": ("1_2", "1 2"),
    "other scripts": ("1.٢", "1."),
    "plus": ("1+2", "1:2"),
}


@pytest.mark.parametrize("versions", ASCENDING.values(), ids=ASCENDING)
def test_each_is_older_than_the_next(versions: tuple[str, ...]) -> None:
    assert [pair for pair in pairwise(versions) if not uapi_key(pair[0]) < uapi_key(pair[1])] == []


@pytest.mark.parametrize(("one", "other"), EQUAL.values(), ids=EQUAL)
def test_what_does_not_count_makes_no_difference(one: str, other: str) -> None:
    assert uapi_key(one) == uapi_key(other)


@given(st.text(), st.text(max_size=3))
def test_every_text_has_a_place(version: str, more: str) -> None:
    assert uapi_key(f"{version}~{more}") < uapi_key(version) < uapi_key(f"{version}.1")
