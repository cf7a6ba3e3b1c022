"""What docs/publishing.md advises, with Debian's own tools: builds that repeat, and layers in the form zstd:chunked."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.integration.main_job import Host, Registry, host_on_disk
from tests.ostree_images import base_layer
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root

FILES, SIZE, CHANGED = 60, 30_000, (7, 41)


@frozen
class Buildah:
    """buildah with a storage of its own."""

    folder: Path

    def run(self, *words: str) -> str:
        """Run it; what it printed."""
        places = ("--root", f"{self.folder}/storage", "--runroot", f"{self.folder}/run", "--storage-driver", "vfs")
        done = subprocess.run(["buildah", *places, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, version: str, *trees: Path) -> str:
        """An image of one layer: a base that can boot, and these folders in /usr/share."""
        base = self.folder / "base.tar"
        base.write_bytes(base_layer().data)
        container = self.run("from", "scratch")
        self.run("add", container, str(base), "/")
        for tree in trees:
            self.run("copy", container, str(tree), "/usr/share/")
        self.run("config", "--label", "containers.bootc=1", "--label", f"version={version}", container)
        name = f"localhost/os:{version}"
        self.run("commit", "--timestamp", "0", container, name)
        return name

    def push(self, name: str, target: str, form: str) -> None:
        """To a registry that speaks plain HTTP."""
        self.run("push", "--tls-verify=false", "--compression-format", form, name, f"docker://{target}")


@pytest.fixture
def buildah(tmp_path: Path) -> Buildah:
    folder = tmp_path / "buildah"
    folder.mkdir()
    return Buildah(folder)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.serving(tmp_path / "registry") as registry:
        yield registry


def write_tree(folder: Path, version: str, time: int = 1000) -> Path:
    """Files that cannot be compressed; some differ from version to version."""
    folder.mkdir(exist_ok=True)
    for number in range(FILES):
        path = folder / f"{number:03}"
        seed = f"{number} {version if number in CHANGED else ''}"
        path.write_bytes(random.Random(seed).randbytes(SIZE))
        os.utime(path, (time, time))
    return folder


def told(run: Any) -> dict[str, Any]:
    assert run.code == 0, run.err
    found: dict[str, Any] = json.loads(run.out)
    return found


def plan(registry: Registry, *tags: str) -> dict[str, Any]:
    config = registry.server.folder / "plan.toml"
    config.write_text(f'[fetchers.registry]\ninsecure = ["{registry.server.address}"]\n')
    places = [f"docker://{registry.server.address}/os:{tag}" for tag in tags]
    return told(bootc("--config", str(config), "image", "plan", *places, "--json"))


@pytest.mark.parametrize("form", ["zstd:chunked", "gzip"])
def test_an_image_by_buildah_is_updated(tmp_path: Path, buildah: Buildah, registry: Registry, form: str) -> None:
    """The blobs of Debian 12's buildah are of an early form, which podman 5 does not take."""
    for version in ("1", "2"):
        name = buildah.commit(version, write_tree(tmp_path / "files", version))
        buildah.push(name, f"{registry.server.address}/os:{version}", form)
    predicted = plan(registry, "1", "2")["methods"]
    move_tag(registry, "1")
    with host_on_disk(tmp_path / "host", registry.server.address) as host:
        host.config.write_text(host.config.read_text() + '[fetch]\npartial = "always"\n')
        host.install(f"docker://{registry.name}")
        move_tag(registry, "2")
        found = told(host.bootc("upgrade", "--json"))
        assert host.versions() == ["2", "1"]
        require_files(host, "2")
    whole = found["layersFetched"][0]["size"]
    assert predicted["layers"]["bytes"] == whole > FILES * SIZE
    expected = len(CHANGED) * SIZE if form == "zstd:chunked" else whole
    assert predicted["parts"]["bytes"] == found["bytesFetched"]
    assert expected <= found["bytesFetched"] < expected + 20_000


def move_tag(registry: Registry, tag: str) -> None:
    """Let `latest` be the image of this tag. A second push by buildah would drop the annotations."""
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests")
    names = (f"docker://{registry.server.address}/os:{tag}", f"docker://{registry.name}")
    subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", *plain, *names], check=True)


def require_files(host: Host, version: str) -> None:
    for number in (*CHANGED, 0):
        seed = f"{number} {version if number in CHANGED else ''}"
        found = (host.deployments[0] / f"usr/share/{number:03}").read_bytes()
        assert found == random.Random(seed).randbytes(SIZE)


@pytest.mark.parametrize(("options", "missing"), [(("--timestamp", "0"), 0), ((), 1)], ids=["fixed", "not fixed"])
def test_a_build_repeats_if_its_time_is_fixed(
    tmp_path: Path, buildah: Buildah, registry: Registry, options: tuple[str, ...], missing: int
) -> None:
    for number, time in enumerate((1000, 2000)):
        folder = tmp_path / f"context{number}"
        folder.mkdir()
        write_tree(folder / "files", "1", time)
        (folder / "Containerfile").write_text("FROM scratch\nLABEL containers.bootc=1\nCOPY files /usr/share/\n")
        buildah.run("build", *options, "--no-cache", "--tag", f"localhost/os:{number}", str(folder))
        buildah.push(f"localhost/os:{number}", f"{registry.server.address}/os:{number}", "gzip")
    assert len(plan(registry, "0", "1")["missing"]) == missing


def test_archives_by_gnu_tar_repeat(tmp_path: Path) -> None:
    archives = []
    for number, time in enumerate((2_000_000, 3_000_000)):
        tree = write_tree(tmp_path / f"{number}", "1", time)
        stable = ("--mtime=@1000000", "--clamp-mtime", "--sort=name", "--numeric-owner", "--format=pax")
        delete = "--pax-option=delete=atime,delete=ctime"
        done = subprocess.run(["tar", "-C", tree, *stable, delete, "-c", "."], capture_output=True, check=True)
        archives.append(done.stdout)
    assert archives[0] == archives[1]
