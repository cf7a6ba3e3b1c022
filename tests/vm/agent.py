"""The QEMU guest agent's protocol: JSON lines over a socket, synchronised anew after each reboot of the guest."""

import base64
import contextlib
import itertools
import json
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME=/root", "LC_ALL=C.UTF-8")
RESYNC = 10.0
"""Seconds after which an unanswered synchronisation is sent again: a reboot may have swallowed it."""


class AgentTimeout(Exception):
    """The guest agent gave no answer before the deadline."""


class AgentFailure(Exception):
    """The guest agent refused a request; the message is its own."""


@dataclass(frozen=True)
class Execution:
    """A finished command in the guest, with its output as bytes (the agent keeps at most 16 MiB of each stream)."""

    rc: int
    out: bytes
    err: bytes


class GuestAgent:
    """Talks to qemu-ga at the other end of `channel`; `check` raises when there is no machine left to wait for.

    Deadlines are values of `time.monotonic()`.
    """

    def __init__(self, channel: socket.socket, check: Callable[[], None]) -> None:
        self._channel = channel
        self._check = check
        self._buffer = b""
        self._numbers = itertools.count(1)

    def synchronize(self, deadline: float) -> None:
        """Wait until the agent answers, and drop what is left of earlier, unanswered requests."""
        sent: set[int] = set()
        while time.monotonic() < deadline:
            number = next(self._numbers)
            sent.add(number)
            # The leading byte makes the agent's parser drop half a request that a reboot left in the channel.
            self._send({"execute": "guest-sync-delimited", "arguments": {"id": number}}, prefix=b"\xff")
            try:
                while self._receive(min(deadline, time.monotonic() + RESYNC)).get("return") != max(sent):
                    pass
            except AgentTimeout:
                continue
            return
        raise AgentTimeout("the guest agent did not answer")

    def call(self, command: str, deadline: float, **arguments: object) -> Any:
        """Execute one agent command and return its value."""
        self._send({"execute": command, "arguments": arguments})
        answer = self._receive(deadline)
        if "error" in answer:
            raise AgentFailure(f"{command}: {answer['error'].get('desc', answer['error'])}")
        return answer["return"]

    def execute(self, command: Sequence[str], stdin: bytes, deadline: float) -> Execution:
        """Run a program in the guest and wait for its end."""
        arguments: dict[str, object] = {"path": command[0], "arg": list(command[1:]), "env": list(ENVIRONMENT)}
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        process = self.call("guest-exec", deadline, **arguments, **{"capture-output": True})["pid"]
        pause = 0.02
        while not (status := self.call("guest-exec-status", deadline, pid=process))["exited"]:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        out, err = (base64.b64decode(status.get(name, "")) for name in ("out-data", "err-data"))
        return Execution(status.get("exitcode", 128 + status.get("signal", 0)), out, err)

    def start(self, command: Sequence[str], deadline: float) -> None:
        """Start a program and do not wait for it: for those that take the agent down with them."""
        self.call("guest-exec", deadline, path=command[0], arg=list(command[1:]), env=list(ENVIRONMENT))

    def _send(self, request: dict[str, object], prefix: bytes = b"") -> None:
        # A reset is QEMU's end: waiting for the answer tells.
        with contextlib.suppress(BrokenPipeError):
            self._channel.sendall(prefix + json.dumps(request).encode() + b"\n")

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._check()
            left = deadline - time.monotonic()
            if left <= 0:
                raise AgentTimeout("the guest agent did not answer in time")
            if select.select([self._channel], [], [], min(left, 1.0))[0]:
                with contextlib.suppress(ConnectionResetError):
                    self._buffer += self._channel.recv(1 << 16)
        line, self._buffer = self._buffer.split(b"\n", 1)
        # Half an answer of a guest that went away may stand before the delimiter of the next one.
        return dict(json.loads(line.rsplit(b"\xff", 1)[-1]))
