"""What a status of HTTP means for the user, and whether to try again."""

from __future__ import annotations

import json
from contextlib import suppress

from bootc.errors import AuthenticationError, FetchError, NetworkError, NotFoundError, ProtocolError
from bootc_registry.answer import Answer
from bootc_registry.retry import Interruption, parse_retry_after

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 507, *range(520, 600)})
"""520 and more is what delivery networks say of the servers behind them"""
_BODY_LIMIT = 64 << 10
_WORDS_LIMIT = 200


def failure(answer: Answer, source: str, what: str) -> FetchError | Interruption:
    """The error for an answer that is no success; reads the body for the server's own words.

    `what` is the thing that was asked for: "manifest", "blob sha256:…", "token".
    """
    said = f"{answer.host} answered {answer.status}{_words(answer, source)}"
    match answer.status:
        case 404:
            hint = "check the name and the tag; for a private repository, a login may be missing"
            return NotFoundError(source, f"no such {what}: {said}", hint)
        case 401 | 403:
            hint = "check the name, and the credentials in /etc/ostree/auth.json; see containers-auth.json(5)"
            return AuthenticationError(source, f"access denied: {said}", hint)
        case 429:
            hint = "the registry limits requests; wait, or log in for a higher limit"
            return Interruption(said, hint, parse_retry_after(answer.headers.get("Retry-After")))
        case status if status in _TRANSIENT:
            return Interruption(said, None, parse_retry_after(answer.headers.get("Retry-After")))
        case status if status >= 500:
            return NetworkError(source, said)
        case _:
            return ProtocolError(source, f"unexpected answer for {what}: {said}")


def _words(answer: Answer, source: str) -> str:
    """Code and message of the first error in the body (distribution specification, error codes), made printable."""
    if answer.status == 416 or not (answer.length is None or answer.length <= _BODY_LIMIT):
        return ""
    code, message = "", ""
    with suppress(Interruption, FetchError, ValueError, RecursionError, LookupError, TypeError):
        first = json.loads(answer.read_all(_BODY_LIMIT, source))["errors"][0]
        code, message = str(first.get("code") or ""), str(first.get("message") or "")
    text = ": ".join(part for part in (code, message) if part)[:_WORDS_LIMIT]
    return f" ({''.join(char if char.isprintable() else '?' for char in text)})" if text else ""
