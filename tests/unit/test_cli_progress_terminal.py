"""Progress bars, drawn on a terminal that is a string."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bootc.cli.account import Account
from bootc.cli.progress_terminal import TerminalDisplay
from bootc.events import (
    Event,
    FetchPlanned,
    LayerFetched,
    LayerImported,
    LayerProgress,
    Notice,
    Phase,
    PhaseFinished,
    PhaseStarted,
)

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def drawn(display: TerminalDisplay, width: int = 100) -> str:
    """What stands on the terminal now."""
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(display.renderable())
    return captured.get()


def test_phases_layers_and_notices() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)
    account = Account()
    inner = TerminalDisplay(account, console)

    def display(event: Event) -> None:
        account(event)
        inner(event)

    display(PhaseStarted(Phase.IMPORT, "reg/os[red]\x1b[2J"))
    display(FetchPlanned("sha256:x", 1, 10_000, 2, 3_000_000))
    display(LayerProgress(ONE, 500_000, 1_000_000))
    display(LayerProgress(TWO, 250_000, 2_000_000))
    shown = drawn(inner)
    assert "Importing image: reg/os[red]\\x1b[2J" in shown
    assert "layers 0/2" in shown
    assert "0.8/3.0 MB" in shown
    assert "layer 111111111111" in shown
    assert "0.5/1.0 MB" in shown
    assert "layer 222222222222" in shown

    display(LayerFetched(ONE, 1_000_000, 1_000_000))
    display(LayerImported(ONE))
    shown = drawn(inner)
    assert "layers 1/2" in shown
    assert "layer 111111111111" not in shown

    display(Notice("half full\x1b[2J", is_warning=True))
    display(PhaseFinished(Phase.IMPORT, 2.0))
    assert "layer" not in drawn(inner)
    inner.close()
    assert "warning: half full\\x1b[2J" in stream.getvalue()
    assert "Fetched layers: 1.0 MB in 2.0 s (500.0 kB/s); saved: 10.0 kB\n" in stream.getvalue()


@pytest.mark.parametrize("width", [40, 64, 80])
def test_a_long_name_on_a_narrow_terminal_hides_no_figures(width: int) -> None:
    display = TerminalDisplay(Account(), Console(file=io.StringIO(), force_terminal=True, width=width))
    display(PhaseStarted(Phase.IMPORT, f"docker://{'registry.example/' * 9}os:latest"))
    phase = drawn(display, width)
    display(FetchPlanned("sha256:x", 0, 0, 2, 3_000_000))
    display(LayerProgress(ONE, 500_000, 1_000_000))
    shown = drawn(display, width).splitlines()
    display.close()
    assert len(phase.splitlines()) == 1
    assert "bytes" not in phase
    assert len(shown) == 3
    assert "Importing image: docker://" in shown[0]
    assert [figure in shown[1] + shown[2] for figure in ("0.5/1.0 MB", "0.5/3.0 MB")] == [True, True]


def test_a_command_without_events_draws_nothing() -> None:
    stream = io.StringIO()
    TerminalDisplay(Account(), Console(file=stream, force_terminal=True)).close()
    assert stream.getvalue() == ""
