"""Memory does not grow with the image. `bench/memory.py` tells the same of layers of 1 GiB."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.main_job import NAME, Registry, host_on_disk
from tests.large_image import add_large_image, peak_memory

pytestmark = pytest.mark.root

MIB = 1 << 20
SIZE = 256 * MIB
LIMIT = 200 * MIB


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """It serves a large image; what it takes on disk is freed in the end."""
    folder = tmp_path_factory.mktemp("registry")
    with Registry.serving(folder) as registry:
        add_large_image(registry.layout, "large", SIZE)
        yield registry
    shutil.rmtree(folder)


@pytest.mark.parametrize("fetcher", ["registry", "skopeo"])
def test_large_layers_take_little_memory(tmp_path: Path, registry: Registry, fetcher: str) -> None:
    registry.publish("1")
    with host_on_disk(tmp_path, registry.server.address, fetcher, size=8 * SIZE) as host:
        host.install(f"docker://{registry.name}")
        registry.server.push(registry.layout.folder, "large", NAME)
        peaks = peak_memory(host.argv("upgrade"))
        files = [host.deployments[0] / "usr/lib" / name for name in ("noise", "lines")]
        assert [file.stat().st_size for file in files] == [SIZE, SIZE]
    (tmp_path / "disk").unlink()
    assert ("skopeo" in peaks) == (fetcher == "skopeo")
    assert 10 * MIB < sum(peaks.values()) < LIMIT
