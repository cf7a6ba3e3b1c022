"""What a fetch cost, added up from events, and what is said of it without a terminal."""

from __future__ import annotations

import pytest

from bootc.cli.account import Account
from bootc.cli.progress import listening
from bootc.events import (
    Event,
    FetchPlanned,
    LayerFetched,
    LayerImported,
    Phase,
    PhaseFinished,
    PhaseStarted,
    RequestMade,
)

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64

UPDATE: tuple[Event, ...] = (
    RequestMade(),
    PhaseStarted(Phase.RESOLVE),
    RequestMade(),
    PhaseFinished(Phase.RESOLVE, 0.25),
    FetchPlanned("sha256:e", layers_present=3, bytes_present=70_000, layers_needed=2, bytes_needed=3_000_000),
    PhaseStarted(Phase.IMPORT),
    RequestMade(ONE),
    LayerFetched(ONE, 1_000_000, 400_000, reused=600_000, seconds=0.5),
    RequestMade(TWO),
    RequestMade(TWO),
    LayerFetched(TWO, 2_000_000, 2_100_000, seconds=1.5),
    LayerImported(ONE),
    PhaseFinished(Phase.IMPORT, 2.0),
)


def account(*events: Event) -> Account:
    found = Account()
    for event in events:
        found(event)
    return found


def test_a_fetch_is_added_up() -> None:
    found = account(*UPDATE)
    assert (found.fetched, found.reused, found.saved) == (2_500_000, 600_000, 570_000)
    assert found.requests == {"": 2, ONE: 1, TWO: 2}
    assert found.seconds == {Phase.RESOLVE: 0.25, Phase.IMPORT: 2.0}
    assert [layer.digest for layer in found.layers] == [ONE, TWO]
    assert found.text() == "Fetched layers: 2.5 MB in 2.0 s (1.2 MB/s); saved: 570.0 kB"


def test_a_layer_that_is_fetched_again_is_one_layer_that_cost_more() -> None:
    first = LayerFetched(ONE, 1_000_000, 50_000, reused=950_000, seconds=1.0)
    found = account(first, LayerFetched(ONE, 1_000_000, 1_000_000, seconds=2.0))
    assert found.layers == (LayerFetched(ONE, 1_000_000, 1_050_000, seconds=3.0),)
    assert found.saved == 0


def test_a_phase_that_comes_twice_counts_twice() -> None:
    found = account(PhaseFinished(Phase.CLEAN, 0.5), PhaseFinished(Phase.CLEAN, 0.25))
    assert found.seconds == {Phase.CLEAN: 0.75}


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ((), None),
        ((PhaseFinished(Phase.IMPORT, 1.0),), None),
        (UPDATE[:-1], None),
        (
            (LayerFetched(ONE, 1000, 1000), PhaseFinished(Phase.IMPORT, 0.0)),
            "Fetched layers: 1.0 kB in 0.0 s",
        ),
        (
            (LayerFetched(ONE, 1000, 1500), PhaseFinished(Phase.IMPORT, 1.0)),
            "Fetched layers: 1.5 kB in 1.0 s (1.5 kB/s)",
        ),
    ],
    ids=["nothing", "nothing fetched", "not at its end", "no time", "fetched twice in parts, nothing saved"],
)
def test_what_people_are_told(events: tuple[Event, ...], text: str | None) -> None:
    assert account(*events).text() == text


@pytest.mark.parametrize("is_verbose", [False, True])
def test_without_a_terminal_the_cost_is_told_on_request(is_verbose: bool, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Account()
    with listening(is_verbose=is_verbose, account=kept) as report:
        for event in UPDATE:
            report(event)
    lines = [
        "Resolving image",
        "Resolving image: 0.2 s",
        "Importing image",
        "Importing image: 2.0 s",
        "Layer 111111111111: 400.0 kB of 1.0 MB in 0.5 s; reused: 600.0 kB; requests: 1",
        "Layer 222222222222: 2.1 MB of 2.0 MB in 1.5 s; requests: 2",
        "Fetched layers: 2.5 MB in 2.0 s (1.2 MB/s); saved: 570.0 kB",
        "Requests: 5",
    ]
    assert capsys.readouterr().err.splitlines() == (lines if is_verbose else [])
    assert kept.fetched == 2_500_000
