"""What a running command shows: one stream of events, given to a terminal display, to JSON lines, or to nobody."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

from bootc.cli.account import Account
from bootc.cli.journal import Journal
from bootc.cli.progress_json import JsonLines
from bootc.cli.terminal import can_redraw, note
from bootc.events import Event, Notice, Phase, PhaseFinished, PhaseStarted, Report

LABELS = {
    Phase.PREPARE: "Preparing",
    Phase.RESOLVE: "Resolving image",
    Phase.CHECK: "Checking",
    Phase.IMPORT: "Importing image",
    Phase.STAGE: "Staging deployment",
    Phase.FINALIZE: "Finalizing deployment",
    Phase.PUBLISH: "Writing boot menu",
    Phase.CLEAN: "Cleaning up",
}


class Listener(Protocol):
    """Gets every event, one at a time."""

    def __call__(self, event: Event) -> None:
        """Show it, or not."""

    def close(self) -> None:
        """Nothing more will come."""


@contextmanager
def listening(
    *,
    is_quiet: bool = False,
    is_verbose: bool = False,
    progress_fd: int | None = None,
    account: Account | None = None,
) -> Iterator[Report]:
    """The `report` of a command. Events may come from several threads; listeners see one after the other."""
    with ExitStack() as stack:
        account = account or Account()
        listeners: list[Listener] = [account]
        if progress_fd is not None:
            listeners.append(JsonLines.open(progress_fd))
        listeners.append(_Unheard(_for_people(is_quiet, is_verbose, account)))
        listeners.append(Journal())
        for listener in listeners:
            stack.callback(listener.close)
        guard = threading.Lock()

        def report(event: Event) -> None:
            with guard:
                for listener in listeners:
                    listener(event)

        yield report


def _for_people(is_quiet: bool, is_verbose: bool, account: Account) -> Listener:
    if not is_quiet and not is_verbose and can_redraw(sys.stderr):
        from bootc.cli.progress_terminal import TerminalDisplay

        return TerminalDisplay(account)
    return PlainLines(is_quiet, is_verbose, account)


class _Unheard:
    """A listener for people, whose terminal may be gone or whose log may be full: that stops no update."""

    def __init__(self, inner: Listener) -> None:
        self._inner = inner

    def __call__(self, event: Event) -> None:
        with suppress(OSError):
            self._inner(event)

    def close(self) -> None:
        """Close the listener."""
        with suppress(OSError):
            self._inner.close()


def notice_text(notice: Notice) -> str:
    """A notice as a line."""
    return f"warning: {notice.message}" if notice.is_warning else notice.message


class PlainLines:
    """Notices on standard error, and with --verbose each phase and what the fetch cost; no progress."""

    def __init__(self, is_quiet: bool, is_verbose: bool, account: Account) -> None:
        self._is_quiet, self._is_verbose, self._account = is_quiet, is_verbose, account

    def __call__(self, event: Event) -> None:
        match event:
            case Notice():
                if event.is_warning or not self._is_quiet:
                    note(notice_text(event))
            case PhaseStarted() if self._is_verbose:
                note(LABELS[event.phase] + (f": {event.detail}" if event.detail else ""))
            case PhaseFinished() if self._is_verbose:
                note(f"{LABELS[event.phase]}: {event.seconds:.1f} s")
                for line in self._account.lines() if event.phase is Phase.IMPORT else ():
                    note(line)
            case _:
                return

    def close(self) -> None:
        """Nothing is open."""
