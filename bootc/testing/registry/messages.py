"""Requests as they came in, and answers on their way out."""

from __future__ import annotations

import base64
import enum
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

from attrs import define, field, frozen


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

    @property
    def text(self) -> str:
        """All of it, for a search."""
        headers = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return f"{self.method} {self.path}\n{headers}\n\n{self.body.decode(errors='replace')}"


class Framing(enum.Enum):
    """How the end of a body is told (RFC 9112, 6)."""

    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    UNENDED = "chunked, without the last chunk"
    CLOSE = "end of the connection"


@define
class Reply:
    """An answer on its way out, for actions to spoil. `status` 0 sends nothing at all."""

    status: int
    headers: dict[str, str]
    body: bytes
    send: int | None = None
    """bytes of the body after which the connection is cut"""
    drip: bool = False
    """send a byte of the body now and then"""
    hold: bool = False
    """after what is sent, say nothing more until the server ends"""
    whole: bytes | None = None
    """all of it, where the body is a part"""
    framing: Framing = Framing.LENGTH
    repeat: int = 1
    """how often the body comes, one after the other"""
    more: list[tuple[str, str]] = field(factory=list)
    """headers whose names may repeat"""
    before: bytes = b""
    """sent before the status line"""
    before_times: int = 1
    head: bytes | None = None
    """sent instead of status line and headers"""
    drip_head: bool = False
    """send a byte of the head now and then"""
    reset: bool = False
    """end the connection with RST instead of FIN"""


Action: TypeAlias = Callable[[Received, Reply], Reply]


def digest_of(data: bytes) -> str:
    """Its SHA-256, as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def basic(user: str, password: str) -> str:
    """The header of a login (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def json_reply(status: int, content: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A document."""
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(content).encode())


def ranged(data: bytes, request: Received) -> Reply:
    """A blob, or the one range of it that the request asks for (RFC 9110, 14); several at once are answered whole."""
    headers = {"Content-Type": "application/octet-stream"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if asked is None:
        return Reply(200, headers, data)
    start = int(asked[1])
    end = min(int(asked[2]) + 1 if asked[2] else len(data), len(data))
    if start >= end:
        return Reply(416, {**headers, "Content-Range": f"bytes */{len(data)}"}, b"")
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Reply(206, headers, data[start:end], whole=data)
