"""Waiting that ends when it is told to."""

from __future__ import annotations

import threading

import pytest
from bootc_registry.waiting import Waiting

from bootc.errors import CancelledError


def _cancelled() -> None:
    raise CancelledError


def test_closing_ends_a_pause() -> None:
    waiting = Waiting(lambda: None)
    waiting.close()
    with pytest.raises(CancelledError):
        waiting.pause(1000)
    with pytest.raises(CancelledError):
        waiting.check()


def test_work_that_is_attended_gives_its_result_or_its_error() -> None:
    waiting = Waiting(lambda: None)
    assert waiting.attend(lambda: 7, lambda late: None) == 7
    with pytest.raises(ZeroDivisionError):
        waiting.attend(lambda: 1 // 0, lambda late: None)


def test_a_result_that_comes_too_late_is_ended() -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> str:
        release.wait(10)
        return "late"

    with pytest.raises(CancelledError):
        Waiting(_cancelled).attend(work, lambda late: ended.set())
    release.set()
    assert ended.wait(10)


def test_watching_tells_of_the_users_wish() -> None:
    told = threading.Event()
    waiting = Waiting(_cancelled)
    waiting.watch(told.set)
    assert told.wait(10)
    waiting.close()
