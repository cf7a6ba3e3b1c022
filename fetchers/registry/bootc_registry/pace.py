"""How fast bytes may come in: one limit for all connections of a fetcher."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(k|K|M|G|Ki|Mi|Gi|)(B|bit)/s")
_FACTORS = {"": 1, "k": 1000, "K": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_SLOWEST = 1000
_CREDIT = 0.05
"""seconds of silence that may be made up for: sleeping takes longer than it should"""
_SHARE = 8
"""pieces that make up a second, so that several connections take turns"""
_UNLIMITED = 1 << 30


class Pace:
    """For several threads. `rate` is in bytes per second; None: as fast as it goes."""

    def __init__(
        self, rate: float | None, pause: Callable[[float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._pause, self._clock = rate, pause, clock
        self._lock = threading.Lock()
        self._free = 0.0
        self.most = _UNLIMITED if rate is None else max(1, int(rate / _SHARE))
        """bytes to receive at once"""

    def spend(self, size: int) -> None:
        """Wait until bytes that were received were worth their time; what others receive meanwhile comes after it."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._free = max(self._free, now - _CREDIT) + size / self._rate
            wait = self._free - now
        if wait > 0:
            self._pause(wait)


def parse_rate(text: str) -> float | None:
    """Bytes per second from `5 MB/s`, `512 KiB/s`, `20 Mbit/s`; None for `none`. Raises ValueError."""
    if text == "none":
        return None
    parsed = _RATE.fullmatch(text)
    if parsed is None:
        raise ValueError(f"{text!r} is not a rate; write it like 5 MB/s, 512 KiB/s or 20 Mbit/s, or none")
    rate = float(parsed[1]) * _FACTORS[parsed[2]] / (8 if parsed[3] == "bit" else 1)
    if rate < _SLOWEST:
        raise ValueError(f"{text!r} is less than {_SLOWEST} bytes per second")
    return rate
