"""One `skopeo experimental-image-proxy` process: JSON packets on a SOCK_SEQPACKET socket, data through pipes.

The process handles one request after the other. A pipe's write end stays open until FinishPipe was asked for, and
FinishPipe stops the whole process until the data was drained: `read_pipe` and `pipes.FinishedPipe` therefore send it
right after the reply that brought the pipe, read to the end, and receive its reply last.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from attrs import frozen

from bootc.errors import CancelledError, NetworkError, ProtocolError, UnsupportedError
from bootc.machine import Command, end
from bootc_skopeo.failures import failure, last_words
from bootc_skopeo.waiting import wait

_LAST_PATIENCE = 0.5
"""seconds in which it may end by itself: one that waits for a server does not"""
_REPLY_LIMIT = 256 << 10
_REQUEST_LIMIT = (32 << 10) - 1
_LOG_LIMIT = 4096
_OLDEST = 3
_CHUNK = 1 << 16


@frozen
class Patience:
    """How long skopeo may say nothing, in seconds."""

    reply: float = 900.0
    """opening an archive unpacks it first, and storage copies a layer to a temporary file before it answers"""
    data: float = 120.0
    """without a single byte of data"""


@frozen
class Reply:
    """The answer to one request; who gets it owns the descriptors."""

    value: Any
    pipe_id: int
    descriptors: tuple[int, ...]


class Proxy:
    """The process and its socket. Threads may share it for `call`; a pending FinishPipe needs it for itself."""

    def __init__(
        self, command: Command, reference: str, check_cancelled: Callable[[], None], patience: Patience | None = None
    ) -> None:
        self._reference, self._check_cancelled = reference, check_cancelled
        self.patience = patience or Patience()
        self._lock = threading.Lock()
        self._free, self._users = threading.Condition(), 0
        self._log = os.memfd_create("skopeo-stderr")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._is_closed = False
        try:
            with theirs:
                self._child = command.start(stdin=theirs.fileno(), stderr=self._log)
        except BaseException:
            self._socket.close()
            os.close(self._log)
            raise
        try:
            self.level = self._initialize()
        except BaseException:
            self.close()
            raise

    @property
    def check_cancelled(self) -> Callable[[], None]:
        """Raises CancelledError once the user asked to stop."""
        return self._check_cancelled

    @property
    def reference(self) -> str:
        """The logical reference, for errors."""
        return self._reference

    def call(self, method: str, *arguments: object, descriptors: int = 0) -> Reply:
        """One request and its reply, which must bring this many descriptors. Raises FetchError."""
        with self._lock:
            self.send(method, *arguments)
            reply = self.receive()
        if len(reply.descriptors) != descriptors:
            close_all(reply.descriptors)
            raise self._broken(f"{method} brought {len(reply.descriptors)} descriptors instead of {descriptors}")
        return reply

    def read_pipe(self, method: str, *arguments: object, limit: int) -> tuple[Any, bytes]:
        """The value of a reply and all that comes through its pipe, at most `limit` bytes."""
        reply = self.call(method, *arguments, descriptors=1)
        pipe = reply.descriptors[0]
        data = bytearray()
        try:
            self.send("FinishPipe", reply.pipe_id)
            while piece := self.read_data(pipe, _CHUNK, is_finishing=True):
                data += piece
                if len(data) > limit:
                    raise self._broken(f"{method} brought more than {limit} bytes")
        finally:
            os.close(pipe)
        self.receive()
        return reply.value, bytes(data)

    def send(self, method: str, *arguments: object) -> None:
        """Send a request without waiting for the reply."""
        packet = json.dumps({"method": method, "args": arguments}).encode()
        if len(packet) > _REQUEST_LIMIT:
            raise self._broken("name is too long for skopeo")
        with self._used():
            try:
                self._socket.send(packet)
            except OSError as error:
                raise self._death() from error

    def receive(self) -> Reply:
        """The next reply. Raises the error that it reports."""
        with self._used():
            return self._receive()

    def read_data(self, pipe: int, size: int, is_finishing: bool) -> bytes:
        """What a pipe has, at most `size` bytes; b"" at its end. Raises NetworkError after a long silence.

        With FinishPipe under way its reply, or the end of the process, is the end of the data as well.
        """
        with self._used():
            watched = [pipe, self._socket.fileno()] if is_finishing else [pipe]
            ready = wait(watched, self._check_cancelled, self.patience.data)
            if not ready:
                raise NetworkError(self._reference, f"no data arrived for {self.patience.data:.0f} seconds")
            # What was written before the reply may have come between the looks at the pipe and at the socket.
            if pipe in ready or wait([pipe], self._check_cancelled, 0):
                return os.read(pipe, size)
            return b""

    def close(self) -> None:
        """End the process; may be called twice. Who still reads from a pipe of it gets an end or an error."""
        with self._free:
            if self._is_closed:
                return
            self._is_closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        end(self._child, _LAST_PATIENCE)
        with self._free:  # threads that were waiting have been woken; their descriptors must stay theirs till then
            self._free.wait_for(lambda: not self._users)
        self._socket.close()
        os.close(self._log)

    @contextmanager
    def _used(self) -> Iterator[None]:
        """The descriptors stay open inside. Raises CancelledError if they are closed already."""
        with self._free:
            if self._is_closed:
                raise CancelledError("the fetcher was closed")
            self._users += 1
        try:
            yield
        finally:
            with self._free:
                self._users -= 1
                self._free.notify_all()

    def _receive(self) -> Reply:
        if not wait([self._socket.fileno()], self._check_cancelled, self.patience.reply):
            raise NetworkError(self._reference, f"skopeo gave no answer in {self.patience.reply:.0f} seconds")
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._socket, _REPLY_LIMIT, 4, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise self._death() from error
        if not data:
            raise self._death()
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise self._broken("a reply is too long")
            return self._reply(data, tuple(descriptors))
        except BaseException:
            close_all(descriptors)
            raise

    def _initialize(self) -> int:
        version = self.call("Initialize").value
        parsed = re.fullmatch(r"0\.2\.(\d{1,4})(?:[-+].*)?", version if isinstance(version, str) else "")
        if parsed is None or int(parsed[1]) < _OLDEST:
            problem = f"skopeo speaks version {version!r} of its protocol, which is not supported"[:200]
            raise UnsupportedError(self._reference, problem, f"install a skopeo that speaks 0.2.{_OLDEST} or later")
        return int(parsed[1])

    def _reply(self, data: bytes, descriptors: tuple[int, ...]) -> Reply:
        try:
            reply = json.loads(data)
            success, value, pipe_id = reply["success"], reply["value"], reply["pipeid"]
            text, code = str(reply["error"]), str(reply.get("error_code") or "")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._broken("a reply is not what the protocol says") from error
        if success is not True:
            raise failure(self._reference, text or "no reason given", code)
        if not isinstance(pipe_id, int):
            raise self._broken("a reply is not what the protocol says")
        return Reply(value, pipe_id, descriptors)

    def _broken(self, problem: str) -> ProtocolError:
        return ProtocolError(self._reference, f"skopeo: {problem}")

    def _death(self) -> ProtocolError:
        """The socket is at its end; what the process printed last is the only reason there is."""
        code = end(self._child)
        size = os.fstat(self._log).st_size
        words = last_words(os.pread(self._log, _LOG_LIMIT, max(0, size - _LOG_LIMIT)))
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"
        return self._broken(how + (f": {words}" if words else ""))


def close_all(descriptors: tuple[int, ...] | list[int]) -> None:
    """Close them; nothing is lost, for they were only read from."""
    for descriptor in descriptors:
        os.close(descriptor)
