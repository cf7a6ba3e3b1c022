"""What skopeo says, as our errors: messages of versions 1.9 to 1.22, shortened."""

from __future__ import annotations

import time

import pytest
from bootc_skopeo.failures import failure, is_transient, last_words, one_line

from bootc.errors import (
    AuthenticationError,
    FetchError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    PolicyError,
    UnsupportedError,
)

MESSAGES: dict[str, type[FetchError]] = {
    "reading manifest 3 in 127.0.0.1:5987/a/b: manifest unknown: manifest unknown": NotFoundError,
    "reading manifest latest in quay.io/a/b: name unknown: repository not found": NotFoundError,
    "open /nonexistent/index.json: no such file or directory": NotFoundError,
    'no descriptor found for reference "foo"': NotFoundError,
    'Tag "docker.io/library/foo:1" not found': NotFoundError,
    'locating item named "sha256:00": file does not exist': NotFoundError,
    'reference "[vfs@/s]a:1" does not resolve to an image ID': NotFoundError,
    "reading manifest 1 in host/a: unauthorized: authentication required": AuthenticationError,
    "unable to retrieve auth token: invalid username/password: unauthorized": AuthenticationError,
    "reading manifest latest in docker.io/a/b: requested access to the resource is denied": AuthenticationError,
    "open /srv/os/index.json: permission denied": FetchError,
    "Running image docker://a/b:1 is rejected by policy.": PolicyError,
    "Source image rejected: A signature was required, but no signature exists": PolicyError,
    "corrupted blob, expecting sha256:00, got sha256:11": IntegrityError,
    "expected 10 bytes in blob, got 20": IntegrityError,
    'no image found in manifest list for architecture s390x, variant "", OS linux': UnsupportedError,
    "unsupported schema version 1": UnsupportedError,
    'pinging container registry a:1: Get "https://a:1/v2/": dial tcp 1.2.3.4:1: connection refused': NetworkError,
    'Get "https://a/v2/": x509: certificate signed by unknown authority': NetworkError,
    "reading blob sha256:00: unexpected EOF": NetworkError,
    "received unexpected HTTP status: 503 Service Unavailable": NetworkError,
    "Error fetching blob: invalid status code from registry 502 (Bad Gateway)": NetworkError,
    "reading manifest os in a:1/b: StatusCode: 429,": NetworkError,
    "reading manifest os in a:1/b: StatusCode: 403,": AuthenticationError,
    "reading manifest os in a:1/b: StatusCode: 404,": NotFoundError,
    "fetching blob: toomanyrequests: too many requests": NetworkError,
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock: no such file or directory": NetworkError,
    "strange weather": FetchError,
}


@pytest.mark.parametrize(("text", "kind"), MESSAGES.items(), ids=MESSAGES)
def test_a_message_becomes_the_error_that_fits(text: str, kind: type[FetchError]) -> None:
    error = failure("a/b:1", text)
    assert (type(error), error.message) == (kind, f"a/b:1: {text}")


def test_the_code_counts_where_the_text_says_nothing() -> None:
    assert type(failure("a", "strange weather", "retryable")) is NetworkError
    assert type(failure("a", "manifest unknown", "retryable")) is NotFoundError
    assert type(failure("a", "strange weather", "other")) is FetchError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unexpected EOF", True),
        ("connection reset by peer", True),
        ("x509: certificate has expired", False),
        ("http: server gave HTTP response to HTTPS client", False),
        ("lookup a.invalid: no such host", False),
        ("manifest unknown", False),
    ],
)
def test_only_what_may_pass_is_tried_again(text: str, expected: bool) -> None:
    assert is_transient(failure("a", text)) is expected


def test_secrets_in_addresses_are_left_out() -> None:
    text = 'Get "https://user:word@host/blob?X-Signature=secret&a=b": EOF at http://other/x?token=1'
    assert one_line(text) == 'Get "https://host/blob?…": EOF at http://other/x?…'


def test_a_very_long_message_takes_no_time_and_keeps_its_secrets() -> None:
    started = time.process_time()
    text = one_line("https://host/" * 20_000 + "?secret and the cause")
    assert time.process_time() - started < 3
    assert text == "… and the cause"


def test_a_message_is_one_line_for_every_terminal() -> None:
    assert one_line("a\n  b\x1b[31mred\x00\t\u202ec") == "a b [31mred c"
    long = one_line("x" * 1000 + " the cause")
    assert (len(long), long[0], long[-9:]) == (401, "…", "the cause")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (b"", ""),
        (b'time="a" level=warning msg="first"\ntime="b" level=fatal msg="say \\"why\\""\n', 'say "why"'),
        (b"panic: runtime error\n\n", "panic: runtime error"),
        (b"Error: unknown flag: --x", "Error: unknown flag: --x"),
    ],
)
def test_the_last_line_of_the_log_is_the_reason(log: bytes, words: str) -> None:
    assert last_words(log) == words
