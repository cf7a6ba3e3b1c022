"""A registry, an installed disk and images, made once for all tests of whole commands that ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bootc.host.mounts import unshare_mounts
from tests.integration.failing import World
from tests.integration.sysroots import Layout, copy_mounted, installed_disk, os_layers
from tests.servers import RegistryServer


@pytest.fixture(scope="session")
def own_mounts() -> None:
    """A mount namespace for the tests: no other process holds what they mount, and nothing is left when they end."""
    unshare_mounts()


@pytest.fixture(scope="session")
def world(own_mounts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    layout = Layout(folder / "os")
    layout.add("v1", os_layers("1"))
    layout.add("v2", os_layers("2"))
    config = folder / "config.toml"
    config.write_text('[fetchers.registry]\ninsecure = ["127.0.0.1"]\nbackoff = 0.001\nretries = 2\n')
    with RegistryServer(folder / "registry") as registry:
        yield World(layout, installed_disk(folder, layout, "v1"), registry, config)


@pytest.fixture
def root(world: World, tmp_path: Path) -> Iterator[Path]:
    """A sysroot of one's own, with v1 on it."""
    with copy_mounted(world.disk, tmp_path) as mounted:
        yield mounted
