"""Processes of the kit: what they answer, and how they end."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from bootc.testing.child import ChildError, in_child


def test_the_answer_comes_back() -> None:
    here = os.getpid()
    assert in_child(lambda: (os.getppid(), "x" * 1_000_000)) == (here, "x" * 1_000_000)


def test_a_failure_is_told_with_its_place() -> None:
    with pytest.raises(ChildError, match=r"test_testing_child(.|\n)*ValueError: seven"):
        in_child(_fail)


def _fail() -> int:
    raise ValueError("seven")


def test_a_killed_child_is_an_error() -> None:
    with pytest.raises(ChildError, match="killed"):
        in_child(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_a_child_that_hangs_is_killed() -> None:
    with pytest.raises(ChildError, match=r"did not answer within 0\.2 seconds"):
        in_child(lambda: threading.Event().wait(), patience=0.2)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
