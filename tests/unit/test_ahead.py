"""Content that a thread reads ahead is the same content, with the same errors, and the thread always ends."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from bootc.ahead import Ahead
from bootc.errors import CancelledError, NetworkError
from bootc.fetcher import Readable

MIB = 1 << 20
CONTENT = os.urandom(3 * MIB + 5)


def _no_cancel() -> None:
    return None


class _Failing:
    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(min(size, 1000))
        if not data:
            raise NetworkError("host.example/os", "cut")
        return data


class _Endless:
    """Gives without end, and counts."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check, self.given = check, 0

    def read(self, size: int = -1, /) -> bytes:
        self._check()
        self.given += size
        return bytes(size)


class _Waiting:
    """Has nothing, and waits as one waits for a network."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check, self.asked = check, threading.Event()

    def read(self, size: int = -1, /) -> bytes:
        self.asked.set()
        while True:
            self._check()
            threading.Event().wait(0.001)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("size", [-1, 1000, MIB, 10 * MIB])
def test_the_content_is_the_same_in_pieces_of_any_size(size: int) -> None:
    with Ahead(_no_cancel).reading(io.BytesIO(CONTENT)) as stream:
        assert b"".join(iter(lambda: stream.read(size), b"")) == CONTENT
        assert stream.read(size) == b""


def test_mixed_sizes_do_not_mix_the_content_up() -> None:
    with Ahead(_no_cancel).reading(io.BytesIO(CONTENT)) as stream:
        parts = [stream.read(size) for size in (1, 0, 512, MIB, -1)]
        parts += iter(lambda: stream.read(777_777), b"")
    assert b"".join(parts) == CONTENT


def test_an_error_comes_after_all_that_came_before_it() -> None:
    with Ahead(_no_cancel).reading(_Failing(b"x" * 5000)) as stream:
        assert b"".join(stream.read(1000) for _ in range(5)) == b"x" * 5000
        for _ in range(2):
            with pytest.raises(NetworkError):
                stream.read(1)


def test_two_in_a_row_are_as_one() -> None:
    ahead = Ahead(_no_cancel)
    with ahead.reading(io.BytesIO(CONTENT)) as first, ahead.reading(first) as second:
        assert b"".join(iter(lambda: second.read(100_000), b"")) == CONTENT
    ahead = Ahead(_no_cancel)
    with ahead.reading(_Failing(b"x" * 5000)) as first, ahead.reading(first) as second:
        assert b"".join(second.read(1000) for _ in range(5)) == b"x" * 5000
        with pytest.raises(NetworkError):
            second.read(1)


def test_not_much_more_is_read_than_is_asked_for() -> None:
    ahead = Ahead(_no_cancel)
    endless = _Endless(ahead.check)
    with ahead.reading(endless) as stream:
        for _ in range(100):
            stream.read(MIB)
    assert 100 * MIB <= endless.given <= 110 * MIB


@pytest.mark.parametrize("is_endless", [False, True], ids=["nothing comes", "too much comes"])
@pytest.mark.parametrize("stages", [1, 2])
def test_who_leaves_early_waits_for_nobody(stages: int, is_endless: bool) -> None:
    ahead = Ahead(_no_cancel)
    source = _Endless(ahead.check) if is_endless else _Waiting(ahead.check)
    with pytest.raises(ZeroDivisionError), ExitStack() as stack:
        stream: Readable = source
        for _ in range(stages):
            stream = stack.enter_context(ahead.reading(stream))
        if isinstance(source, _Waiting):
            assert source.asked.wait(30)
        raise ZeroDivisionError


def test_the_user_s_wish_ends_the_reading() -> None:
    wish = threading.Event()

    def check() -> None:
        if wish.is_set():
            raise CancelledError

    ahead = Ahead(check)
    waiting = _Waiting(ahead.check)
    with ahead.reading(waiting) as stream:
        assert waiting.asked.wait(30)
        wish.set()
        with pytest.raises(CancelledError):
            stream.read(1)
