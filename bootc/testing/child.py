"""Processes of their own: with own mounts and process ids for a test, or plain ones for a part of it."""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from bootc.errors import BootcError, HostError

Value = TypeVar("Value")

_CLONE_NEWNS, _CLONE_NEWPID = 0x00020000, 0x20000000
_MS_PRIVATE_RECURSIVE = (1 << 18) | 16384
_CHUNK = 1 << 16


class ChildError(BootcError):
    """A child process raised, was killed, or took too long."""


def in_namespaces(function: Callable[[], Value], patience: float) -> Value:
    """What a function answers in a child with its own mount and PID namespaces; all that it started ends with it.

    The answer is pickled. Raises ChildError; HostError if this process may not make namespaces.
    """

    def inside() -> Value:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(None, b"/", None, ctypes.c_ulong(_MS_PRIVATE_RECURSIVE), None):
            raise HostError("cannot make mounts private")
        if libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None):
            raise HostError("cannot mount /proc in a PID namespace of its own")
        return function()

    def outside() -> Value:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID):
            raise HostError(f"cannot make namespaces: {os.strerror(ctypes.get_errno())}", "run the suite as root")
        return in_child(inside, patience)

    return in_child(outside, patience + 5)


def in_child(function: Callable[[], Value], patience: float = 60) -> Value:
    """What a function answers in a forked process. It must end within `patience` seconds, or is killed."""
    with started(function) as (pid, answer):
        data, deadline = b"", time.monotonic() + patience
        while True:
            ready, _, _ = select.select([answer], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                os.kill(pid, signal.SIGKILL)
                raise ChildError(f"a child process did not answer within {patience} seconds")
            piece = os.read(answer, _CHUNK)
            if not piece:
                break
            data += piece
    if not data:
        raise ChildError("a child process was killed")
    is_value, value = pickle.loads(data)  # noqa: S301 - our own child wrote it
    if not is_value:
        raise ChildError(f"a child process failed:\n{value}")
    answered: Value = value
    return answered


@contextmanager
def started(function: Callable[[], object]) -> Iterator[tuple[int, int]]:
    """A forked process that runs a function: its pid, and the end of the pipe on which its pickled answer arrives.

    It is waited for at the end.
    """
    answer, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(answer)
        _answer(function, writing)
    os.close(writing)
    try:
        yield pid, answer
    finally:
        os.close(answer)
        os.waitpid(pid, 0)


def _answer(function: Callable[[], object], writing: int) -> NoReturn:
    try:
        try:
            data = pickle.dumps((True, function()))
        except BaseException:
            data = pickle.dumps((False, traceback.format_exc()))
        with open(writing, "wb") as pipe:
            pipe.write(data)
    finally:
        os._exit(0)
