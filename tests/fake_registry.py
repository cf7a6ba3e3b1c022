"""A registry on loopback that misbehaves on demand, and remembers every request with its headers.

It serves manifests and blobs from memory, with ranges and bearer tokens. `disturb` puts actions in front of the normal
answer: for requests that match, in order, each once.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from attrs import define, field, frozen

from bootc.manifest import OCI_INDEX, OCI_MANIFEST
from tests.servers import Certificate

REPOSITORY = "fake/os"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


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


Action = Callable[[Received, Reply], Reply]


@define
class _Rule:
    method: str
    path: str
    actions: list[Action]
    is_forever: bool


@define
class Bearer:
    """Tokens are asked for. `uses`: requests that a token is good for."""

    uses: int = 1_000_000
    login: tuple[str, str] | None = None
    identity_token: str | None = None
    realm: str | None = None
    challenge: str = 'Bearer realm="{realm}",service="fake.example",scope="repository:{repository}:pull"'
    given: dict[str, int] = field(factory=dict)


class FakeRegistry:
    """A context manager; content can change while it serves."""

    def __init__(self, certificate: Certificate | None = None, host: str = "127.0.0.1") -> None:
        self.received: list[Received] = []
        self.documents: dict[str, tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.bearer: Bearer | None = None
        self.basic: tuple[str, str] | None = None
        self.scheme = "https" if certificate else "http"
        self.ending = threading.Event()
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self.connections = 0
        self._server = _Server((host, 0), _handler_of(self))
        self.address = f"{host}:{self._server.server_port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

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

    def add_blob(self, data: bytes) -> dict[str, Any]:
        """Serve a layer's blob; returns its descriptor."""
        return {"mediaType": LAYER_TYPE, "digest": self._keep(data), "size": len(data)}

    def add_image(self, tag: str, *layers: bytes, architecture: str = "amd64", **manifest: Any) -> dict[str, Any]:
        """Serve an image of these blobs under a tag; returns the manifest's descriptor."""
        rootfs = {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}
        config = json.dumps({"architecture": architecture, "os": "linux", "rootfs": rootfs}).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": CONFIG_TYPE, "digest": self._keep(config), "size": len(config)},
            "layers": [self.add_blob(layer) for layer in layers],
            **manifest,
        }
        return self.add_document(tag, OCI_MANIFEST, json.dumps(document).encode())

    def add_index(self, tag: str, *entries: Mapping[str, Any]) -> dict[str, Any]:
        """Serve an index of these descriptors."""
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
        return self.add_document(tag, OCI_INDEX, json.dumps(document).encode())

    def add_document(self, tag: str, media_type: str, data: bytes) -> dict[str, Any]:
        """Serve any bytes as a manifest, by tag and by digest."""
        self.documents[tag] = self.documents[digest_of(data)] = (media_type, data)
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    def _keep(self, data: bytes) -> str:
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
            reply = self._normal(request)
            action = self._action(request)
        return action(request, reply) if action else reply

    def _action(self, request: Received) -> Action | None:
        for rule in self._rules:
            if rule.actions and rule.method == request.method and re.search(rule.path, request.path):
                last = rule.is_forever and len(rule.actions) == 1
                return rule.actions[0] if last else rule.actions.pop(0)
        return None

    def paths(self, method: str = "GET") -> list[str]:
        """The paths of what was asked for so far, after `/v2/REPOSITORY/`, digests cut to 12 digits."""
        with self._lock:
            return [
                re.sub(r"(sha256:[0-9a-f]{12})[0-9a-f]*", r"\1", request.path.removeprefix(f"/v2/{REPOSITORY}/"))
                for request in self.received
                if request.method == method
            ]

    def _normal(self, request: Received) -> Reply:
        path = urlsplit(request.path).path
        if path == "/token":
            return self._token(request)
        if (refusal := self._refusal(request)) is not None:
            return refusal
        kind, _, name = path.removeprefix(f"/v2/{REPOSITORY}/").partition("/")
        if kind == "manifests" and name in self.documents:
            return _manifest(*self.documents[name], request)
        if (kind == "blobs" or path.startswith("/storage/")) and name.split("/")[-1] in self.blobs:
            return _ranged(self.blobs[name.split("/")[-1]], request)
        return json_reply(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "not here"}]})

    def _refusal(self, request: Received) -> Reply | None:
        given = request.headers.get("authorization", "")
        if request.path.startswith("/storage/"):
            return None
        if self.basic and given != _basic(*self.basic):
            return json_reply(401, {}, {"WWW-Authenticate": 'Basic realm="fake"'})
        if self.bearer is None:
            return None
        token = given.removeprefix("Bearer ")
        if self.bearer.given.get(token, 0) > 0:
            self.bearer.given[token] -= 1
            return None
        realm = self.bearer.realm or f"{self.base}/token?from=challenge"
        challenge = self.bearer.challenge.format(realm=realm, repository=REPOSITORY)
        return json_reply(401, {"errors": [{"code": "UNAUTHORIZED"}]}, {"WWW-Authenticate": challenge})

    def _token(self, request: Received) -> Reply:
        assert self.bearer is not None
        if request.method == "POST":
            is_right = parse_qs(request.body.decode()).get("refresh_token") == [self.bearer.identity_token]
        else:
            wanted = _basic(*self.bearer.login) if self.bearer.login else ""
            is_right = request.headers.get("authorization", "") == wanted
        if not is_right:
            return json_reply(401, {})
        token = f"token-{len(self.bearer.given)}"
        self.bearer.given[token] = self.bearer.uses
        return json_reply(200, {"token": token, "expires_in": 300})


def digest_of(data: bytes) -> str:
    """Its SHA-256, as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def json_reply(status: int, content: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A document."""
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(content).encode())


# ---------------------------------------------------------------- actions


def answers(status: int, body: bytes = b"", **headers: str) -> Action:
    """This instead of the normal answer; `_` in names of headers stands for `-`."""
    return lambda request, reply: Reply(status, {name.replace("_", "-"): text for name, text in headers.items()}, body)


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


def ignores_range(request: Received, reply: Reply) -> Reply:
    """The whole blob, whatever was asked for."""
    return reply if reply.whole is None else Reply(200, {"Content-Type": "application/octet-stream"}, reply.whole)


def with_headers(**headers: str) -> Action:
    """The normal answer with other headers; an empty text leaves one out."""

    def action(request: Received, reply: Reply) -> Reply:
        for name, text in headers.items():
            reply.headers[name.replace("_", "-")] = text
        reply.headers = {name: text for name, text in reply.headers.items() if text}
        return reply

    return action


def with_body(change: Callable[[bytes], bytes]) -> Action:
    """The normal answer with another body."""

    def action(request: Received, reply: Reply) -> Reply:
        reply.body = change(reply.body)
        return reply

    return action


def compressed(request: Received, reply: Reply) -> Reply:
    """The normal answer, compressed on the way although nobody asked for it."""
    reply.body = gzip.compress(reply.body)
    reply.headers["Content-Encoding"] = "gzip"
    return reply


def drips(request: Received, reply: Reply) -> Reply:
    """A byte now and then."""
    reply.drip = True
    return reply


def holds(size: int) -> Action:
    """Nothing more after so many bytes of the body, but the connection stays."""

    def action(request: Received, reply: Reply) -> Reply:
        reply.send, reply.hold = size, True
        return reply

    return action


def unanswered(request: Received, reply: Reply) -> Reply:
    """Not even a status."""
    return Reply(0, {}, b"", hold=True)


def normal(request: Received, reply: Reply) -> Reply:
    """Let one pass."""
    return reply


# ---------------------------------------------------------------- the server


def _manifest(media_type: str, data: bytes, request: Received) -> Reply:
    headers = {"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)}
    return Reply(200, headers, data)


def _ranged(data: bytes, request: Received) -> Reply:
    headers = {"Content-Type": "application/octet-stream"}
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    if asked is None:
        return Reply(200, headers, data)
    start = int(asked[1])
    if start >= len(data):
        return Reply(416, headers, data)
    headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return Reply(206, headers, data[start:], whole=data)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    address_family = socket.AF_INET

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what tests are about."""


def _handler_of(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
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
