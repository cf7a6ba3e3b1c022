"""What every test with virtual machines stands on: the sample image with this checkout inside, and a registry."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import RegistryServer
from tests.vm.disks import keep_mounts_apart
from tests.vm.story import build_image


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the usual run leaves out."""
    group = parser.getgroup("virtual machines")
    group.addoption("--matrix", action="store_true", help="also what is marked `matrix`: every pair, every kind")
    group.addoption("--long", action="store_true", help="crash runs look at every moment, not at a sample")


def pytest_configure(config: pytest.Config) -> None:
    """Our own marker."""
    config.addinivalue_line("markers", "matrix: left out unless --matrix is given")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --matrix, a choice in which each backend and each kind of failure occurs."""
    if not config.getoption("--matrix"):
        left_out = [item for item in items if item.get_closest_marker("matrix")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def is_long(pytestconfig: pytest.Config) -> bool:
    """Whether --long is given."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture(scope="session")
def own_mounts() -> None:
    """For tests that mount disks."""
    keep_mounts_apart()


@pytest.fixture(scope="session")
def port() -> int:
    """A free port: the sample image names the registry that it trusts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


@pytest.fixture
def registry(tmp_path: Path, port: int) -> Iterator[RegistryServer]:
    """A registry that guests reach as `10.0.2.2:{port}`."""
    with RegistryServer(tmp_path / "registry", port=port) as server:
        yield server


@pytest.fixture(scope="session")
def image_layout(tmp_path_factory: pytest.TempPathFactory, port: int) -> Path:
    """An OCI layout with the sample image's tags v1 and v2. SUITE chooses the Debian release."""
    return build_image(tmp_path_factory.mktemp("image"), os.environ.get("SUITE") or "trixie", port)
