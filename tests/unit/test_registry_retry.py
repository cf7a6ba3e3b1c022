"""When to try again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from bootc_registry.retry import Interruption, RetryRule, Tries, parse_retry_after
from bootc_registry.waiting import Waiting

from bootc.errors import NetworkError


class _Record(Waiting):
    """Waits in no time."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.waited: list[float] = []

    def pause(self, seconds: float) -> None:
        self.waited.append(seconds)


def _fail(tries: Tries, times: int, retry_after: float | None = None) -> None:
    for _ in range(times):
        with tries.one():
            raise Interruption("trouble", "a hint", retry_after)


def test_pauses_double_up_to_a_minute() -> None:
    pauses = _Record()
    _fail(Tries("image", RetryRule(9, 1.0), pauses), 9)
    expected = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert all(low <= waited <= 1.1 * low for waited, low in zip(pauses.waited, expected, strict=True))


def test_many_failures_make_no_pause_longer() -> None:
    assert 60 <= RetryRule(10**6, 0.001).pause(10**6) <= 66


def test_the_servers_wish_counts_up_to_two_minutes() -> None:
    pauses = _Record()
    tries = Tries("image", RetryRule(9, 1.0), pauses)
    _fail(tries, 1, 7.0)
    _fail(tries, 1, 7000.0)
    assert pauses.waited == [7.0, 120.0]


def test_who_can_ask_another_server_does_not_wait_long() -> None:
    pauses = _Record()
    _fail(Tries("image", RetryRule(9, 1.0, longest_wish=2.0), pauses), 1, 7000.0)
    assert pauses.waited == [2.0]


def test_the_last_failure_is_the_error() -> None:
    tries = Tries("image", RetryRule(2, 1.0), _Record())
    _fail(tries, 2)
    with pytest.raises(NetworkError) as caught:
        _fail(tries, 1)
    assert (str(caught.value), caught.value.hint) == ("image: trouble (3 tries)", "a hint")


def test_a_mebibyte_of_progress_forgets_failures() -> None:
    tries = Tries("image", RetryRule(1, 1.0), _Record())
    _fail(tries, 1)
    tries.progressed(1 << 19)
    tries.progressed(1 << 19)
    _fail(tries, 1)
    tries.progressed((1 << 20) - 1)
    with pytest.raises(NetworkError):
        _fail(tries, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("", None), ("5", 5.0), (" 5 ", 5.0), ("soon", None), ("-5", None), ("9" * 400, 999_999_999.0)],
)
def test_retry_after_in_seconds(text: str | None, expected: float | None) -> None:
    assert parse_retry_after(text) == expected


@pytest.mark.parametrize(("minutes", "low", "high"), [(5, 290, 301), (-5, 0, 0)])
def test_retry_after_as_a_date(minutes: int, low: float, high: float) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    found = parse_retry_after(format_datetime(moment, usegmt=True))
    assert found is not None
    assert low <= found <= high


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 99 Jan 2020 00:00:00 +99999999999999",
        "1 Jan 20 99999999999999999999999:00:00",
        "Fri, 31 Dec 9999 23:59:59 -9999",
    ],
)
def test_an_impossible_date_says_nothing(text: str) -> None:
    assert parse_retry_after(text) is None
