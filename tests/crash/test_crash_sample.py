"""A sample of the power-cut campaign; `python -m tests.crash` is the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.campaign import Campaign, Thoroughness, ground
from tests.crash.kinds import KINDS
from tests.crash.machine import Kind
from tests.crash.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.root

EVERY = 47
WIDTH = 3


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with ground() as at:
        yield at


@pytest.fixture(scope="module")
def campaign(folder: Path) -> Callable[[Kind], Campaign]:
    """The campaign of a backend, made ready once."""
    made: dict[str, Campaign] = {}

    def of(kind: Kind) -> Campaign:
        if kind.name not in made:
            made[kind.name] = Campaign.of(kind, folder)
        return made[kind.name]

    return of


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_power_may_fail_at_any_moment(campaign: Callable[[Kind], Campaign], kind: Kind, scenario: Scenario) -> None:
    seed = KINDS.index(kind) * len(SCENARIOS) + SCENARIOS.index(scenario)
    report = campaign(kind).run(scenario, Thoroughness(WIDTH, EVERY, seed))

    assert report.states > 3
    assert not report.violations, report
