"""A limit of bytes per second: how it is written, and that it is kept."""

from __future__ import annotations

import pytest
from bootc_registry.options import RegistryOptions
from bootc_registry.pace import Pace, parse_rate

from bootc.config.tables import Table
from bootc.config.typed import convert
from bootc.errors import ConfigError


class _Time:
    """A clock that pauses move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("none", None),
        ("5 MB/s", 5e6),
        ("5MB/s", 5e6),
        ("1.5 GB/s", 1.5e9),
        ("512 KiB/s", 512 * 1024),
        ("2 MiB/s", 2 << 20),
        ("1 GiB/s", 1 << 30),
        ("20 Mbit/s", 2.5e6),
        ("8 kbit/s", 1000),
        ("1000 B/s", 1000),
        ("1 KB/s", 1000),
    ],
)
def test_rates_are_written_as_people_write_them(text: str, rate: float | None) -> None:
    assert parse_rate(text) == rate
    table = Table.of({"limit": text}, "f.toml")
    assert convert(RegistryOptions, table, ("fetchers", "registry")).bytes_per_second == rate


@pytest.mark.parametrize(
    "value", ["", "5", "5 MB", "-5 MB/s", "0 MB/s", "999 B/s", "5 mb/s", "5 MB/h", "1e9 B/s", 5, "∞"]
)
def test_what_is_no_rate_is_refused_by_file_and_key(value: object) -> None:
    with pytest.raises(ConfigError, match=r"f\.toml.*fetchers\.registry\.limit"):
        convert(RegistryOptions, Table.of({"limit": value}, "f.toml"), ("fetchers", "registry"))


@pytest.mark.parametrize("rate", [1000.0, 5e6, 1e9])
def test_bytes_take_the_time_that_they_are_worth(rate: float) -> None:
    time = _Time()
    pace = Pace(rate, time.pause, time.clock)
    began, size = time.now, 0
    while size < 10 * rate:
        size += pace.most
        pace.spend(pace.most)
    assert size / rate - 0.06 <= time.now - began <= size / rate


def test_silence_earns_little() -> None:
    """A server that stalled does not get an hour's bytes at once."""
    time = _Time()
    pace = Pace(1000.0, time.pause, time.clock)
    time.now += 3600
    began = time.now
    for _ in range(80):
        pace.spend(pace.most)
    assert time.now - began >= 9.9


def test_sleeping_too_long_is_made_up_for() -> None:
    time = _Time()
    pace = Pace(1e6, lambda seconds: time.pause(seconds + 0.01), time.clock)
    began = time.now
    for _ in range(80):
        pace.spend(125_000)
    assert time.now - began <= 10.02


def test_without_a_limit_nothing_waits() -> None:
    def never(seconds: float) -> None:
        pytest.fail("waited")

    pace = Pace(None, never)
    pace.spend(1 << 40)
    assert pace.most >= 1 << 20
