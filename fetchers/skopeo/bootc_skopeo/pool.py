"""Connections to one image, for several threads: each blob has a proxy for itself, unless proxies can do better."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from bootc.durable import explain
from bootc.errors import CancelledError
from bootc_skopeo.connection import Connection

_IDLE_LIMIT = 4


class Pool:
    """Connections, and the directory in which their processes unpack archives. `start` opens a new one there."""

    def __init__(self, start: Callable[[Path], Connection]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._all: list[Connection] = []
        self._is_closed = False
        try:
            self._temporary = tempfile.TemporaryDirectory(prefix="bootc-skopeo-", dir=_large_temporary())
        except OSError as error:
            raise explain(error, str(error.filename or "a temporary directory")) from error

    def take(self) -> Connection:
        """A connection that is free, or a new one. Raises FetchError."""
        with self._lock:
            self._require_open()
            if self._idle:
                return self._idle[-1] if self._idle[-1].is_shared else self._idle.pop()
        connection = self._start(Path(self._temporary.name))
        with self._lock:
            if not self._is_closed:
                self._all.append(connection)
                return connection
        connection.proxy.close()
        raise CancelledError("the fetcher was closed")

    def _require_open(self) -> None:
        if self._is_closed:
            raise CancelledError("the fetcher was closed")

    def give_back(self, connection: Connection, is_sound: bool) -> None:
        """Keep it for the next blob. One that is not sound (a request is under way in it) is ended instead."""
        with self._lock:
            if connection in self._idle:
                self._idle.remove(connection)
            if is_sound and len(self._idle) < _IDLE_LIMIT and not self._is_closed:
                self._idle.append(connection)
                return
            if connection.is_shared:
                return  # other threads may still read from it; it is ended with the pool
            if connection in self._all:
                self._all.remove(connection)
        connection.proxy.close()

    def close(self) -> None:
        """End all processes; may be called twice."""
        with self._lock:
            self._is_closed = True
            connections, self._all = self._all, []
            self._idle.clear()
        for connection in connections:
            connection.proxy.close()
        self._temporary.cleanup()


def _large_temporary() -> str | None:
    """Archives are large, and the usual place is often in memory; an OS image's container may lack the other."""
    directory = "/var/tmp"  # noqa: S108
    return os.environ.get("TMPDIR") or (directory if os.path.isdir(directory) else None)
