"""Connections on which an answer must begin in time: whole, up to the end of its headers."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_TIMES = 2
"""read time-outs in which the headers must have come"""


class _Punctual:
    """A read time-out starts again with each byte: alone, it would let a server send one now and then for ever, or
    interim answers (RFC 9110, 15.2) without end."""

    sock: Any
    timeout: Any

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        """As the library does, but TimeoutError once the time is over."""
        # The one is the read time-out in urllib3 2, the other before; the rest is the one for connecting.
        patience = [limit for limit in (self.timeout, self.sock.gettimeout()) if isinstance(limit, int | float)]
        if not patience:
            return self._getresponse(*args, **kwargs)
        is_late = threading.Event()
        timer = threading.Timer(_TIMES * max(patience), _wake, (self.sock, is_late))
        timer.daemon = True
        timer.start()
        try:
            response = self._getresponse(*args, **kwargs)
        except Exception as error:
            if is_late.is_set():
                raise TimeoutError("the headers did not come in time") from error
            raise
        finally:
            timer.cancel()
        if is_late.is_set():
            response.close()
            raise TimeoutError("the headers did not come in time")
        return response

    def _getresponse(self, *args: Any, **kwargs: Any) -> Any:
        return super().getresponse(*args, **kwargs)  # type: ignore[misc]


class _PlainConnection(_Punctual, HTTPConnection): ...


class _SecureConnection(_Punctual, HTTPSConnection): ...


class PlainPool(HTTPConnectionPool):
    """Connections by HTTP to one host."""

    ConnectionCls = _PlainConnection


class SecurePool(HTTPSConnectionPool):
    """Connections by HTTPS to one host."""

    ConnectionCls = _SecureConnection


POOLS = {"http": PlainPool, "https": SecurePool}
"""for `PoolManager.pool_classes_by_scheme`"""


def _wake(sock: Any, is_late: threading.Event) -> None:
    """End the wait of the thread that reads."""
    is_late.set()
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
