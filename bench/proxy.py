"""A proxy on loopback that counts what passes, keeps a pace, and can cut all connections at a chosen byte."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_REQUEST = re.compile(rb"^[A-Z]+ \S+ HTTP/1\.1\r$", re.MULTILINE)
_PIECE = 1 << 16
_TLS_HANDSHAKE = b"\x16"


class CountingProxy:
    """A context manager. Attempts to speak TLS are carried, but not counted."""

    def __init__(self, target: str, pace: float | None = None) -> None:
        host, _, port = target.rpartition(":")
        self._target, self._pace = (host, int(port)), pace
        """bytes per second towards the client, over all connections; None: as fast as it goes"""
        self.requests = self.up = self.down = 0
        self._lock, self._due, self._open = threading.Lock(), 0.0, list[socket.socket]()
        self._cut: tuple[int, Callable[[], None]] | None = None

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self._reset_all()

    @property
    def address(self) -> str:
        """HOST:PORT, to stand in front of an image's name."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut_at(self, count: int, action: Callable[[], None] = lambda: None) -> None:
        """Once this many bytes went down, in all, do this and reset every connection; later ones are carried."""
        self._cut = (count, action)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._open += [client, server]
            is_counted = client.recv(1, socket.MSG_PEEK) != _TLS_HANDSHAKE
            for way in ((client, server, self._count_up), (server, client, self._count_down)):
                threading.Thread(target=_carry, args=(*way, is_counted), daemon=True).start()

    def _count_up(self, data: bytes) -> None:
        with self._lock:
            self.up += len(data)
            self.requests += len(_REQUEST.findall(data))

    def _count_down(self, data: bytes) -> None:
        with self._lock:
            self.down += len(data)
            cut = self._cut if self._cut and self.down >= self._cut[0] else None
            if cut:
                self._cut = None
            if self._pace:
                self._due = max(time.monotonic(), self._due) + len(data) / self._pace
        if cut:
            cut[1]()
            self._reset_all()
        if self._pace:
            time.sleep(max(0.0, self._due - time.monotonic()))

    def _reset_all(self) -> None:
        connections, self._open = self._open, []
        for connection in connections:
            try:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                continue  # It had ended already.
            finally:
                connection.close()


def _carry(source: socket.socket, sink: socket.socket, count: Callable[[bytes], None], is_counted: bool) -> None:
    try:
        while data := source.recv(_PIECE):
            sink.sendall(data)
            if is_counted:
                count(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return  # Either side is gone, or was cut off.
