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

LEFT_OUT = ("matrix", "long")
"""marks of tests that run only when they are asked for, by an option of the same name"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the usual run leaves out."""
    group = parser.getgroup("virtual machines")
    group.addoption("--matrix", action="store_true", help="also every pair of parts, with every kind of failure")
    group.addoption("--long", action="store_true", help="also crash runs that look at every moment of an update")


def pytest_configure(config: pytest.Config) -> None:
    """Our own markers."""
    for mark in LEFT_OUT:
        config.addinivalue_line("markers", f"{mark}: left out unless --{mark} is given")
    config.addinivalue_line("markers", "brief: takes half a minute, not ten")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is left is a choice in which each backend and each kind of failure occurs."""
    marks = [mark for mark in LEFT_OUT if not config.getoption(f"--{mark}")]
    left_out = [item for item in items if any(map(item.get_closest_marker, marks))]
    config.hook.pytest_deselected(items=left_out)
    kept = [item for item in items if item not in left_out]
    brief = [item for item in kept if item.get_closest_marker("brief")]
    items[:] = _in_order([item for item in kept if item not in brief], brief)


def _in_order(tests: list[pytest.Item], brief: list[pytest.Item]) -> list[pytest.Item]:
    """Each worker takes two tests at first, and later one before it needs it. A brief one is second, so that none of
    those that take long waits behind another one while a worker has nothing to do."""
    for place, item in enumerate(brief):
        tests.insert(2 * place + 1, item)
    return tests


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
