"""The kit's fake registry, seen by Python's own HTTP client; and the catalogue of hostile ones."""

from __future__ import annotations

import http.client
import io
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from bootc.testing.hostile import CATALOGUE, count
from bootc.testing.hostile.layers import zstd_zeros
from bootc.testing.registry import (
    REPOSITORY,
    Action,
    Authority,
    Bearer,
    FakeRegistry,
    Framing,
    answers,
    basic,
    compressed,
    cut_after,
    digest_of,
    framed,
    hangs_up,
    headed,
    holds,
    ignores_range,
    preceded_by,
    redirects,
    repeated,
    resets,
    shifted_range,
    stops_in_head,
    together,
    unanswered,
    with_body,
    with_headers,
    with_more_headers,
)

LAYER = bytes(range(256)) * 40
PATH = f"/v2/{REPOSITORY}/blobs/{digest_of(LAYER)}"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        server.add_image("latest", LAYER)
        yield server


def ask(registry: FakeRegistry, path: str = PATH, patience: float = 5.0, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(registry.address, timeout=patience)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def test_an_image_is_served(registry: FakeRegistry) -> None:
    answer = ask(registry, f"/v2/{REPOSITORY}/manifests/latest")
    media_type, data = registry.documents["latest"]
    assert (answer.status, answer.read()) == (200, data)
    assert (answer.headers["Content-Type"], answer.headers["Docker-Content-Digest"]) == (media_type, digest_of(data))
    assert ask(registry).read() == LAYER
    assert registry.paths() == ["manifests/latest", f"blobs/{digest_of(LAYER)[:19]}"]


@pytest.mark.parametrize(
    ("asked", "status", "said", "body"),
    [
        ("bytes=10-", 206, "bytes 10-10239/10240", LAYER[10:]),
        ("bytes=10-19", 206, "bytes 10-19/10240", LAYER[10:20]),
        ("bytes=10230-99999", 206, "bytes 10230-10239/10240", LAYER[10230:]),
        ("bytes=10240-", 416, "bytes */10240", b""),
        ("bytes=0-1,5-6", 200, None, LAYER),
    ],
)
def test_ranges_are_served(registry: FakeRegistry, asked: str, status: int, said: str | None, body: bytes) -> None:
    answer = ask(registry, Range=asked)
    assert (answer.status, answer.headers["Content-Range"], answer.read()) == (status, said, body)


@pytest.mark.parametrize(
    ("action", "status", "body"),
    [
        pytest.param(answers(503, b"no", Retry_After="1"), 503, b"no", id="another answer"),
        pytest.param(redirects("/x/{digest}"), 307, b"moved", id="redirect"),
        pytest.param(with_body(lambda body: body[:3]), 200, LAYER[:3], id="body"),
        pytest.param(with_headers(Content_Length="5"), 200, LAYER[:5], id="too short a length"),
        pytest.param(framed(Framing.CHUNKED), 200, LAYER, id="chunks"),
        pytest.param(framed(Framing.CLOSE), 200, LAYER, id="end of the connection"),
        pytest.param(repeated(3), 200, LAYER * 3, id="repeated"),
        pytest.param(together(repeated(2), framed(Framing.CHUNKED)), 200, LAYER * 2, id="together"),
        pytest.param(preceded_by(b"HTTP/1.1 100 Continue\r\n\r\n", 3), 200, LAYER, id="interim answers"),
        pytest.param(headed(b"HTTP/1.1 299 Odd\r\n\r\n"), 299, LAYER, id="another head"),
        pytest.param(with_more_headers(("X", "a"), ("X", "b")), 200, LAYER, id="more headers"),
    ],
)
def test_answers_are_spoiled_once(registry: FakeRegistry, action: Action, status: int, body: bytes) -> None:
    registry.disturb("blobs", action)
    answer = ask(registry)
    assert (answer.status, answer.read()) == (status, body)
    assert ask(registry).read() == LAYER


@pytest.mark.parametrize(
    ("action", "error"),
    [
        pytest.param(cut_after(100), http.client.IncompleteRead, id="cut"),
        pytest.param(framed(Framing.UNENDED), http.client.IncompleteRead, id="no last chunk"),
        pytest.param(hangs_up, http.client.RemoteDisconnected, id="hung up"),
        pytest.param(resets(), ConnectionResetError, id="reset"),
        pytest.param(holds(100), TimeoutError, id="holds"),
        pytest.param(unanswered, TimeoutError, id="unanswered"),
        pytest.param(stops_in_head(b"HTTP/1.1 200 OK\r\nX"), TimeoutError, id="half a head"),
    ],
)
def test_connections_are_spoiled_for_ever(registry: FakeRegistry, action: Action, error: type[Exception]) -> None:
    registry.disturb("blobs", action, is_forever=True)
    for _ in range(2):
        with pytest.raises(error):
            ask(registry, patience=0.3).read()


def test_ranges_are_ignored_and_shifted(registry: FakeRegistry) -> None:
    registry.disturb("blobs", ignores_range, shifted_range(1))
    assert ask(registry, Range="bytes=10-").read() == LAYER
    shifted = ask(registry, Range="bytes=10-")
    assert (shifted.headers["Content-Range"], shifted.read()) == ("bytes 10-10239/10240", LAYER[11:] + b"!")


def test_compression_is_said(registry: FakeRegistry) -> None:
    registry.disturb("blobs", compressed)
    answer = ask(registry)
    assert (answer.headers["Content-Encoding"], answer.read()[:2]) == ("gzip", b"\x1f\x8b")


def test_tokens_cost_a_login_and_are_used_up(registry: FakeRegistry) -> None:
    registry.bearer = Bearer(uses=1, login=("anna", "p:w"), key="access_token", answer={})
    refused = ask(registry)
    assert (refused.status, f'realm="{registry.base}/token' in refused.headers["WWW-Authenticate"]) == (401, True)
    assert ask(registry, "/token").status == 401
    given = ask(registry, "/token", Authorization=basic("anna", "p:w")).read().decode()
    (token,) = re.findall(r'"access_token": "([^"]+)"', given)
    assert [ask(registry, Authorization=f"Bearer {token}").status for _ in range(2)] == [200, 401]


@pytest.mark.parametrize(
    ("names", "days", "is_good"), [("IP:127.0.0.1", 1, True), ("IP:127.0.0.9", 1, False), ("IP:127.0.0.1", -1, False)]
)
def test_certificates_are_what_they_are_said_to_be(tmp_path: Path, names: str, days: int, is_good: bool) -> None:
    authority = Authority.create(tmp_path)
    context = ssl.create_default_context(cafile=authority.own.certificate)
    with FakeRegistry(authority.certificate("server", names, days)) as server:
        server.add_image("latest", LAYER)
        connection = http.client.HTTPSConnection(server.address, timeout=5, context=context)
        try:
            connection.request("GET", PATH)
            assert (connection.getresponse().read(), is_good) == (LAYER, True)
        except ssl.SSLCertVerificationError:
            assert not is_good


# ---------------------------------------------------------------- the catalogue


@pytest.mark.parametrize("number", CATALOGUE)
def test_cases_of_a_clause_have_different_names(number: str) -> None:
    names = [case.name for case in CATALOGUE[number].cases]
    assert sorted(set(names)) == sorted(names) != []


def test_the_documentation_counts_the_cases() -> None:
    text = (Path(__file__).parents[2] / "docs/testing.md").read_text()
    assert count() >= 150
    assert f"{count()} cases" in text


def test_a_bomb_is_what_zstd_reads() -> None:
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(zstd_zeros(1 << 20)))
    assert reader.read() == bytes(1 << 20)
