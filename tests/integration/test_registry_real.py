"""The fetcher against a real registry, with images that skopeo pushed."""

from __future__ import annotations

import base64
import json
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from bootc.errors import AuthenticationError, NetworkError, NotFoundError
from bootc.image import ImageReference
from bootc.testing.registry import CONFIG_TYPE, LAYER_TYPE, digest_of
from tests.integration.registry_fetching import AMD64, ARM64, fetching, pull, read
from tests.servers import HTPASSWD, PASSWORD, USER, Certificate, RegistryServer, Request, make_certificate

BASE, OLD, NEW = b"base" * 100_000, b"old" * 100_000, b"new" * 100_000


def make_layout(folder: Path, **images: tuple[str, tuple[bytes, ...]]) -> Path:
    """An OCI layout with images by tag: architecture and layers."""
    (folder / "blobs/sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entries = [_add(folder, tag, *image) for tag, image in images.items()]
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return folder


def _add(folder: Path, tag: str, architecture: str, layers: tuple[bytes, ...]) -> dict[str, object]:
    rootfs = {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}
    config = {"architecture": architecture, "os": "linux", "rootfs": rootfs, "config": {}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _keep(folder, json.dumps(config).encode(), CONFIG_TYPE),
        "layers": [_keep(folder, layer, LAYER_TYPE) for layer in layers],
    }
    entry = _keep(folder, json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    return {**entry, "annotations": {"org.opencontainers.image.ref.name": tag}}


def _keep(folder: Path, data: bytes, media_type: str) -> dict[str, object]:
    (folder / "blobs/sha256" / digest_of(data).removeprefix("sha256:")).write_bytes(data)
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "layout"
    return make_layout(folder, old=("amd64", (BASE, OLD)), new=("amd64", (BASE, NEW)), arm=("arm64", (BASE,)))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path / "registry") as server:
        yield server


def _log_in(root: Path, registry: RegistryServer, password: str) -> None:
    path = root / "usr/lib/ostree/auth.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {f"{registry.address}/secret": {"auth": auth}}}))


def _requests(registry: RegistryServer, expected: int) -> list[str]:
    """What this fetcher asked for; the registry may log a request a moment after it was answered."""
    deadline = time.monotonic() + 10
    ours: list[Request] = []
    while len(ours) < expected and time.monotonic() < deadline:
        ours = [request for request in registry.requests() if request.agent.startswith("bootc/")]
    return [f"{r.method} {r.path.partition('/manifests/')[2] or r.path[-12:]}" for r in ours]


def test_an_upgrade_fetches_only_what_is_new(registry: RegistryServer, layout: Path, tmp_path: Path) -> None:
    registry.push(layout, "old", "os:latest")
    reference = ImageReference.parse(f"docker://{registry.address}/os:latest")
    with fetching(tmp_path) as fetcher:
        first = pull(fetcher, str(reference))
        assert first.layers == (BASE, OLD)
        assert fetcher.peek(reference) == first.image.top_digest
    assert _requests(registry, 5)[4:] == ["HEAD latest"]
    digest = registry.push(layout, "new", "os:latest")
    with fetching(tmp_path) as fetcher:
        assert str(fetcher.peek(reference)) == digest
        with fetcher.resolve(reference, AMD64) as source:
            missing = [layer for layer in source.image.layers if layer not in first.image.layers]
            assert [read(source, layer.blob) for layer in missing] == [NEW]
            assert str(source.image.digest) == digest
            config = json.loads(source.image.manifest)["config"]["digest"]
    expected = ["HEAD latest", "GET latest", f"GET {config[-12:]}", f"GET {digest_of(NEW)[-12:]}"]
    assert _requests(registry, 9)[5:] == expected


def test_a_blob_is_read_from_any_offset(registry: RegistryServer, layout: Path, tmp_path: Path) -> None:
    registry.push(layout, "old", "os:latest")
    reference = ImageReference.parse(f"docker://{registry.address}/os:latest")
    with fetching(tmp_path) as fetcher, fetcher.resolve(reference, AMD64) as source:
        blob = source.image.layers[1].blob
        for start in (1, 123_457, len(OLD) - 1, len(OLD)):
            assert read(source, blob, start) == OLD[start:]


def test_a_docker_image_is_taken_as_it_was_pushed(registry: RegistryServer, layout: Path, tmp_path: Path) -> None:
    target = f"docker://{registry.address}/os:docker"
    options = ["--insecure-policy", "copy", "--quiet", "--format", "v2s2", "--dest-tls-verify=false"]
    subprocess.run(["skopeo", *options, f"oci:{layout}:old", target], check=True)
    with fetching(tmp_path) as fetcher:
        pulled = pull(fetcher, target)
    assert json.loads(pulled.image.manifest)["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert digest_of(pulled.image.manifest) == str(pulled.image.digest)
    assert [str(layer.diff_id) for layer in pulled.image.layers] == [digest_of(BASE), digest_of(OLD)]


def test_an_index_of_two_platforms_is_resolved(registry: RegistryServer, layout: Path, tmp_path: Path) -> None:
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    chosen = {"old": "amd64", "arm": "arm64"}
    both = []
    for entry in entries:
        architecture = chosen.get(entry.pop("annotations")["org.opencontainers.image.ref.name"])
        if architecture:
            both.append({**entry, "platform": {"os": "linux", "architecture": architecture}})
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": both}
    folder = tmp_path / "both"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs/sha256").symlink_to(layout / "blobs/sha256")
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    top = _keep(folder, json.dumps(index).encode(), "application/vnd.oci.image.index.v1+json")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    target = f"docker://{registry.address}/os:both"
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false"]
    subprocess.run([*copy, f"oci:{folder}", target], check=True)
    with fetching(tmp_path) as fetcher:
        found = [pull(fetcher, target, platform) for platform in (AMD64, ARM64)]
        digest = fetcher.peek(ImageReference.parse(target))
    assert [pulled.layers for pulled in found] == [(BASE, OLD), (BASE,)]
    assert [str(pulled.image.digest) for pulled in found] == [entry["digest"] for entry in both]
    assert {pulled.image.top_digest for pulled in found} == {digest}


def test_what_is_not_there_is_told(registry: RegistryServer, layout: Path, tmp_path: Path) -> None:
    registry.push(layout, "old", "os:latest")
    with fetching(tmp_path) as fetcher:
        for name in ("os:missing", "missing:latest", f"os@{digest_of(b'')}"):
            with pytest.raises(NotFoundError):
                pull(fetcher, f"docker://{registry.address}/{name}")
            if "@" not in name:
                with pytest.raises(NotFoundError):
                    fetcher.peek(ImageReference.parse(f"docker://{registry.address}/{name}"))


# ---------------------------------------------------------------- what a check costs


class Relay:
    """Ends TLS before a registry without it, and counts the bytes within it, both ways."""

    def __init__(self, target: str, certificate: Certificate) -> None:
        self.sent = self.received = self.connections = 0
        host, _, port = target.rpartition(":")
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                relay.connections += 1
                with socket.create_connection((host, int(port))) as server:
                    back = threading.Thread(target=relay._pump, args=(server, self.request, "received"))
                    back.start()
                    relay._pump(self.request, server, "sent")
                    back.join(10)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pump(self, source: socket.socket, target: socket.socket, count: str) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                setattr(self, count, getattr(self, count) + len(data))
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def test_nothing_new_costs_one_request_and_less_than_a_kib_each_way(
    registry: RegistryServer, layout: Path, tmp_path: Path, certificate: Certificate
) -> None:
    repository = "department/of/rather/long/names/for/an/operating/system/image-for-the-machines"
    digest = registry.push(layout, "old", f"{repository}:latest")
    with Relay(registry.address, certificate) as relay:
        _trust(tmp_path, relay.address, certificate)
        with fetching(tmp_path, insecure=()) as fetcher:
            found = fetcher.peek(ImageReference.parse(f"docker://{relay.address}/{repository}:latest"))
        assert str(found) == digest
        assert _requests(registry, 1) == ["HEAD latest"]
        assert relay.connections == 1
        assert 0 < relay.sent < 1024
        assert 0 < relay.received < 1024


# ---------------------------------------------------------------- TLS and a login


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def _trust(root: Path, address: str, certificate: Certificate) -> None:
    directory = root / "etc/containers/certs.d" / address
    directory.mkdir(parents=True)
    (directory / "own.crt").write_bytes(certificate.certificate.read_bytes())


def test_tls_with_an_own_authority_and_a_login(layout: Path, tmp_path: Path, certificate: Certificate) -> None:
    with RegistryServer(tmp_path / "registry", htpasswd=HTPASSWD, certificate=certificate) as registry:
        digest = registry.push(layout, "old", "secret/os:latest")
        name = f"docker://{registry.address}/secret/os:latest"
        with fetching(tmp_path, insecure=(), retries=0) as fetcher, pytest.raises(NetworkError, match="not trusted"):
            pull(fetcher, name)
        _trust(tmp_path, registry.address, certificate)
        with fetching(tmp_path, insecure=()) as fetcher, pytest.raises(AuthenticationError, match="wants a login"):
            pull(fetcher, name)
        _log_in(tmp_path, registry, "wrong")
        with fetching(tmp_path, insecure=()) as fetcher, pytest.raises(AuthenticationError, match="refused"):
            pull(fetcher, name)
        _log_in(tmp_path, registry, PASSWORD)
        with fetching(tmp_path, insecure=()) as fetcher:
            pulled = pull(fetcher, name)
            assert str(fetcher.peek(ImageReference.parse(name))) == digest
        assert pulled.layers == (BASE, OLD)
        assert str(pulled.image.digest) == digest
