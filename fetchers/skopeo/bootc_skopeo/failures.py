"""What skopeo says went wrong, as errors: until protocol 0.2.8 there is nothing but the text."""

from __future__ import annotations

import re

from bootc.errors import (
    AuthenticationError,
    FetchError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    PolicyError,
    UnsupportedError,
)

_LONGEST = 400
"""characters of a message; the beginning of a longer one is cut, because the cause comes last"""
_LOOKED_AT = 16 << 10
"""characters that are looked at for that: a server may have said very much"""

_KINDS: tuple[tuple[type[FetchError], str], ...] = (
    (PolicyError, r"rejected by policy|is rejected|signature was required|no policy\.json file"),
    (
        IntegrityError,
        r"corrupted blob|expected \d+ bytes in blob|digest did not match|does not match (?:provided )?manifest digest",
    ),
    (NetworkError, r"docker daemon"),
    (
        NotFoundError,
        r"manifest unknown|name unknown|blob unknown|not known to registry|no such file or directory|does not exist"
        r"|not an image|no descriptor found|no such image|does not resolve|unable to find|\bnot found\b|unknown blob"
        r"|image not known|StatusCode: 404",
    ),
    (
        AuthenticationError,
        r"unauthorized|authentication required|invalid username|(?<!permission )denied|forbidden|StatusCode: 40[13]",
    ),
    (
        UnsupportedError,
        r"no image found in|unsupported|unknown method|invalid reference format|invalid image name"
        r"|can not mix|both tag and digest|with both a tag and a digest|unknown transport",
    ),
    (
        NetworkError,
        r"connection|timeout|timed out|no such host|\bEOF\b|x509|http: server gave|tls:|unreachable|no route|dial tcp"
        r"|name resolution|status ?(?:code)?(?: from registry)?:? (?:429|5\d\d)|toomanyrequests|deadline exceeded"
        r"|pinging",
    ),
)
_HINTS: dict[type[FetchError], str] = {
    AuthenticationError: "put credentials into /etc/ostree/auth.json",
    NetworkError: "check the network and the name of the registry, then try again",
}
_MEDIUM_HINT = "mount the medium that it is on, or follow another image with `bootc switch`"
_HOPELESS = re.compile(r"x509|server gave HTTP|no such host|docker daemon", re.IGNORECASE)


def failure(reference: str, text: str, code: str = "") -> FetchError:
    """The error for a message of skopeo's; `code` is the protocol's `error_code`."""
    problem = one_line(text)
    kinds = (kind for kind, pattern in _KINDS if re.search(pattern, problem, re.IGNORECASE))
    kind = next(kinds, NetworkError if code == "retryable" else FetchError)
    is_file_missing = kind is NotFoundError and "no such file or directory" in problem
    return kind(reference, problem, _MEDIUM_HINT if is_file_missing else _HINTS.get(kind))


def is_transient(error: FetchError) -> bool:
    """Whether the same request may well work a moment later."""
    return isinstance(error, NetworkError) and not _HOPELESS.search(error.problem)


def one_line(text: str) -> str:
    """A message that is safe on a terminal, without what a URL may carry in secrets."""
    if len(text) > _LOOKED_AT:
        text = re.sub(r"^\S*", "…", text[-_LOOKED_AT:])  # half an address would not be known as one
    text = re.sub(r"(https?://)[^\s/\"@]*@", r"\1", text)
    text = re.sub(r"(https?://[^\s?\"]*)\?[^\s\"]*", r"\1?…", text)
    text = "".join(char if char.isprintable() else " " for char in text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"…{text[-_LONGEST:]}"


def last_words(log: bytes) -> str:
    """The message of the last line of skopeo's log (logfmt: `time="…" level=fatal msg="…"`, or plain text)."""
    lines = [line for line in log.decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        return ""
    quoted = re.search(r'\bmsg="((?:[^"\\]|\\.)*)"', lines[-1])
    return one_line(quoted[1].replace('\\"', '"') if quoted else lines[-1])
