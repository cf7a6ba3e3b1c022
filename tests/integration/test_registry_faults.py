"""Registries that fail, lie, stall and cut: each gives the right bytes or the right error, and soon."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bootc.errors import (
    AuthenticationError,
    BootcError,
    CancelledError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    ProtocolError,
    UnsupportedError,
)
from bootc.fetcher import Source
from bootc.image import Descriptor, Digest, ImageReference
from bootc.manifest import DOCKER_MANIFEST, OCI_INDEX
from bootc.testing.registry import (
    CONFIG_TYPE,
    REPOSITORY,
    Action,
    Bearer,
    FakeRegistry,
    Received,
    Reply,
    answers,
    compressed,
    cut_after,
    digest_of,
    drips,
    holds,
    ignores_range,
    normal,
    unanswered,
    with_body,
    with_headers,
)
from tests.integration.registry_fetching import AMD64, fetching, pull, read
from tests.servers import Certificate, make_certificate

LAYER = bytes(range(256)) * 10_000
LAYER_PATH = f"blobs/{digest_of(LAYER)}$"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        server.add_image("latest", LAYER)
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def _name(registry: FakeRegistry) -> str:
    return f"docker://{registry.address}/{REPOSITORY}:latest"


def _ranges(registry: FakeRegistry) -> list[str | None]:
    """The ranges in which the layer was asked for."""
    return [r.headers.get("range") for r in registry.received if r.path.endswith(digest_of(LAYER))]


# ---------------------------------------------------------------- what another try mends


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 520, 529, 599])
@pytest.mark.parametrize(("method", "path"), [("GET", "manifests"), ("GET", "blobs"), ("GET", "token"), ("HEAD", "")])
def test_a_server_in_trouble_is_asked_again(
    registry: FakeRegistry, tmp_path: Path, status: int, method: str, path: str
) -> None:
    registry.bearer = Bearer()
    trouble = answers(status, b"overloaded", Retry_After="0")
    registry.disturb(path, trouble, trouble, method=method)
    with fetching(tmp_path) as fetcher:
        assert str(fetcher.peek(ImageReference.parse(_name(registry)))) == digest_of(registry.documents["latest"][1])
        assert pull(fetcher, _name(registry)).layers == (LAYER,)


@pytest.mark.parametrize("path", ["manifests", "blobs", "token"])
def test_a_server_in_trouble_for_ever_is_an_error(registry: FakeRegistry, tmp_path: Path, path: str) -> None:
    registry.bearer = Bearer()
    words = json.dumps({"errors": [{"code": "UNAVAILABLE", "message": "back at \x1b[31mnoon"}]}).encode()
    registry.disturb(path, answers(503, words), is_forever=True)
    with fetching(tmp_path, retries=3) as fetcher, pytest.raises(NetworkError) as caught:
        pull(fetcher, _name(registry))
    text = f"{registry.address} answered 503 (UNAVAILABLE: back at ?[31mnoon) (4 tries)"
    assert caught.value.problem == text
    assert sum(path in request.path for request in registry.received) == 4


def test_a_limit_of_requests_is_explained(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb("manifests", answers(429), is_forever=True)
    with fetching(tmp_path, retries=1) as fetcher, pytest.raises(NetworkError, match="429") as caught:
        pull(fetcher, _name(registry))
    assert "limits requests" in (caught.value.hint or "")


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_manifest_that_is_cut_is_asked_for_again(registry: FakeRegistry, tmp_path: Path, size: int) -> None:
    registry.disturb("manifests", cut_after(size), lambda request, reply: Reply(0, {}, b""))
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (LAYER,)


def test_a_blob_that_is_cut_is_continued(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb(LAYER_PATH, cut_after(1_000_000), cut_after(500_000))
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (LAYER,)
    assert _ranges(registry) == [None, "bytes=1000000-", "bytes=1500000-"]


def test_progress_earns_new_tries(registry: FakeRegistry, tmp_path: Path) -> None:
    big = bytes(12 << 20)
    registry.add_image("latest", big)
    registry.disturb(digest_of(big), cut_after(1 << 20), is_forever=True)
    with fetching(tmp_path, retries=1) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (big,)


def test_cuts_without_progress_end(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb(LAYER_PATH, cut_after(10), is_forever=True)
    with fetching(tmp_path, retries=4) as fetcher, pytest.raises(NetworkError, match="5 tries"):
        pull(fetcher, _name(registry))
    assert _ranges(registry) == [None, "bytes=10-", "bytes=20-", "bytes=30-", "bytes=40-"]


def test_a_range_that_is_ignored_is_read_past(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb(LAYER_PATH, cut_after(1_000_000), ignores_range)
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (LAYER,)
    assert _ranges(registry) == [None, "bytes=1000000-"]


def test_a_token_that_expires_in_a_blob_is_renewed(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer(uses=3)
    registry.disturb(LAYER_PATH, cut_after(1_000_000))
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (LAYER,)
    assert len(registry.bearer.given) == 2


def test_a_server_that_stops_in_the_middle_is_asked_again(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb(LAYER_PATH, holds(1_000_000))
    with fetching(tmp_path, read_timeout=1) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (LAYER,)
    assert _ranges(registry) == [None, "bytes=1000000-"]


@pytest.mark.parametrize("action", [holds(0), drips], ids=["nothing", "a byte now and then"])
@pytest.mark.parametrize("path", ["manifests", LAYER_PATH])
def test_a_server_that_stalls_for_ever_is_an_error(
    registry: FakeRegistry, tmp_path: Path, path: str, action: Action
) -> None:
    registry.disturb(path, action, is_forever=True)
    with fetching(tmp_path, read_timeout=0.1, retries=1) as fetcher, pytest.raises(NetworkError, match="2 tries"):
        pull(fetcher, _name(registry))


def test_reading_can_begin_anywhere(registry: FakeRegistry, tmp_path: Path) -> None:
    with fetching(tmp_path) as fetcher, fetcher.resolve(ImageReference.parse(_name(registry)), AMD64) as source:
        (layer,) = source.image.layers
        starts = (0, 1, len(LAYER) - 1, len(LAYER))
        assert [read(source, layer.blob, start) for start in starts] == [LAYER[start:] for start in starts]
        registry.disturb(LAYER_PATH, ignores_range)
        assert read(source, layer.blob, 1_500_000) == LAYER[1_500_000:]
        with source.open_blob(layer.blob, 2_000_000) as stream:
            assert stream.read() == LAYER[2_000_000:]
    assert _ranges(registry) == [None, "bytes=1-", f"bytes={len(LAYER) - 1}-", "bytes=1500000-", "bytes=2000000-"]


def test_a_blob_that_was_compressed_before_may_be_called_so(registry: FakeRegistry, tmp_path: Path) -> None:
    blob = gzip.compress(LAYER)
    registry.add_image("latest", blob)
    registry.disturb(digest_of(blob), with_headers(Content_Encoding="gzip"))
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (blob,)


# ---------------------------------------------------------------- what no other try mends


def _changed(change: Callable[[dict[str, object]], object]) -> Action:
    """The manifest with other content, and a digest that fits."""

    def action(request: Received, reply: Reply) -> Reply:
        document = json.loads(reply.body)
        change(document)
        body = json.dumps(document).encode()
        return Reply(200, {**reply.headers, "Docker-Content-Digest": digest_of(body)}, body)

    return action


def _served(body: bytes) -> Action:
    return lambda request, reply: Reply(200, {"Content-Type": reply.headers["Content-Type"]}, body)


NOT_FOUND = answers(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown tag"}]}')


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        pytest.param(NOT_FOUND, NotFoundError, "unknown tag", id="404"),
        pytest.param(answers(403), AuthenticationError, "403", id="403"),
        pytest.param(answers(401), AuthenticationError, "no known way", id="401 without challenge"),
        pytest.param(answers(400), ProtocolError, "400", id="400"),
        pytest.param(answers(204), ProtocolError, "204", id="204"),
        pytest.param(answers(304), ProtocolError, "304", id="304"),
        pytest.param(answers(501), NetworkError, "501", id="501"),
        pytest.param(answers(505), NetworkError, "505", id="505"),
        pytest.param(answers(511), NetworkError, "511", id="511"),
        pytest.param(_served(b" " * (5 << 20)), ProtocolError, "larger than", id="5 MiB"),
        pytest.param(_served(b'{"schemaVersion":2,"schemaVersion":2}'), ProtocolError, "JSON", id="duplicate keys"),
        pytest.param(_served(b"<html>"), ProtocolError, "JSON", id="no JSON"),
        pytest.param(_served(b"[" * 100_000), ProtocolError, "JSON", id="deep nesting"),
        pytest.param(_served(b'{"schemaVersion":1}'), UnsupportedError, "version", id="schema 1"),
        pytest.param(with_headers(Docker_Content_Digest=digest_of(b"")), IntegrityError, "another digest", id="lie"),
        pytest.param(with_headers(Docker_Content_Digest="md5:00"), ProtocolError, "digest", id="no digest"),
        pytest.param(with_headers(Docker_Content_Digest="../../x"), ProtocolError, "digest", id="digest as path"),
        pytest.param(with_headers(Content_Type=OCI_INDEX), ProtocolError, "contradicts", id="wrong media type"),
        pytest.param(compressed, ProtocolError, "compresses", id="compressed"),
        pytest.param(
            _changed(lambda d: d.update(manifests=[])), ProtocolError, "more than one way", id="index and image"
        ),
        pytest.param(_changed(lambda d: d.update(layers=[])), UnsupportedError, "no layers", id="no layers"),
        pytest.param(_changed(lambda d: d.update(layers=d["layers"] * 2)), ProtocolError, "number", id="diffIDs"),  # type: ignore[operator]
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_at_once(
    registry: FakeRegistry, tmp_path: Path, action: Action, error: type[BootcError], words: str
) -> None:
    registry.disturb("manifests", action, is_forever=True)
    with fetching(tmp_path) as fetcher, pytest.raises(error, match=words):
        pull(fetcher, _name(registry))
    assert registry.paths().count("manifests/latest") == 1


def test_a_content_type_that_says_nothing_is_ignored(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb("manifests", with_headers(Content_Type="text/plain; charset=utf-8"))
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (LAYER,)


def test_a_docker_manifest_is_kept_as_it_is(registry: FakeRegistry, tmp_path: Path) -> None:
    _, data = registry.documents["latest"]
    document = {key: value for key, value in json.loads(data).items() if key != "mediaType"}
    document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    made = registry.add_document(
        "latest", DOCKER_MANIFEST, json.dumps({"mediaType": DOCKER_MANIFEST, **document}).encode()
    )
    with fetching(tmp_path) as fetcher:
        pulled = pull(fetcher, _name(registry))
    assert (str(pulled.image.digest), pulled.layers) == (made["digest"], (LAYER,))


def test_what_was_asked_for_by_digest_must_have_it(registry: FakeRegistry, tmp_path: Path) -> None:
    digest = digest_of(registry.documents["latest"][1])
    registry.disturb("manifests", _changed(lambda document: document.update(annotations={})), is_forever=True)
    with fetching(tmp_path) as fetcher, pytest.raises(IntegrityError):
        pull(fetcher, f"docker://{registry.address}/{REPOSITORY}@{digest}")


def test_a_manifest_of_an_index_must_have_its_size(registry: FakeRegistry, tmp_path: Path) -> None:
    entry = registry.add_image("amd", LAYER)
    platform = {"os": "linux", "architecture": "amd64"}
    registry.add_index("latest", {**entry, "size": entry["size"] + 1, "platform": platform})
    with fetching(tmp_path) as fetcher, pytest.raises(IntegrityError, match="instead of"):
        pull(fetcher, _name(registry))


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        pytest.param(NOT_FOUND, NotFoundError, "no such blob", id="404"),
        pytest.param(answers(403), AuthenticationError, "403", id="403"),
        pytest.param(answers(416), ProtocolError, "416", id="416 unasked"),
        pytest.param(answers(501), NetworkError, "501", id="501"),
        pytest.param(answers(505), NetworkError, "505", id="505"),
        pytest.param(answers(511), NetworkError, "511", id="511"),
        pytest.param(answers(206, b"x"), ProtocolError, "206", id="206 unasked"),
        pytest.param(with_body(lambda body: body + b"!"), IntegrityError, "another size", id="longer"),
        pytest.param(with_body(lambda body: body[:-1]), IntegrityError, "another size", id="shorter"),
        pytest.param(compressed, ProtocolError, "compresses", id="compressed"),
    ],
)
def test_a_blob_that_cannot_be_used_is_refused_at_once(
    registry: FakeRegistry, tmp_path: Path, action: Action, error: type[BootcError], words: str
) -> None:
    registry.disturb(LAYER_PATH, action, is_forever=True)
    with fetching(tmp_path) as fetcher, pytest.raises(error, match=words):
        pull(fetcher, _name(registry))
    assert len(_ranges(registry)) == 1


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-{last}/{size}",
        "bytes 999999-{last}/{size}",
        "bytes 1000000-{last}/7",
        "bytes 1000000-{last}",
        "bytes 1000000-1000010/{size}",
        "items 1000000-{last}/{size}",
        "bytes */{size}",
        "",
    ],
)
def test_another_range_than_the_one_asked_for_is_refused(
    registry: FakeRegistry, tmp_path: Path, content_range: str
) -> None:
    text = content_range.format(last=len(LAYER) - 1, size=len(LAYER))
    registry.disturb(LAYER_PATH, cut_after(1_000_000), with_headers(Content_Range=text))
    with fetching(tmp_path) as fetcher, pytest.raises(ProtocolError, match="another range"):
        pull(fetcher, _name(registry))


def test_a_blob_that_ends_at_the_server_before_its_size_is_told(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.blobs[digest_of(LAYER)] = LAYER[:1_000_000]
    registry.disturb(LAYER_PATH, with_headers(Content_Length=str(len(LAYER)), Connection="close"))
    with fetching(tmp_path) as fetcher, pytest.raises(IntegrityError, match="another size"):
        pull(fetcher, _name(registry))


@pytest.mark.parametrize("wrong", [b"{}", b"\xff"], ids=["other bytes", "no text"])
def test_a_config_with_another_digest_is_refused(registry: FakeRegistry, tmp_path: Path, wrong: bytes) -> None:
    digest = json.loads(registry.documents["latest"][1])["config"]["digest"]
    padded = wrong.ljust(len(registry.blobs[digest]))
    registry.disturb(digest, with_body(lambda body: padded))
    with fetching(tmp_path) as fetcher, pytest.raises(IntegrityError, match="another digest"):
        pull(fetcher, _name(registry))


def test_a_config_of_impossible_size_is_not_fetched(registry: FakeRegistry, tmp_path: Path) -> None:
    config = {"mediaType": CONFIG_TYPE, "digest": digest_of(b""), "size": 1 << 50}
    registry.disturb("manifests", _changed(lambda document: document.update(config=config)))
    with fetching(tmp_path) as fetcher, pytest.raises(ProtocolError, match="larger than"):
        pull(fetcher, _name(registry))
    assert registry.paths() == ["manifests/latest"]


@pytest.mark.parametrize(
    "headers", [{"X_Long": "x" * 100_000}, {f"X_{n}": "x" for n in range(200)}], ids=["long", "many"]
)
def test_headers_without_end_are_refused(registry: FakeRegistry, tmp_path: Path, headers: dict[str, str]) -> None:
    registry.disturb("manifests", with_headers(**headers), is_forever=True)
    with fetching(tmp_path, retries=1) as fetcher, pytest.raises(NetworkError, match="not valid HTTP"):
        pull(fetcher, _name(registry))


# ---------------------------------------------------------------- connections


def test_a_host_where_nobody_listens_is_an_error(tmp_path: Path) -> None:
    with FakeRegistry() as gone:
        name = _name(gone)
    with fetching(tmp_path, retries=1) as fetcher, pytest.raises(NetworkError, match="connection refused"):
        pull(fetcher, name)


def test_a_host_without_tls_must_be_allowed(registry: FakeRegistry, tmp_path: Path) -> None:
    with fetching(tmp_path, insecure=(), retries=0) as fetcher, pytest.raises(NetworkError, match="TLS") as caught:
        pull(fetcher, _name(registry))
    assert "marked as insecure" in (caught.value.hint or "")
    assert registry.received == []


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(tmp_path: Path, certificate: Certificate) -> None:
    with (
        FakeRegistry(certificate) as registry,
        fetching(tmp_path, insecure=()) as fetcher,
        pytest.raises(NetworkError, match="not trusted") as caught,
    ):
        pull(fetcher, _name(registry))
    assert f"certs.d/{registry.address}/" in (caught.value.hint or "")
    assert registry.connections == 1


def _trust(root: Path, registry: FakeRegistry, certificate: Certificate) -> None:
    directory = root / "etc/containers/certs.d" / registry.address
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(certificate.certificate.read_bytes())


def test_an_authority_in_certs_d_is_trusted(tmp_path: Path, certificate: Certificate) -> None:
    with FakeRegistry(certificate) as registry, fetching(tmp_path, insecure=()) as fetcher:
        registry.add_image("latest", LAYER)
        registry.bearer = Bearer()
        _trust(tmp_path, registry, certificate)
        assert pull(fetcher, _name(registry)).layers == (LAYER,)


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost"])
def test_a_certificate_for_another_host_is_refused(tmp_path: Path, host: str) -> None:
    certificate = Certificate(tmp_path / "server.crt", tmp_path / "server.key")
    files = ["-keyout", str(certificate.key), "-out", str(certificate.certificate)]
    kind = [
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:h.example,IP:127.0.0.1",
    ]
    subprocess.run(["openssl", "req", "-x509", *kind, *files], check=True, capture_output=True)
    with FakeRegistry(certificate, host) as registry, fetching(tmp_path, insecure=()) as fetcher:
        _trust(tmp_path, registry, certificate)
        with pytest.raises(NetworkError, match="is not trusted"):
            pull(fetcher, _name(registry))
        assert registry.received == []


def test_a_certificate_for_this_host_is_accepted_by_every_name(tmp_path: Path, certificate: Certificate) -> None:
    for host in ("127.0.0.1", "localhost"):
        with FakeRegistry(certificate, host) as registry, fetching(tmp_path, insecure=()) as fetcher:
            registry.add_image("latest", LAYER)
            _trust(tmp_path, registry, certificate)
            assert pull(fetcher, _name(registry)).layers == (LAYER,)


def test_an_insecure_host_may_have_any_certificate(tmp_path: Path, certificate: Certificate) -> None:
    with FakeRegistry(certificate) as registry, fetching(tmp_path) as fetcher:
        registry.add_image("latest", LAYER)
        assert pull(fetcher, _name(registry)).layers == (LAYER,)


def test_tls_is_not_left_for_a_token(tmp_path: Path, certificate: Certificate) -> None:
    with FakeRegistry(certificate) as registry, FakeRegistry() as plain, fetching(tmp_path, insecure=()) as fetcher:
        _trust(tmp_path, registry, certificate)
        registry.bearer = Bearer(realm=f"{plain.base}/token")
        with pytest.raises(ProtocolError, match="token server that is not https"):
            pull(fetcher, _name(registry))
        assert plain.connections == 0


def test_tls_is_not_left_for_storage(tmp_path: Path, certificate: Certificate) -> None:
    with FakeRegistry(certificate) as registry, FakeRegistry() as plain, fetching(tmp_path, insecure=()) as fetcher:
        registry.add_image("latest", LAYER)
        _trust(tmp_path, registry, certificate)
        registry.disturb("blobs", answers(307, Location=f"{plain.base}/storage/x"))
        with pytest.raises(ProtocolError, match="from https to http"):
            pull(fetcher, _name(registry))
        assert plain.connections == 0


# ---------------------------------------------------------------- ending


def test_closing_wakes_a_thread_that_waits(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb(LAYER_PATH, holds(1000))
    failures: list[BaseException] = []
    reading = threading.Event()

    def read_on(source: Source) -> None:
        with source.open_blob(source.image.layers[0].blob) as stream:
            try:
                while stream.read(1000):
                    reading.set()
            except BootcError as error:
                failures.append(error)

    reference = ImageReference.parse(_name(registry))
    with fetching(tmp_path, read_timeout=60) as fetcher, fetcher.resolve(reference, AMD64) as source:
        thread = threading.Thread(target=read_on, args=(source,))
        thread.start()
        assert reading.wait(10)
        fetcher.close()
        thread.join(10)
    assert [type(failure) for failure in failures] == [CancelledError]


@pytest.mark.parametrize("action", [holds(1000), unanswered], ids=["in a blob", "before the answer"])
def test_a_server_that_stalls_does_not_keep_the_user(registry: FakeRegistry, tmp_path: Path, action: Action) -> None:
    is_cancelled = threading.Event()

    def check() -> None:
        if is_cancelled.is_set():
            raise CancelledError

    def stall(request: Received, reply: Reply) -> Reply:
        is_cancelled.set()
        return action(request, reply)

    registry.disturb(LAYER_PATH, stall)
    started = time.monotonic()
    with (
        fetching(tmp_path, check_cancelled=check, read_timeout=60, connect_timeout=60) as fetcher,
        pytest.raises(CancelledError),
    ):
        pull(fetcher, _name(registry))
    assert time.monotonic() - started < 10


def test_a_host_that_does_not_answer_does_not_keep_the_user(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent, ExitStack() as stack:
        address = silent.getsockname()
        for _ in range(4):  # The queue is full then, and further connections get no answer at all.
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        end = time.monotonic() + 1

        def check() -> None:
            if time.monotonic() > end:
                raise CancelledError

        with (
            fetching(tmp_path, check_cancelled=check, read_timeout=60, connect_timeout=60) as fetcher,
            pytest.raises(CancelledError),
        ):
            pull(fetcher, f"docker://127.0.0.1:{address[1]}/os")
    assert time.monotonic() - end < 10


def test_a_pause_ends_when_the_user_says_so(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb("manifests", answers(503, Retry_After="100"), is_forever=True)
    started = time.monotonic()

    def check() -> None:
        if registry.received and time.monotonic() - started > 1:
            raise CancelledError

    with fetching(tmp_path, check_cancelled=check) as fetcher, pytest.raises(CancelledError):
        pull(fetcher, _name(registry))
    assert len(registry.received) == 1
    assert time.monotonic() - started < 20


def test_a_blob_without_size_cannot_be_asked_for(registry: FakeRegistry, tmp_path: Path) -> None:
    blob = Descriptor(CONFIG_TYPE, Digest.parse(digest_of(LAYER)), None)
    reference = ImageReference.parse(_name(registry))
    with (
        fetching(tmp_path) as fetcher,
        fetcher.resolve(reference, AMD64) as source,
        pytest.raises(ProtocolError, match="no size"),
        source.open_blob(blob),
    ):
        pass


def test_one_request_may_pass_before_trouble(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb("manifests", normal, answers(404))
    with fetching(tmp_path) as fetcher:
        pull(fetcher, _name(registry))
        with pytest.raises(NotFoundError):
            pull(fetcher, _name(registry))
