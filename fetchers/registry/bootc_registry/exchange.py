"""HTTP exchanges, one at a time: no redirects, no cookies, no ~/.netrc, no decoding; bodies as they are received."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bootc import __version__
from bootc.errors import ProtocolError
from bootc.events import Report, RequestMade
from bootc_registry.addresses import authority
from bootc_registry.answer import Answer
from bootc_registry.endpoint import Peer
from bootc_registry.options import RegistryOptions
from bootc_registry.pace import Pace
from bootc_registry.proxies import proxies_for
from bootc_registry.retry import Interruption
from bootc_registry.tls import context_for
from bootc_registry.troubles import PROXY_HINT, connection_failure
from bootc_registry.waiting import Waiting

if TYPE_CHECKING:
    from requests import Response

    from bootc_registry.adapter import ContextAdapter

USER_AGENT = f"bootc/{__version__}"


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
        self._pace = Pace(options.bytes_per_second, waiting.pause)
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

        host = authority(url)
        known = peer or Peer(host, self.is_insecure(host))
        try:
            response = self._waiting.attend(
                lambda: self._send(method, url, headers, known, data), lambda late: late.close()
            )
        except ValueError as error:
            if proxies_for(url).keys() & {urlsplit(url).scheme, "all"}:
                hint = f"{PROXY_HINT}; socks5:// needs the Python library PySocks"
                raise ProtocolError(source, f"the proxy for {host} cannot be used", hint) from error
            raise ProtocolError(source, f"{host}: an address or a header that cannot be used") from error
        except (HTTPError, HTTPException, OSError) as error:
            raise connection_failure(error, host, source) from error
        self._report(RequestMade(blob))
        patience = self._options.read_timeout
        return self._tracked(Answer(url, response.status_code, response.headers, response.raw, patience, self._pace))

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
            proxies=dict(proxies_for(url)),
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
