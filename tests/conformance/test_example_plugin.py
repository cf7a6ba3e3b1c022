"""The example in docs/examples: a backend in a distribution of its own, installed by pip, keeps the contract."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.dirimage_system import os_layers
from tests.integration.sysroots import MIB, Layout, make_disk, mounted

pytestmark = pytest.mark.root

EXAMPLE = Path(__file__).parents[2] / "docs/examples/bootc-btrfs"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new virtual environment, which has what this one has, and the example."""
    folder = tmp_path_factory.mktemp("example")
    venv.create(folder / "venv")
    found = folder / "venv/bin/python"
    packages = folder / f"venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (packages / "of-the-tests.pth").write_text("\n".join(entry for entry in sys.path if entry))
    source = shutil.copytree(EXAMPLE, folder / "bootc-btrfs", ignore=shutil.ignore_patterns("__pycache__"))
    pip = ("-m", "pip", "--python", str(found), "install", "-q", "--no-index", "--no-deps", "--no-build-isolation")
    run([sys.executable, *pip, str(source)], folder)
    shutil.rmtree(source)
    return found


def run(command: Sequence[str], folder: Path) -> str:
    """The output of a program that must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_installed_example_is_found(python: Path, tmp_path: Path) -> None:
    listed = run([str(python), "-m", "bootc", "plugins"], tmp_path)
    assert re.search(r"^.*btrfs.*read-only snapshots on btrfs.*$", listed, re.MULTILINE)
    assert "bootc-btrfs 1.0" in listed


def test_systems_are_installed_and_upgraded_with_the_example(python: Path, tmp_path: Path) -> None:
    layout, disk = Layout(tmp_path / "images"), tmp_path / "disk"
    layout.add("os", os_layers("1"))
    with disk.open("wb") as file:
        file.truncate(300 * MIB)
    run(["mkfs.btrfs", "-q", str(disk)], tmp_path)
    with mounted(disk, tmp_path / "target") as root:
        bootc = [str(python), "-m", "bootc"]
        options = ("--source-imgref", layout.reference("os"), "--bootloader", "none", "--backend", "btrfs")
        run([*bootc, "install", "to-filesystem", *options, "--skip-finalize", str(root)], tmp_path)
        layout.add("os", os_layers("2"))
        run([*bootc, "--sysroot", str(root), "upgrade"], tmp_path)
        status = json.loads(run([*bootc, "--sysroot", str(root), "status", "--json"], tmp_path))["status"]
        deployed = [root / entry["btrfs"]["subvolume"] for entry in status["otherDeployments"]]
        assert [(tree / "usr/lib/version").read_text() for tree in deployed] == ["2", "1"]


def test_other_filesystems_are_refused_before_anything_is_written(python: Path, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "images")
    layout.add("os", os_layers("1"))
    with mounted(make_disk(tmp_path / "disk"), tmp_path / "target") as root:
        options = ("--source-imgref", layout.reference("os"), "--bootloader", "none", "--backend", "btrfs")
        command = [str(python), "-m", "bootc", "install", "to-filesystem", *options, str(root)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"error: {root}: backend 'btrfs' does not work on ext4" in done.stderr
        assert [path.name for path in root.iterdir()] == ["lost+found"]


def test_the_installed_example_keeps_the_contract(python: Path, tmp_path: Path) -> None:
    kit = (
        "-m",
        "pytest",
        "-q",
        "-p",
        "bootc.testing.plugin",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'kit'}",
    )
    by_name = ("--pyargs", "bootc.testing.conformance", "--bootc-backend", "btrfs", "--bootc-no-skip")
    summary = run([str(python), *kit, *by_name], tmp_path).splitlines()[-1]
    passed = re.search(r"(\d+) passed", summary)
    assert passed is not None, summary
    assert int(passed[1]) > 90
