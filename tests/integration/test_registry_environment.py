"""What the surroundings do to requests: proxies count, ~/.netrc and Python's own list of authorities do not."""

from __future__ import annotations

import base64
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, urlsplit, urlunsplit

import pytest

from bootc.errors import AuthenticationError, ConfigError, NetworkError, ProtocolError
from bootc.testing.registry import REPOSITORY, Bearer, FakeRegistry
from tests.integration.registry_fetching import fetching, pull
from tests.servers import Certificate, make_certificate

LAYER = b"layer" * 10_000


class Proxy:
    """A proxy, with CONNECT (RFC 9110, 9.3.6) and without, that remembers the heads of its requests."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                lines = list(iter(lambda: self.rfile.readline().strip(), b""))
                proxy.heads.append(b"\n".join(lines).decode())
                method, address, _ = lines[0].decode().split()
                parts = urlsplit(address if method != "CONNECT" else f"//{address}")
                with socket.create_connection((parts.hostname, parts.port)) as target:
                    if method == "CONNECT":
                        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                    else:
                        target.sendall(_forwarded(method, parts, lines[1:]))
                    back = threading.Thread(target=_pump, args=(target, self.connection), daemon=True)
                    back.start()
                    _pump(self.connection, target)
                    back.join(10)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _forwarded(method: str, parts: SplitResult, fields: list[bytes]) -> bytes:
    """The request as the server gets it, for one answer."""
    hops = (b"proxy-", b"connection:")
    kept = [field for field in fields if not field.lower().startswith(hops)]
    address = urlunsplit(("", "", parts.path, parts.query, ""))
    first = f"{method} {address} HTTP/1.1".encode()
    return b"\r\n".join([first, *kept, b"Connection: close", b"", b""])


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture
def registry(tmp_path: Path, certificate: Certificate) -> Iterator[FakeRegistry]:
    with FakeRegistry(certificate) as server:
        server.add_image("latest", LAYER)
        directory = tmp_path / "etc/containers/certs.d" / server.address
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes(certificate.certificate.read_bytes())
        yield server


@pytest.fixture
def plain() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        server.add_image("latest", LAYER)
        yield server


def _name(registry: FakeRegistry) -> str:
    return f"docker://{registry.address}/{REPOSITORY}:latest"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_is_used_and_keeps_its_login(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with Proxy() as proxy, fetching(tmp_path, insecure=()) as fetcher:
        monkeypatch.setenv(variable, f"http://anna:secret@{proxy.address}")
        assert pull(fetcher, _name(registry)).layers == (LAYER,)
        login = base64.b64encode(b"anna:secret").decode()
        assert [head.split()[:2] for head in proxy.heads] == [["CONNECT", registry.address]]
        assert f"Proxy-Authorization: Basic {login}".lower() in proxy.heads[0].lower()
    assert not any("authorization" in name for request in registry.received for name in request.headers)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_plain_http_has_a_proxy_of_its_own_and_so_has_the_token_server(
    plain: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    plain.bearer = Bearer()
    with Proxy() as proxy, fetching(tmp_path) as fetcher:
        monkeypatch.setenv(variable, f"http://anna:secret@{proxy.address}")
        assert pull(fetcher, _name(plain)).layers == (LAYER,)
        login = base64.b64encode(b"anna:secret").decode()
        assert all(f"Proxy-Authorization: Basic {login}".lower() in head.lower() for head in proxy.heads)
        paths = [head.split()[1].removeprefix(plain.base).partition("?")[0] for head in proxy.heads]
    manifest, token, again, config, layer = paths
    assert (token, manifest, again) == ("/token", f"/v2/{REPOSITORY}/manifests/latest", manifest)
    assert {config.rpartition("/")[0], layer.rpartition("/")[0]} == {f"/v2/{REPOSITORY}/blobs"}
    assert not any(name.startswith("proxy") for request in plain.received for name in request.headers)


@pytest.mark.parametrize("excepted", ["127.0.0.1", "127.0.0.0/8", "{address}", "other.example,127.0.0.1", "*"])
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("is_plain", [False, True], ids=["https", "http"])
def test_a_host_can_be_kept_from_the_proxy(
    registry: FakeRegistry,
    plain: FakeRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    excepted: str,
    variable: str,
    is_plain: bool,
) -> None:
    server = plain if is_plain else registry
    with Proxy() as proxy, fetching(tmp_path, insecure=(plain.address,)) as fetcher:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        monkeypatch.setenv(variable, excepted.format(address=server.address))
        assert pull(fetcher, _name(server)).layers == (LAYER,)
        assert proxy.heads == []


def test_the_login_of_a_proxy_is_not_printed(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://anna:secret@{proxy.address}")
    with fetching(tmp_path, insecure=(), retries=0) as fetcher, pytest.raises(NetworkError) as caught:
        pull(fetcher, _name(registry))
    assert caught.value.problem == f"the proxy for {registry.address}: connection refused"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "problem", "asked"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy for {} wants a login", 1),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "the proxy for {} answered 403", 1),
        (b"HTTP/1.1 503 \x1b[31mno\r\n\r\n", "the proxy for {} answered 503 (2 tries)", 2),
    ],
    ids=["407", "403", "503"],
)
def test_a_proxy_that_leads_nowhere_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, problem: str, asked: int
) -> None:
    """What cannot pass is not tried again."""
    heads: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            heads.append(b"".join(iter(self.rfile.readline, b"\r\n")))
            self.wfile.write(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as proxy:
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://anna:secret@127.0.0.1:{proxy.server_address[1]}")
        with fetching(tmp_path, insecure=(), retries=1) as fetcher, pytest.raises(NetworkError) as caught:
            pull(fetcher, "docker://registry.example/os:1")
        proxy.shutdown()
    assert caught.value.problem.startswith(problem.format("registry.example"))
    assert len(heads) == asked
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999", "ftp://127.0.0.1:1", "http://anna:secret@[::1"])
def test_a_proxy_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    with fetching(tmp_path, insecure=()) as fetcher, pytest.raises(ProtocolError) as caught:
        pull(fetcher, "docker://registry.example/os:1")
    assert caught.value.problem == "the proxy for registry.example cannot be used"
    assert "secret" not in f"{caught.value}{caught.value.hint}"


def test_netrc_is_not_read(registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login anna password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    registry.basic = ("anna", "secret")
    with fetching(tmp_path, insecure=()) as fetcher, pytest.raises(AuthenticationError, match="wants a login"):
        pull(fetcher, _name(registry))


def test_a_bundle_in_the_environment_of_requests_is_not_trusted(
    registry: FakeRegistry, tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.certificate))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate.certificate))
    with fetching(tmp_path / "other", insecure=()) as fetcher, pytest.raises(NetworkError, match="not trusted"):
        pull(fetcher, _name(registry))


@pytest.mark.parametrize("missing", ["client.key", "client.cert"])
def test_a_client_certificate_is_a_pair(
    registry: FakeRegistry, tmp_path: Path, certificate: Certificate, missing: str
) -> None:
    directory = tmp_path / "etc/containers/certs.d" / registry.address
    (directory / "client.cert").write_bytes(certificate.certificate.read_bytes())
    (directory / "client.key").write_bytes(certificate.key.read_bytes())
    with fetching(tmp_path, insecure=()) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (LAYER,)
    (directory / missing).unlink()
    with fetching(tmp_path, insecure=()) as fetcher, pytest.raises(ConfigError, match=r"is missing"):
        pull(fetcher, _name(registry))


def test_a_broken_certificate_is_named(registry: FakeRegistry, tmp_path: Path) -> None:
    broken = tmp_path / "etc/containers/certs.d" / registry.address / "broken.crt"
    broken.write_text("-----BEGIN CERTIFICATE-----\n")
    with fetching(tmp_path, insecure=()) as fetcher, pytest.raises(ConfigError, match=r"broken\.crt"):
        pull(fetcher, _name(registry))
