"""Signals that ask an operation to end: noted when they come, obeyed where it is safe."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bootc.errors import CancelledError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_REASONS = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted", signal.SIGHUP: "the terminal was closed"}


def obey_again() -> None:
    """Let signals end the process, as they do by default: for a process that lives on when its operation is over."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


class Signals:
    """One per command. Signals only set a flag, however often they come; `check_cancelled` turns it into an error."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """why the operation shall end; None: it shall not"""
        self._shields = self._abandoned = 0

    @contextmanager
    def active(self) -> Iterator[Signals]:
        """Note the signals in here. Those that were ignored (nohup, a shell's background job) stay so.

        Once the operation succeeded they are ignored, for the rest of the process: what is in force is never called
        cancelled. `obey_again` undoes that.
        """
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._note)
        try:
            yield self
        except BaseException:
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)
            raise
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def check_cancelled(self) -> None:
        """Raise CancelledError if the operation shall end; call it in every long loop, from any thread."""
        if self._abandoned:
            raise CancelledError("nobody waits for it any more")
        if self.reason is not None and not self._shields:
            raise CancelledError(self.reason)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Nothing is cancelled in here: for steps that belong together. What came is obeyed by the next check."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    @contextmanager
    def abandoned(self) -> Iterator[None]:
        """What other threads wait for is cancelled in here: for the end of work that nobody needs any more."""
        self._abandoned += 1
        try:
            yield
        finally:
            self._abandoned -= 1

    def cancel(self, reason: str) -> None:
        """Ask for the end without a signal. The first reason is kept."""
        self.reason = self.reason or reason

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.cancel(_REASONS.get(signal.Signals(number), "interrupted"))
