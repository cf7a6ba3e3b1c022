"""Upgrades in parts from a real registry, with layers that Debian's skopeo made zstd:chunked, on every backend."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.integration.sysroots import Layout, make_disk, mounted, os_layers
from tests.ostree_images import Tar
from tests.servers import RegistryServer, Request
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root

FILES = 1000
CHANGED = range(400, 410)
NEW_FILE = 9_000_000
"""bytes of the file that the version `large` brings"""
MIB = 1 << 20


def _layers(version: str) -> list[bytes]:
    """A base, and a layer of files of which a hundredth differs."""
    layer = Tar().directory("sysroot").directory("usr/lib/bootc/initramfs")
    layer.add("usr/lib/bootc/initramfs/version", data=b"2\n")
    for number in range(FILES):
        generator = random.Random(number + (FILES if version != "v1" and number in CHANGED else 0))
        size = generator.choice([300, 3000, 9000, 60_000])
        owner = "somebody" if version == "renamed" else ""
        layer.add(f"usr/share/{number // 20:03}/{number:05}", data=generator.randbytes(size), uname=owner)
    if version == "large":
        layer.add("usr/share/large", data=random.Random(version).randbytes(NEW_FILE))
    return [_trimmed(data) for data in (*os_layers("1"), layer.data)]


def _trimmed(tar: bytes) -> bytes:
    """With two blocks of zeros at the end: old skopeo loses what comes after them, and with it the diffID."""
    data = tar.rstrip(b"\0")
    return data + bytes(-len(data) % 512) + bytes(1024)


@frozen
class Published:
    """A registry with one tag, which moves from one version to the next."""

    registry: RegistryServer
    layout: Layout
    config: Path

    def push(self, version: str) -> None:
        """Let the tag be this version."""
        target = f"docker://{self.registry.address}/os:latest"
        options = ("--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false")
        form = ("--dest-compress-format", "zstd:chunked")
        command = ["skopeo", *options, *form, self.layout.reference(version), target]
        subprocess.run(command, check=True, capture_output=True)

    def install(self, root: Path, backend: str) -> None:
        """What the tag is now, to a mounted disk."""
        source = ("--source-imgref", f"docker://{self.registry.address}/os:latest", "--bootloader", "none")
        words = ("install", "to-filesystem", *source, "--skip-finalize", "--backend", backend, str(root))
        run = bootc("--config", str(self.config), *words)
        assert run.code == 0, run.err

    def configure(self, **keys: str) -> None:
        """Further keys of the fetcher."""
        text = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
        self.config.write_text(f'[fetchers.registry]\ninsecure = ["127.0.0.1"]\n{text}[fetch]\npartial = "always"\n')

    def blobs(self, since: int) -> list[Request]:
        """What was answered to requests of ours for blobs, the config's left out."""
        ours = [request for request in self.registry.requests()[since:] if request.agent.startswith("bootc/")]
        return [request for request in ours if "/blobs/" in request.path and request.size > 1000]

    def blob_size(self, path: str) -> int:
        """The size of a blob in the registry."""
        digits = path.rpartition(":")[2]
        data = self.registry.folder / f"data/docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"
        return data.stat().st_size


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("images") / "os")
    for version in ("v1", "v2", "large", "renamed"):
        layout.add(version, _layers(version), level=None)
    return layout


@pytest.fixture
def published(tmp_path: Path, layout: Layout) -> Iterator[Published]:
    with RegistryServer(tmp_path / "registry") as registry:
        published = Published(registry, layout, tmp_path / "config.toml")
        published.configure()
        published.push("v1")
        yield published


@pytest.fixture
def root(tmp_path: Path, own_mounts: None) -> Iterator[Path]:
    with mounted(make_disk(tmp_path / "disk", 300 * MIB), tmp_path / "root") as root:
        yield root


@pytest.mark.parametrize("backend", ["dirimage", "composefs", "ostree"])
def test_an_upgrade_fetches_only_what_changed(published: Published, root: Path, backend: str) -> None:
    published.install(root, backend)
    published.push("v2")
    command = ("--config", str(published.config), "--sysroot", str(root), "upgrade")
    told = bootc(*command, "--check", "--json")
    assert told.code == 0, told.err
    start = len(published.registry.requests())
    run = bootc(*command, "--json")
    assert run.code == 0, run.err
    assert "whole" not in run.err
    requests = published.blobs(start)
    assert {request.status for request in requests} == {206}
    fetched, size = sum(request.size for request in requests), published.blob_size(requests[0].path)
    assert fetched < size * 0.05
    assert json.loads(told.out)["prediction"]["bytes"] == fetched
    assert json.loads(run.out)["bytesFetched"] == fetched


@pytest.mark.parametrize("backend", ["dirimage", "composefs", "ostree"])
def test_a_layer_that_was_put_together_wrong_comes_whole(published: Published, root: Path, backend: str) -> None:
    """The names of owners stand in the tar, and not in the table of contents."""
    published.install(root, backend)
    published.push("renamed")
    start = len(published.registry.requests())
    run = bootc("--config", str(published.config), "--sysroot", str(root), "upgrade", "--json")
    assert run.code == 0, run.err
    assert json.loads(run.out)["change"] == "deployed"
    requests = published.blobs(start)
    assert [request.status for request in requests][-1] == 200
    assert requests[-1].size == published.blob_size(requests[-1].path)


def test_a_killed_upgrade_goes_on_where_it_was(published: Published, root: Path) -> None:
    published.install(root, "dirimage")
    published.push("large")
    published.configure(limit="3 MB/s")
    start = len(published.registry.requests())
    words = ("--config", str(published.config), "--sysroot", str(root), "upgrade")
    process = subprocess.Popen([sys.executable, "-m", "bootc", *words], stdin=subprocess.DEVNULL)
    try:
        _wait_for_parts(root, 4 * MIB, process)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    published.configure()
    before = _count_when_quiet(published, start)
    run = bootc(*words)
    assert run.code == 0, run.err
    first, second = published.blobs(start)[: before - start], published.blobs(before)
    assert {request.status for request in second} == {206}
    assert sum(request.size for request in second) < NEW_FILE * 1.1 - 4 * MIB + MIB + (64 << 10)
    assert first


def _count_when_quiet(published: Published, start: int) -> int:
    """How many requests there were, once the registry has noticed, and noted, that a client is gone."""
    deadline, before = time.monotonic() + 60, -1
    while (count := len(published.registry.requests())) != before or not published.blobs(start):
        assert time.monotonic() < deadline
        before = count
        time.sleep(1)
    return count


def _wait_for_parts(root: Path, size: int, process: subprocess.Popen[bytes]) -> None:
    """Until so many bytes lie in the spool."""
    deadline = time.monotonic() + 60
    while sum(part.stat().st_blocks * 512 for part in root.glob("dirimage/bootc/spool/*.parts")) < size:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
