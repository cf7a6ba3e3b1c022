"""The fake registry itself: what it serves, and the normal answer to each request."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from attrs import define

from bootc.manifest import OCI_INDEX, OCI_MANIFEST
from bootc.testing.registry.messages import Action, Received, Reply, basic, digest_of, json_reply, ranged
from bootc.testing.registry.tokens import Bearer
from bootc.testing.registry.wire import Server, handler_of

REPOSITORY = "fake/os"
"""the one repository that is served"""
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


class KeyPair(Protocol):
    """A certificate and its key, both in PEM form."""

    @property
    def certificate(self) -> Path:
        """The certificate's file."""

    @property
    def key(self) -> Path:
        """The key's file."""


@define
class _Rule:
    method: str
    path: str
    actions: list[Action]
    is_forever: bool


class FakeRegistry:
    """A context manager; content can change while it serves. With a certificate it speaks TLS."""

    def __init__(self, certificate: KeyPair | None = None, host: str = "127.0.0.1") -> None:
        self.scheme = "http"
        self.received: list[Received] = []
        self.documents: dict[str, tuple[str, bytes]] = {}
        """manifests and indexes by tag and by digest: media type and bytes"""
        self.blobs: dict[str, bytes] = {}
        """by digest, which nobody checks"""
        self.basic: tuple[str, str] | None = None
        """user and password that every request needs"""
        self.bearer: Bearer | None = None
        """tokens that every request needs"""
        self.ending = threading.Event()
        self.connections = 0
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._server = Server(host, handler_of(self.answer, self._count, self.ending))
        self.address = f"{f'[{host}]' if ':' in host else host}:{self._server.server_port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            self.use_tls(context)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on; handshakes are made in the connections' threads."""
        self.scheme = "https"
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

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

    def add_blob(self, data: bytes) -> dict[str, Any]:
        """Serve a layer's blob; returns its descriptor."""
        return {"mediaType": LAYER_TYPE, "digest": self.keep(data), "size": len(data)}

    def add_image(self, tag: str, *layers: bytes, architecture: str = "amd64", **manifest: Any) -> dict[str, Any]:
        """Serve an image of these blobs under a tag; returns the manifest's descriptor."""
        rootfs = {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}
        config = json.dumps({"architecture": architecture, "os": "linux", "rootfs": rootfs}).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": CONFIG_TYPE, "digest": self.keep(config), "size": len(config)},
            "layers": [self.add_blob(layer) for layer in layers],
            **manifest,
        }
        return self.add_document(tag, OCI_MANIFEST, json.dumps(document).encode())

    def add_index(self, tag: str, *entries: Mapping[str, Any]) -> dict[str, Any]:
        """Serve an index of these descriptors."""
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
        return self.add_document(tag, OCI_INDEX, json.dumps(document).encode())

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
        if path == "/token" and self.bearer:
            return self.bearer.issue(request)
        stored = path.removeprefix("/storage/")
        if stored in self.blobs:
            return ranged(self.blobs[stored], request)
        return self._refusal(request) or self._content(path, request)

    def paths(self, method: str = "GET") -> list[str]:
        """The paths of what was asked for so far, after `/v2/REPOSITORY/`, digests cut to 12 digits."""
        with self._lock:
            return [
                re.sub(r"(sha256:[0-9a-f]{12})[0-9a-f]*", r"\1", request.path.removeprefix(f"/v2/{REPOSITORY}/"))
                for request in self.received
                if request.method == method
            ]

    def _refusal(self, request: Received) -> Reply | None:
        if self.basic and request.headers.get("authorization", "") != basic(*self.basic):
            return json_reply(401, {}, {"WWW-Authenticate": 'Basic realm="fake"'})
        return self.bearer.refusal(request, self.base, REPOSITORY) if self.bearer else None

    def _content(self, path: str, request: Received) -> Reply:
        if path == "/v2/":
            return json_reply(200, {})
        kind, _, name = path.removeprefix(f"/v2/{REPOSITORY}/").partition("/")
        if kind == "manifests" and name in self.documents:
            media_type, data = self.documents[name]
            return Reply(200, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)}, data)
        if kind == "blobs" and name in self.blobs:
            return ranged(self.blobs[name], request)
        return json_reply(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "not here"}]})

    def _action(self, request: Received) -> Action | None:
        for rule in self._rules:
            if rule.actions and rule.method == request.method and re.search(rule.path, request.path):
                last = rule.is_forever and len(rule.actions) == 1
                return rule.actions[0] if last else rule.actions.pop(0)
        return None

    def _count(self) -> None:
        self.connections += 1
