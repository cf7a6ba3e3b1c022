"""What every test with virtual machines stands on: the sample image with this checkout inside, and a registry."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import RegistryServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry that guests reach as `10.0.2.2:{registry.port}`."""
    with RegistryServer(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as a wheel. Equal sources give an equal file, so that an unchanged project costs no new image."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def image_layout(tmp_path_factory: pytest.TempPathFactory, wheel: Path, registry: RegistryServer) -> Path:
    """An OCI layout with the sample image's tags v1 and v2, which trust the registry of this session."""
    layout = tmp_path_factory.mktemp("image") / "layout"
    options = ["--output", str(layout), "--wheel", str(wheel), "--insecure-registry", f"10.0.2.2:{registry.port}"]
    subprocess.run(["/usr/bin/python3", str(ROOT / "images/debian/build.py"), *options], check=True)
    return layout
