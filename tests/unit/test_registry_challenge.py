"""The header WWW-Authenticate."""

from __future__ import annotations

import time

import pytest
from bootc_registry.challenge import Challenge, parse_challenges
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        ("Basic", (Challenge("basic", {}),)),
        ('basic realm="x"', (Challenge("basic", {"realm": "x"}),)),
        ('Bearer realm="https://a/b",service="s, t",scope="repository:a:pull,push"', None),
        ("Bearer Realm=https,  SERVICE = s", (Challenge("bearer", {"realm": "https", "service": "s"}),)),
        ('Bearer realm="a\\"b\\\\c"', (Challenge("bearer", {"realm": 'a"b\\c'}),)),
        (
            'Basic realm="x", Bearer realm="y"',
            (Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})),
        ),
        ('Negotiate, Bearer realm="y"', (Challenge("negotiate", {}), Challenge("bearer", {"realm": "y"}))),
        ('Negotiate abc==, Basic realm="x"', (Challenge("negotiate", {}), Challenge("basic", {"realm": "x"}))),
        ('Bearer realm="a",realm="b"', (Challenge("bearer", {"realm": "a"}),)),
        ('Bearer realm="unfinished', (Challenge("bearer", {}),)),
        ('"', ()),
    ],
)
def test_challenges_are_read(header: str, expected: tuple[Challenge, ...] | None) -> None:
    whole = {"realm": "https://a/b", "service": "s, t", "scope": "repository:a:pull,push"}
    assert parse_challenges(header) == (expected if expected is not None else (Challenge("bearer", whole),))


@settings(deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_no_text_breaks_the_reader(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower() != ""


@pytest.mark.parametrize("piece", ["a ", "a=", 'a="', ",", '\\"', "a=b,", "a b,", " "])
def test_a_long_header_takes_no_long_time(piece: str) -> None:
    started = time.process_time()
    parse_challenges("Bearer " + piece * (65536 // len(piece)))
    assert time.process_time() - started < 2
