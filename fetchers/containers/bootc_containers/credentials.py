"""Credentials for a registry, as a value."""

from __future__ import annotations

from attrs import field, frozen


def _hidden(_: object) -> str:
    return "…"


@frozen
class Credentials:
    """A user and a password, or an identity token that is exchanged for bearer tokens. Never printed."""

    username: str = field(default="", repr=_hidden)
    password: str = field(default="", repr=_hidden)
    identity_token: str | None = field(default=None, repr=_hidden)
    origin: str = field(default="", eq=False)
    """the file or the helper that they came from; may be printed"""
