"""The kit's registry on loopback, with TLS and bearer tokens, and more ways to spoil its answers."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from attrs import define, field

from bootc.manifest import OCI_INDEX, OCI_MANIFEST
from bootc.testing.fetcher_registry import (
    REPOSITORY,
    Action,
    LoopbackRegistry,
    Received,
    Reply,
    basic,
    cut_after,
    digest_of,
    holds,
    json_reply,
    ranged,
    redirects,
    unanswered,
)
from tests.servers import Certificate

__all__ = [
    "REPOSITORY",
    "Action",
    "Bearer",
    "FakeRegistry",
    "Received",
    "Reply",
    "answers",
    "compressed",
    "cut_after",
    "digest_of",
    "drips",
    "holds",
    "ignores_range",
    "json_reply",
    "normal",
    "redirects",
    "unanswered",
    "with_body",
    "with_headers",
]

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


@define
class Bearer:
    """Tokens are asked for. `uses`: requests that a token is good for."""

    uses: int = 1_000_000
    login: tuple[str, str] | None = None
    identity_token: str | None = None
    realm: str | None = None
    challenge: str = 'Bearer realm="{realm}",service="fake.example",scope="repository:{repository}:pull"'
    given: dict[str, int] = field(factory=dict)


class FakeRegistry(LoopbackRegistry):
    """With a certificate it speaks TLS."""

    def __init__(self, certificate: Certificate | None = None, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self.bearer: Bearer | None = None
        if certificate:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

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

    def normal(self, request: Received) -> Reply:
        path = urlsplit(request.path).path
        if path == "/token":
            return self._token(request)
        stored = path.removeprefix("/storage/")
        if stored in self.blobs:
            return ranged(self.blobs[stored], request)
        return self._refusal(request) or super().normal(request)

    def _refusal(self, request: Received) -> Reply | None:
        given = request.headers.get("authorization", "")
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
            wanted = basic(*self.bearer.login) if self.bearer.login else ""
            is_right = request.headers.get("authorization", "") == wanted
        if not is_right:
            return json_reply(401, {})
        token = f"token-{len(self.bearer.given)}"
        self.bearer.given[token] = self.bearer.uses
        return json_reply(200, {"token": token, "expires_in": 300})


# ---------------------------------------------------------------- actions


def answers(status: int, body: bytes = b"", **headers: str) -> Action:
    """This instead of the normal answer; `_` in names of headers stands for `-`."""
    return lambda request, reply: Reply(status, {name.replace("_", "-"): text for name, text in headers.items()}, body)


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


def normal(request: Received, reply: Reply) -> Reply:
    """Let one pass."""
    return reply
