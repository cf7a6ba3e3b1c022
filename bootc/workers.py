"""Threads that do many small jobs side by side, while the caller reads what the next ones are about."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

Job = TypeVar("Job")

THREADS = 2
_BATCH = 256 << 10
"""bytes of jobs that are handed over together: waking a thread costs more than a small job"""
_JOB = 1 << 10
"""bytes that a job counts as besides those that it holds: many that hold none are handed over, too"""
_WAITING = 4
"""batches that may lie ready"""


class Workers(Generic[Job]):
    """Calls `work` for each job, in threads, in no order that could be relied on. A context manager: leaving it waits
    for all jobs, or drops those not begun if it is left by an error.

    A job that fails ends the work: `put` and leaving raise what the first one raised. Memory is bounded if the caller
    bounds the size of a single job.
    """

    def __init__(self, work: Callable[[Job], object], name: str, threads: int = THREADS) -> None:
        self._work = work
        self._batches: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._room = threading.Semaphore(threads + _WAITING)
        self._batch: list[Job] = []
        self._size = 0
        self._error: BaseException | None = None
        self._is_dropped = False
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Workers[Job]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_dropped = kind is not None
        if self._batch:
            self._batches.put(self._batch)
        for _ in self._threads:
            self._batches.put(None)
        for thread in self._threads:
            thread.join()
        if self._error and kind is None:
            raise self._error

    def put(self, job: Job, size: int) -> None:
        """Have a job done that holds `size` bytes; waits while much is still to be done. Raises what a job raised."""
        self._batch.append(job)
        self._size += size + _JOB
        if self._size < _BATCH:
            return
        self._room.acquire()
        if self._error:
            raise self._error
        batch, self._batch, self._size = self._batch, [], 0
        self._batches.put(batch)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                for job in batch:
                    if self._is_dropped or self._error:
                        break
                    self._work(job)
            except BaseException as error:
                self._error = self._error or error
            finally:
                self._room.release()
