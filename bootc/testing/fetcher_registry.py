"""A registry on loopback, for tests of fetchers: images from memory, a login, answers spoiled on demand.

It speaks the pulling half of the OCI distribution protocol over HTTP, and remembers every request with its headers.
`disturb` puts actions in front of the normal answer: for requests that match, in order, each once.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

from attrs import define, frozen

REPOSITORY = "fake/os"
"""the one repository that is served"""


@frozen
class Received:
    """One request as it came in; names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def query(self) -> Mapping[str, list[str]]:
        """The address's query."""
        return parse_qs(urlsplit(self.path).query)


@define
class Reply:
    """An answer on its way out, for actions to spoil. `status` 0 sends nothing at all."""

    status: int
    headers: dict[str, str]
    body: bytes
    send: int | None = None
    """bytes of the body after which the connection is cut"""
    drip: bool = False
    """send a byte now and then, for ever"""
    hold: bool = False
    """after what is sent, say nothing more until the server ends"""
    whole: bytes | None = None
    """all of it, where the body is a part"""


Action: TypeAlias = Callable[[Received, Reply], Reply]


@define
class _Rule:
    method: str
    path: str
    actions: list[Action]
    is_forever: bool


class LoopbackRegistry:
    """A context manager; content can change while it serves."""

    scheme = "http"

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.received: list[Received] = []
        self.documents: dict[str, tuple[str, bytes]] = {}
        """manifests and indexes by tag and by digest: media type and bytes"""
        self.blobs: dict[str, bytes] = {}
        """by digest, which nobody checks"""
        self.basic: tuple[str, str] | None = None
        """user and password that every request needs"""
        self.ending = threading.Event()
        self.connections = 0
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._server = _Server((host, 0), _handler_of(self))
        self.address = f"{host}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()

    # ------------------------------------------------------------ content

    @property
    def base(self) -> str:
        """Scheme and authority."""
        return f"{self.scheme}://{self.address}"

    def add_document(self, tag: str, media_type: str, data: bytes) -> dict[str, Any]:
        """Serve any bytes as a manifest, by tag and by digest; returns a descriptor."""
        self.documents[tag] = self.documents[digest_of(data)] = (media_type, data)
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    def keep(self, data: bytes) -> str:
        """Serve bytes as a blob; returns their digest."""
        self.blobs[digest_of(data)] = data
        return digest_of(data)

    # ------------------------------------------------------------ behaviour

    def disturb(self, path: str, *actions: Action, method: str = "GET", is_forever: bool = False) -> None:
        """Apply the actions, one for each request whose path contains this expression; the last one for ever, if so."""
        self._rules.append(_Rule(method, path, list(actions), is_forever))

    def answer(self, request: Received) -> Reply:
        """The normal answer, then spoiled by the next action for it; an action may wait without holding up others."""
        with self._lock:
            self.received.append(request)
            reply = self.normal(request)
            action = self._action(request)
        return action(request, reply) if action else reply

    def normal(self, request: Received) -> Reply:
        """The answer of a registry that works."""
        path = urlsplit(request.path).path
        if self.basic and request.headers.get("authorization", "") != basic(*self.basic):
            return json_reply(401, {}, {"WWW-Authenticate": 'Basic realm="fake"'})
        if path == "/v2/":
            return json_reply(200, {})
        kind, _, name = path.removeprefix(f"/v2/{REPOSITORY}/").partition("/")
        if kind == "manifests" and name in self.documents:
            return _manifest(*self.documents[name])
        if kind == "blobs" and name in self.blobs:
            return ranged(self.blobs[name], request)
        return json_reply(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "not here"}]})

    def paths(self, method: str = "GET") -> list[str]:
        """The paths of what was asked for so far, after `/v2/REPOSITORY/`, digests cut to 12 digits."""
        with self._lock:
            return [
                re.sub(r"(sha256:[0-9a-f]{12})[0-9a-f]*", r"\1", request.path.removeprefix(f"/v2/{REPOSITORY}/"))
                for request in self.received
                if request.method == method
            ]

    def _action(self, request: Received) -> Action | None:
        for rule in self._rules:
            if rule.actions and rule.method == request.method and re.search(rule.path, request.path):
                last = rule.is_forever and len(rule.actions) == 1
                return rule.actions[0] if last else rule.actions.pop(0)
        return None


def digest_of(data: bytes) -> str:
    """Its SHA-256, as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def json_reply(status: int, content: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A document."""
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(content).encode())


def ranged(data: bytes, request: Received) -> Reply:
    """A blob, or the rest of it from where the request's range begins (RFC 9110, 14)."""
    headers = {"Content-Type": "application/octet-stream"}
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    if asked is None:
        return Reply(200, headers, data)
    start = int(asked[1])
    if start >= len(data):
        return Reply(416, headers, data)
    headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return Reply(206, headers, data[start:], whole=data)


def basic(user: str, password: str) -> str:
    """The header of a login (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# ---------------------------------------------------------------- actions


def redirects(target: str, status: int = 307) -> Action:
    """To another address; `{digest}` is the asked blob's."""

    def action(request: Received, reply: Reply) -> Reply:
        return Reply(status, {"Location": target.format(digest=request.path.rpartition("/")[2])}, b"moved")

    return action


def cut_after(size: int) -> Action:
    """The connection ends after so many bytes of the body."""

    def action(request: Received, reply: Reply) -> Reply:
        reply.send = size
        return reply

    return action


def holds(size: int) -> Action:
    """Nothing more after so many bytes of the body, but the connection stays."""

    def action(request: Received, reply: Reply) -> Reply:
        reply.send, reply.hold = size, True
        return reply

    return action


def unanswered(request: Received, reply: Reply) -> Reply:
    """Not even a status."""
    return Reply(0, {}, b"", hold=True)


# ---------------------------------------------------------------- the server


def _manifest(media_type: str, data: bytes) -> Reply:
    return Reply(200, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)}, data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    address_family = socket.AF_INET

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what tests are about."""


def _handler_of(registry: LoopbackRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            registry.connections += 1
            super().setup()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): text for name, text in self.headers.items()}
            _send(self, registry.answer(Received(self.command, self.path, headers, body)), registry.ending)

        do_GET = do_HEAD = do_POST = _serve  # noqa: N815

        def log_message(self, *parts: object) -> None:
            """Tests look at `received`."""

    return Handler


def _send(handler: BaseHTTPRequestHandler, reply: Reply, ending: threading.Event) -> None:
    if reply.status:
        handler.send_response(reply.status)
        for name, text in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            handler.send_header(name, text)
        handler.end_headers()
    if handler.command != "HEAD":
        _send_body(handler, reply, ending)
    if reply.hold:
        ending.wait()
    if reply.send is not None or not reply.status:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)


def _send_body(handler: BaseHTTPRequestHandler, reply: Reply, ending: threading.Event) -> None:
    if not reply.drip:
        handler.wfile.write(reply.body[: reply.send])
        return
    for position in range(len(reply.body)):
        handler.wfile.write(reply.body[position : position + 1])
        if ending.wait(0.01):
            return
