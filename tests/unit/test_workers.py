"""Threads that share jobs: all are done once, the first failure is told, and what waits is bounded."""

from __future__ import annotations

import threading

import pytest

from bootc.workers import THREADS, Workers

LARGE = 1 << 20


class Failure(Exception):
    pass


def test_each_job_is_done_once_in_a_thread() -> None:
    done: list[tuple[int, bool]] = []
    main = threading.current_thread()
    with Workers[int](lambda job: done.append((job, threading.current_thread() is main)), "test") as workers:
        for number in range(5000):
            workers.put(number, number % 1000 * 100)
    assert sorted(number for number, _ in done) == list(range(5000))
    assert not any(is_main for _, is_main in done)
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]


def test_two_jobs_are_done_at_once() -> None:
    meeting = threading.Barrier(THREADS, timeout=20)
    with Workers[int](lambda _: meeting.wait(), "test") as workers:
        for number in range(THREADS):
            workers.put(number, LARGE)


@pytest.mark.parametrize("size", [1, LARGE])
def test_the_failure_of_a_job_is_raised_and_ends_the_work(size: int) -> None:
    done: list[int] = []

    def work(job: int) -> None:
        if job == 3:
            raise Failure(job)
        done.append(job)

    with pytest.raises(Failure, match="3"), Workers(work, "test") as workers:
        for number in range(1000):
            workers.put(number, size)
    assert 3 not in done
    assert len(done) < 900
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]


def test_an_error_of_the_caller_drops_what_is_not_begun() -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()
    done: list[int] = []

    def work(job: int) -> None:
        begun.release()
        assert may_end.wait(20)
        done.append(job)

    with pytest.raises(Failure), Workers(work, "test") as workers:
        for number in range(THREADS + 2):
            workers.put(number, LARGE)
        for _ in range(THREADS):
            assert begun.acquire(timeout=20)
        threading.Timer(0.2, may_end.set).start()
        raise Failure
    assert sorted(done) == list(range(THREADS))


def test_who_gives_more_than_is_done_waits() -> None:
    given: list[int] = []
    may_end = threading.Event()

    def give() -> None:
        with Workers[int](lambda _: may_end.wait(20), "test") as workers:
            for number in range(100):
                workers.put(number, LARGE)
                given.append(number)

    giver = threading.Thread(target=give)
    giver.start()
    giver.join(0.5)
    assert giver.is_alive()
    assert THREADS <= len(given) < 20
    may_end.set()
    giver.join(20)
    assert len(given) == 100
