"""The HTTP server below a fake registry: it puts answers on the wire, however wrong they are."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any

from bootc.testing.registry.messages import Framing, Received, Reply

_PACE = 0.01
"""seconds between two bytes of what drips"""


class Server(ThreadingHTTPServer):
    """A thread for each connection. The host is an address of IPv4 or IPv6."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host: str, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what tests are about."""


def handler_of(
    answer: Callable[[Received], Reply], connected: Callable[[], None], ending: Event
) -> type[BaseHTTPRequestHandler]:
    """A handler that tells of each connection, and answers each request; `ending` wakes those that wait."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            connected()
            super().setup()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): text for name, text in self.headers.items()}
            _send(self, answer(Received(self.command, self.path, headers, body)), ending)

        do_GET = do_HEAD = do_POST = _serve  # noqa: N815

        def log_message(self, *parts: object) -> None:
            """Tests look at `received`."""

    return Handler


def _send(handler: BaseHTTPRequestHandler, reply: Reply, ending: Event) -> None:
    for _ in range(reply.before_times if reply.before else 0):
        handler.wfile.write(reply.before)
        if ending.is_set():
            return
    if reply.status:
        _write(handler, [_head(reply)], ending, is_slow=reply.drip_head)
    if handler.command != "HEAD":
        _write(handler, _pieces(reply), ending, is_slow=reply.drip)
    if reply.hold:
        ending.wait()
    if reply.reset:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if reply.send is not None or not reply.status or reply.head is not None or reply.framing is not Framing.LENGTH:
        handler.close_connection = True
    if reply.send is not None or not reply.status or reply.framing in (Framing.UNENDED, Framing.CLOSE):
        _end(handler, reply)


def _end(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    if reply.reset:
        os.close(handler.connection.detach())
        return
    with suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


def _head(reply: Reply) -> bytes:
    if reply.head is not None:
        return reply.head
    phrase = next((status.phrase for status in HTTPStatus if status == reply.status), "Unknown")
    framing = {
        Framing.LENGTH: {"Content-Length": str(len(reply.body) * reply.repeat)},
        Framing.CLOSE: {"Connection": "close"},
    }.get(reply.framing, {"Transfer-Encoding": "chunked"})
    headers = [*{**framing, **reply.headers}.items(), *reply.more]
    lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{name}: {text}" for name, text in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _pieces(reply: Reply) -> Iterator[bytes]:
    body = itertools.repeat(reply.body, reply.repeat) if reply.send is None else [reply.body[: reply.send]]
    if reply.framing not in (Framing.CHUNKED, Framing.UNENDED):
        yield from body
        return
    for piece in body:
        if piece:
            yield b"%x\r\n%s\r\n" % (len(piece), piece)
    if reply.framing is Framing.CHUNKED:
        yield b"0\r\n\r\n"


def _write(
    handler: BaseHTTPRequestHandler, pieces: Iterator[bytes] | list[bytes], ending: Event, *, is_slow: bool
) -> None:
    for piece in pieces:
        if ending.is_set():
            return
        if not is_slow:
            handler.wfile.write(piece)
            continue
        for position in range(len(piece)):
            handler.wfile.write(piece[position : position + 1])
            if ending.wait(_PACE):
                return
