"""Registries that want a client's certificate: certs.d, one directory for each HOST:PORT."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootc.errors import ConfigError, NetworkError
from bootc.testing.registry import REPOSITORY, FakeRegistry
from tests.integration.registry_fetching import fetching, pull
from tests.servers import Certificate, make_certificate

LAYER = b"layer" * 1000


class SuspiciousRegistry(FakeRegistry):
    """TLS both ways: clients need the one certificate that it knows."""

    def __init__(self, own: Certificate, client: Certificate) -> None:
        super().__init__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.certificate, own.key)
        context.load_verify_locations(client.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        self.use_tls(context)
        self.add_image("os", LAYER)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Certificate]:
    """The server's, and the client's."""
    server, client = (make_certificate(tmp_path_factory.mktemp(name)) for name in ("server", "client"))
    return server, client


@pytest.fixture
def registry(certificates: tuple[Certificate, Certificate]) -> Iterator[SuspiciousRegistry]:
    with SuspiciousRegistry(*certificates) as registry:
        yield registry


def configure(root: Path, authority: str, server: Certificate, client: Certificate | None, place: str) -> None:
    directory = root / place / "certs.d" / authority
    directory.mkdir(parents=True)
    (directory / "server.crt").write_bytes(server.certificate.read_bytes())
    if client:
        (directory / "client.cert").write_bytes(client.certificate.read_bytes())
        (directory / "client.key").write_bytes(client.key.read_bytes())


@pytest.mark.parametrize("place", ["etc/containers", "usr/share/containers", "etc/docker"])
def test_a_client_s_certificate_is_shown(
    registry: SuspiciousRegistry, certificates: tuple[Certificate, Certificate], tmp_path: Path, place: str
) -> None:
    configure(tmp_path, registry.address, *certificates, place)
    with fetching(tmp_path, insecure=()) as fetcher:
        assert pull(fetcher, f"docker://{registry.address}/{REPOSITORY}:os").layers == (LAYER,)


def test_it_is_shown_to_its_own_registry_only(
    registry: SuspiciousRegistry, certificates: tuple[Certificate, Certificate], tmp_path: Path
) -> None:
    server, client = certificates
    configure(tmp_path, registry.address, server, None, "etc/containers")
    configure(tmp_path, "127.0.0.1", server, client, "etc/containers")
    configure(tmp_path, "127.0.0.1:1", server, client, "etc/containers")
    with fetching(tmp_path, insecure=(), retries=0) as fetcher, pytest.raises(NetworkError):
        pull(fetcher, f"docker://{registry.address}/{REPOSITORY}:os")
    assert registry.received == []


def test_each_mirror_has_certificates_of_its_own(
    registry: SuspiciousRegistry, certificates: tuple[Certificate, Certificate], tmp_path: Path
) -> None:
    configure(tmp_path, registry.address, *certificates, "etc/containers")
    with SuspiciousRegistry(*certificates) as mirror:
        text = f'[[registry]]\nlocation = "{registry.address}"\n[[registry.mirror]]\nlocation = "{mirror.address}"\n'
        (tmp_path / "etc/containers/registries.conf").write_text(text)
        with fetching(tmp_path, insecure=()) as fetcher:
            assert pull(fetcher, f"docker://{registry.address}/{REPOSITORY}:os").layers == (LAYER,)
        assert mirror.received == []
        (tmp_path / "etc/containers/certs.d" / mirror.address).symlink_to(registry.address)
        asked = len(registry.received)
        with fetching(tmp_path, insecure=()) as fetcher:
            assert pull(fetcher, f"docker://{registry.address}/{REPOSITORY}:os").layers == (LAYER,)
        assert len(registry.received) == asked


def test_a_client_s_key_with_a_password_is_an_error_and_nobody_is_asked(
    registry: SuspiciousRegistry, certificates: tuple[Certificate, Certificate], tmp_path: Path
) -> None:
    configure(tmp_path, registry.address, *certificates, "etc/containers")
    key = tmp_path / "etc/containers/certs.d" / registry.address / "client.key"
    options = ["-aes256", "-passout", "pass:secret"]
    command = ["openssl", "pkey", "-in", str(certificates[1].key), "-out", str(key), *options]
    subprocess.run(command, check=True, capture_output=True)
    with fetching(tmp_path, insecure=()) as fetcher, pytest.raises(ConfigError, match="without a password"):
        pull(fetcher, f"docker://{registry.address}/{REPOSITORY}:os")


def test_a_link_that_leads_nowhere_is_no_authority(
    registry: SuspiciousRegistry, certificates: tuple[Certificate, Certificate], tmp_path: Path
) -> None:
    configure(tmp_path, registry.address, *certificates, "etc/containers")
    (tmp_path / "etc/containers/certs.d" / registry.address / "gone.crt").symlink_to("/no/such/file.pem")
    with fetching(tmp_path, insecure=()) as fetcher:
        assert pull(fetcher, f"docker://{registry.address}/{REPOSITORY}:os").layers == (LAYER,)
