"""Signals ask for the end; the operation ends where it is safe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from bootc.errors import CancelledError
from bootc.host import Signals, obey_again
from bootc.host.signals import SIGNALS


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGTERM, "cancelled: terminated"),
        (signal.SIGINT, "cancelled: interrupted"),
        (signal.SIGHUP, "cancelled: the terminal was closed"),
    ],
)
def test_a_signal_is_obeyed_at_the_next_check(number: signal.Signals, reason: str) -> None:
    with Signals().active() as signals:
        signals.check_cancelled()
        os.kill(os.getpid(), number)
        with pytest.raises(CancelledError) as caught:
            signals.check_cancelled()

    assert caught.value.message == reason


def test_a_second_signal_changes_nothing() -> None:
    with Signals().active() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(CancelledError, match="terminated"):
            signals.check_cancelled()
        with pytest.raises(CancelledError, match="terminated"):
            signals.check_cancelled()


def test_a_shielded_section_is_finished_first() -> None:
    with Signals().active() as signals:
        with signals.shielded(), signals.shielded():
            os.kill(os.getpid(), signal.SIGTERM)
            signals.check_cancelled()
        with pytest.raises(CancelledError):
            signals.check_cancelled()


def test_what_is_abandoned_ends_and_nothing_else() -> None:
    signals = Signals()
    with pytest.raises(CancelledError, match="nobody"), signals.abandoned():
        signals.check_cancelled()
    signals.check_cancelled()


def test_an_error_in_a_shielded_section_lifts_the_shield() -> None:
    signals = Signals()
    with pytest.raises(ZeroDivisionError), signals.shielded():
        raise ZeroDivisionError
    signals.cancel("interrupted")

    with pytest.raises(CancelledError):
        signals.check_cancelled()


def test_threads_are_cancelled_too() -> None:
    seen = []

    def work(signals: Signals) -> None:
        try:
            signals.check_cancelled()
        except CancelledError as error:
            seen.append(error.message)

    with Signals().active() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        signals.reason  # noqa: B018 - a point at which Python delivers the signal
        thread = threading.Thread(target=work, args=(signals,))
        thread.start()
        thread.join()

    assert seen == ["cancelled: terminated"]


def _handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


def test_handlers_are_put_back_after_a_failure() -> None:
    before = _handlers()
    with pytest.raises(ZeroDivisionError), Signals().active():
        assert signal.getsignal(signal.SIGTERM) not in before
        raise ZeroDivisionError

    assert _handlers() == before


def test_what_succeeded_is_not_cancelled_any_more() -> None:
    with Signals().active():
        pass
    assert _handlers() == [signal.SIG_IGN] * len(SIGNALS)
    os.kill(os.getpid(), signal.SIGTERM)

    obey_again()
    assert _handlers() == [signal.SIG_DFL] * len(SIGNALS)


WORK = """
import signal, sys
from bootc.errors import CancelledError
from bootc.host import Signals

ignored = [getattr(signal, name) for name in sys.argv[1:]]
for number in ignored:
    signal.signal(number, signal.SIG_IGN)
with Signals().active() as signals:
    print("ready", flush=True)
    try:
        while True:
            signals.check_cancelled()
            line = sys.stdin.readline()
            if not line:
                break
            print("did", line.strip(), flush=True)
    except CancelledError as error:
        print(error, flush=True)
"""


def test_a_real_process_unwinds_and_what_nohup_ignores_stays_ignored() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, "SIGHUP"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    print("one", file=process.stdin, flush=True)
    assert process.stdout.readline() == "did one\n"
    process.send_signal(signal.SIGTERM)

    output = process.communicate("two\n")[0]
    assert output.removeprefix("did two\n") == "cancelled: terminated\n"
    assert process.returncode == 0
