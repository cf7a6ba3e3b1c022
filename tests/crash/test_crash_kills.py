"""A sample of the kills of the installed command; `python -m tests.crash` does more of them."""

from __future__ import annotations

import pytest

from tests.crash.campaign import ground
from tests.crash.kills import Update

pytestmark = pytest.mark.root


@pytest.mark.parametrize(("backend", "most"), [("ostree", 4), ("dirimage", 2), ("composefs", 2)])
def test_a_command_may_be_killed_before_any_system_call(backend: str, most: int) -> None:
    with ground() as folder:
        report = Update.of(backend, folder).killed(most=most)

    assert report.states == most
    assert not report.violations, report
