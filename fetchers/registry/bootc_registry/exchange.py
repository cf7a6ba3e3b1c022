"""HTTP exchanges, one at a time: no redirects, no cookies, no ~/.netrc, no decoding; bodies as they are received."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bootc import __version__
from bootc.errors import ProtocolError
from bootc.events import Report, RequestMade
from bootc_registry.endpoint import Peer
from bootc_registry.options import RegistryOptions
from bootc_registry.retry import Interruption
from bootc_registry.tls import context_for
from bootc_registry.troubles import connection_failure, explained
from bootc_registry.waiting import Waiting

if TYPE_CHECKING:
    from requests import Response

    from bootc_registry.adapter import ContextAdapter

USER_AGENT = f"bootc/{__version__}"

_RECEIVE = 256 << 10
_GATHER = 0.05
"""seconds for which small receives (TLS gives 16 KiB at most) are put together"""
_LEFTOVER = 64 << 10
"""bytes of an unwanted body that are read to keep the connection"""
_SLOWEST = 1000
"""bytes per second; a server slower than this for two read time-outs counts as stalled"""


class Answer:
    """A response whose body is still to be read. Not for several threads, but `abort` may come from any."""

    def __init__(self, address: str, status: int, headers: Mapping[str, str], raw: Any, patience: float) -> None:
        self.address, self.status, self.headers = address, status, headers
        self._raw, self._patience = raw, patience
        self._waited, self._received = 0.0, 0
        self._interruption: Interruption | None = None

    @property
    def host(self) -> str:
        """HOST[:PORT] that answered; the address itself can hold secrets."""
        return urlsplit(self.address).netloc

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
        while data and left and time.monotonic() < end:
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

    def _receive(self, size: int) -> bytes:
        from urllib3.exceptions import HTTPError

        started = time.monotonic()
        try:
            data = _receive(self._raw, size)
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            self.close()
            raise explained(error) from error
        self._require_pace(time.monotonic() - started, len(data))
        return data

    def _require_pace(self, waited: float, received: int) -> None:
        """Time in which the caller did other things does not count."""
        self._waited += waited
        self._received += received
        if self._waited > 2 * self._patience:
            if self._received < _SLOWEST * self._waited:
                self.close()
                raise Interruption("the server sends almost nothing")
            self._waited, self._received = 0.0, 0


class Http:
    """Connections to all hosts that one fetcher talks to. For several threads.

    The adapters of requests are used without its Session, which reads the whole body of a redirect, keeps cookies and
    looks into ~/.netrc. `is_insecure` says of a HOST[:PORT] whether its certificate is left unchecked.
    """

    def __init__(
        self,
        options: RegistryOptions,
        waiting: Waiting,
        is_insecure: Callable[[str], bool],
        report: Report,
        root: Path = Path("/"),
    ) -> None:
        self._options, self._waiting, self._report, self._root = options, waiting, report, root
        self.is_insecure = is_insecure
        self._adapters: dict[tuple[str, Peer], ContextAdapter] = {}
        self._open: set[Answer] = set()
        self._lock = threading.Lock()
        self._is_watched = self._is_closed = False

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        source: str,
        peer: Peer | None = None,
        data: Mapping[str, str] | None = None,
        blob: str = "",
    ) -> Answer:
        """One request; any status is an answer. `peer` is said where the address alone does not tell how to trust it.
        `blob` is the digest of the blob that it is for.

        Raises Interruption; NetworkError or ProtocolError for what no second try can mend.
        """
        from urllib3.exceptions import HTTPError

        host = urlsplit(url).netloc
        known = peer or Peer(host, self.is_insecure(host))
        self._report(RequestMade(blob))
        try:
            response = self._waiting.attend(
                lambda: self._send(method, url, headers, known, data), lambda late: late.close()
            )
        except ValueError as error:
            raise ProtocolError(source, f"{host}: an address or a header that cannot be used") from error
        except (HTTPError, HTTPException, OSError) as error:
            raise connection_failure(error, host, source) from error
        patience = self._options.read_timeout
        return self._tracked(Answer(url, response.status_code, response.headers, response.raw, patience))

    def done(self, answer: Answer) -> None:
        """Close an answer that `exchange` gave, and forget it."""
        answer.close()
        with self._lock:
            self._open.discard(answer)

    def close(self) -> None:
        """End all connections; threads that wait for data get an Interruption."""
        with self._lock:
            self._is_closed = True
            adapters = list(self._adapters.values())
        self._abort()
        for adapter in adapters:
            adapter.close()

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], peer: Peer, data: Mapping[str, str] | None
    ) -> Response:
        import requests

        fields = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        return self._adapter(urlsplit(url).scheme, peer).send(
            requests.Request(method, url, headers=fields, data=data).prepare(),
            stream=True,
            timeout=(self._options.connect_timeout, self._options.read_timeout),
            verify=not peer.is_insecure,
            proxies=requests.utils.get_environ_proxies(url),
        )

    def _tracked(self, answer: Answer) -> Answer:
        with self._lock:
            if not self._is_closed:
                self._open.add(answer)
                if not self._is_watched:
                    self._is_watched = True
                    self._waiting.watch(self._abort)
                return answer
        answer.close()
        raise Interruption("the fetcher was closed")

    def _abort(self) -> None:
        with self._lock:
            answers = list(self._open)
        for answer in answers:
            answer.abort()

    def _adapter(self, scheme: str, peer: Peer) -> ContextAdapter:
        from bootc_registry.adapter import ContextAdapter

        with self._lock:
            known = self._adapters.get((scheme, peer))
            if known is None:
                is_checked = not peer.is_insecure
                context = context_for(peer.name, self._root, is_checked=is_checked) if scheme == "https" else None
                known = self._adapters[scheme, peer] = ContextAdapter(context, self._options.connections)
            return known


def _receive(raw: Any, size: int) -> bytes:
    """What is there, waiting for the first byte only; urllib3's own `read` waits for all of `size`."""
    if hasattr(raw, "read1"):
        data: bytes = raw.read1(size, decode_content=False)
    else:  # urllib3 before 2.1
        data = raw._original_response.read1(size)
    return data
