"""A response on its way: its body is read as it comes, with an eye on servers that stall."""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any

from bootc.errors import ProtocolError
from bootc_registry.addresses import authority
from bootc_registry.pace import Pace
from bootc_registry.retry import Interruption
from bootc_registry.troubles import explained

_RECEIVE = 256 << 10
_GATHER = 0.05
"""seconds for which small receives (TLS gives 16 KiB at most) are put together"""
_LEFTOVER = 64 << 10
"""bytes of an unwanted body that are read to keep the connection"""
_SLOWEST = 1000
"""bytes per second; a server slower than this for two read time-outs counts as stalled"""


class Answer:
    """A response whose body is still to be read. Not for several threads, but `abort` may come from any."""

    def __init__(
        self, address: str, status: int, headers: Mapping[str, str], raw: Any, patience: float, pace: Pace
    ) -> None:
        self.address, self.status, self.headers = address, status, headers
        self._raw, self._patience, self._pace = raw, patience, pace
        self._waited, self._received = 0.0, 0
        self._interruption: Interruption | None = None

    @property
    def host(self) -> str:
        """HOST[:PORT] that answered; the address itself can hold secrets."""
        return authority(self.address)

    @property
    def length(self) -> int | None:
        """Content-Length, if it is a plain number."""
        text = self.headers.get("Content-Length", "")
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None

    @property
    def is_encoded(self) -> bool:
        """Whether the server claims to have compressed the body, although it was asked not to."""
        return self.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")

    def read(self, size: int) -> bytes:
        """What is there, at most `size` bytes; b"" at the end. Raises Interruption, after all that came before it."""
        if self._interruption is not None:
            raise self._interruption
        data = self._receive(min(size, _RECEIVE))
        end = time.monotonic() + _GATHER
        parts, left = [data], min(size, _RECEIVE) - len(data)
        while data and left and time.monotonic() < end and self._has_more():
            try:
                data = self._receive(left)
            except Interruption as interruption:
                self._interruption = interruption
                break
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def read_all(self, limit: int, source: str) -> bytes:
        """The whole body. Raises Interruption if it is cut, ProtocolError if it has more than `limit` bytes."""
        expected = self.length
        parts: list[bytes] = []
        size = 0
        while size <= limit and (data := self.read(limit + 1 - size)):
            parts.append(data)
            size += len(data)
        if size > limit:
            self.close()
            raise ProtocolError(source, f"the answer is larger than {limit} bytes")
        if expected is not None and size < expected:
            self.close()
            raise Interruption("the connection was cut")
        self._release()
        return b"".join(parts)

    def is_at_end(self) -> bool:
        """Read on where the end must be, and give the connection back; False if there is more."""
        if self.read(1):
            self.close()
            return False
        self._release()
        return True

    def discard(self) -> None:
        """Have done with a body that nobody wants; errors do not matter any more."""
        with suppress(Interruption, ProtocolError):
            if self.length is not None and self.length <= _LEFTOVER:
                self.read_all(_LEFTOVER, "")
        self.close()

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        with suppress(OSError, HTTPException):
            self._raw.close()

    def abort(self) -> None:
        """Wake a thread that waits in `read`; it gets an Interruption."""
        connection: Any = getattr(self._raw, "connection", None)
        with suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    def _release(self) -> None:
        with suppress(Exception):
            self._raw.read(1, decode_content=False)
        self._raw.release_conn()

    def _has_more(self) -> bool:
        """Whether more is here already; nobody waits for it while there is something to give."""
        received: Any = getattr(getattr(self._raw, "connection", None), "sock", None)
        with suppress(OSError, ValueError, TypeError):
            if isinstance(received, ssl.SSLSocket) and received.pending():
                return True
            ready = select.poll()
            ready.register(received, select.POLLIN)
            return bool(ready.poll(0))
        return False

    def _receive(self, size: int) -> bytes:
        from urllib3.exceptions import HTTPError

        started = time.monotonic()
        try:
            data = _receive(self._raw, min(size, self._pace.most))
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            self.close()
            raise explained(error) from error
        self._require_progress(time.monotonic() - started, len(data))
        self._pace.spend(len(data))
        return data

    def _require_progress(self, waited: float, received: int) -> None:
        """Time in which the caller did other things does not count."""
        self._waited += waited
        self._received += received
        if self._waited > 2 * self._patience:
            if self._received < _SLOWEST * self._waited:
                self.close()
                raise Interruption("the server sends almost nothing")
            self._waited, self._received = 0.0, 0


def _receive(raw: Any, size: int) -> bytes:
    """What is there, waiting for the first byte only; urllib3's own `read` waits for all of `size`."""
    if hasattr(raw, "read1"):
        data: bytes = raw.read1(size, decode_content=False)
    else:  # urllib3 before 2.1
        data = raw._original_response.read1(size)
    return data
