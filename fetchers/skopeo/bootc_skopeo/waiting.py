"""Waiting without being deaf: cancellation is heard within a second, and silence has an end."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from bootc.errors import NetworkError
from bootc_skopeo.failures import is_transient

Result = TypeVar("Result")

_STEP = 1000
"""milliseconds between two looks at whether the user asked to stop"""


def wait(descriptors: Sequence[int], check_cancelled: Callable[[], None], patience: float) -> list[int]:
    """Those from which something (or the end) can be read; none if `patience` seconds passed in silence."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    until = time.monotonic() + patience
    while True:
        left = int((until - time.monotonic()) * 1000)
        if ready := poll.poll(max(0, min(_STEP, left))):
            return [descriptor for descriptor, _ in ready]
        check_cancelled()
        if left <= 0:
            return []


def pause(seconds: float, check_cancelled: Callable[[], None]) -> None:
    """Sleep, in pieces."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check_cancelled()
        time.sleep(min(left, _STEP / 1000))


def attempt(action: Callable[[], Result], delays: Sequence[float], check_cancelled: Callable[[], None]) -> Result:
    """Do it; after a failure that may pass, again after each of these delays (seconds)."""
    for delay in delays:
        try:
            return action()
        except NetworkError as error:
            if not is_transient(error):
                raise
        pause(delay, check_cancelled)
    return action()
