"""When to try again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from attrs import frozen

from bootc.errors import NetworkError
from bootc_registry.waiting import Waiting

_LONGEST_PAUSE = 60.0
_DOUBLINGS = 32
"""more make no pause longer, and numbers beyond measure"""
LONGEST_WISH = 120.0
"""seconds that a server may have us wait"""
_PROGRESS = 1 << 20
"""bytes after which a download counts as healthy, and its failures are forgotten"""


class Interruption(Exception):
    """A try failed in a way that the next one may not. `retry_after` is the server's own wish, in seconds."""

    def __init__(self, problem: str, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.problem, self.hint, self.retry_after = problem, hint, retry_after


@frozen
class RetryRule:
    """How often, how fast."""

    retries: int
    first_pause: float
    longest_wish: float = LONGEST_WISH

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, with up to a tenth more so that machines spread out."""
        doubled = self.first_pause * 2 ** min(failures - 1, _DOUBLINGS)
        return float(min(doubled, _LONGEST_PAUSE)) * random.uniform(1.0, 1.1)  # noqa: S311


class Tries:
    """The budget of one download."""

    def __init__(self, source: str, rule: RetryRule, waiting: Waiting) -> None:
        self._source, self._rule, self._waiting = source, rule, waiting
        self._failures = 0
        self._progress = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait out an interruption of the block. Raises NetworkError when the budget is spent."""
        try:
            yield
        except Interruption as interruption:
            self._failures += 1
            if self._failures > self._rule.retries:
                tries = f" ({self._failures} tries)" if self._failures > 1 else ""
                raise NetworkError(self._source, f"{interruption.problem}{tries}", interruption.hint) from interruption
            wish = min(interruption.retry_after or 0.0, self._rule.longest_wish)
            self._waiting.pause(wish or self._rule.pause(self._failures))

    def progressed(self, size: int) -> None:
        """Note bytes that arrived."""
        self._progress += size
        if self._progress >= _PROGRESS:
            self._progress = self._failures = 0


def parse_retry_after(text: str | None) -> float | None:
    """The header Retry-After: seconds, or a date (RFC 9110, 10.2.3). None if it is missing or makes no sense."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
