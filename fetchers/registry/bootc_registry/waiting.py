"""Waiting for time and for the network that ends soon after the user, or `close`, says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from bootc.errors import CancelledError

T = TypeVar("T")

_POLL = 0.25


class Waiting:
    """One for all threads of a fetcher. `check_cancelled` raises once the user asked to stop."""

    def __init__(self, check_cancelled: Callable[[], None]) -> None:
        self._check_cancelled = check_cancelled
        self._closed = threading.Event()

    def check(self) -> None:
        """Raise CancelledError if the work is to end."""
        self._check_cancelled()
        if self._closed.is_set():
            raise CancelledError("the fetcher was closed")

    def pause(self, seconds: float) -> None:
        """Do nothing for this time. Raises CancelledError."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._closed.wait(min(_POLL, left))
            self.check()

    def attend(self, work: Callable[[], T], abandon: Callable[[T], None]) -> T:
        """The result of `work`, which may block. Raises CancelledError, and leaves a late result to `abandon`.

        A connection that is being made cannot be interrupted, only left to a thread that nobody waits for.
        """
        task = _Task(work, abandon)
        threading.Thread(target=task.run, name="request", daemon=True).start()
        while not task.done.wait(_POLL):
            try:
                self.check()
            except BaseException:
                task.leave()
                raise
        return task.result()

    def watch(self, abort: Callable[[], None]) -> None:
        """Call `abort` again and again once the work is to end, from a thread of its own, until `close`."""
        threading.Thread(target=self._watch, args=(abort,), name="cancel", daemon=True).start()

    def close(self) -> None:
        """End all waiting, now and later."""
        self._closed.set()

    def _watch(self, abort: Callable[[], None]) -> None:
        while not self._closed.wait(_POLL):
            try:
                self._check_cancelled()
            except BaseException:  # Whatever it is, the threads that work will meet it too.
                abort()


class _Task(Generic[T]):
    def __init__(self, work: Callable[[], T], abandon: Callable[[T], None]) -> None:
        self.done = threading.Event()
        self._work, self._abandon = work, abandon
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._is_left = False

    def run(self) -> None:
        try:
            result = self._work()
        except BaseException as error:
            self._error = error
        else:
            with self._lock:
                self._results.append(result)
                if self._is_left:
                    self._end()
        self.done.set()

    def leave(self) -> None:
        with self._lock:
            self._is_left = True
            self._end()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _end(self) -> None:
        for result in self._results:
            with suppress(Exception):
                self._abandon(result)
