"""Several commands at once on one sysroot: readers always answer, and a second writer is told who is at work."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import field, frozen

from bootc.image import Image
from bootc.manifest import OCI_MANIFEST
from bootc.testing.registry import REPOSITORY, FakeRegistry, Received, Reply
from tests.integration.main_job import Host, host_on_disk
from tests.integration.sysroots import Layout, refs
from tests.ostree_images import Tar, base_layer

pytestmark = pytest.mark.root

READERS = 10
PATIENCE = 60.0
"""seconds until a test gives up"""


@frozen
class Gate:
    """Holds one answer of the registry until it is opened."""

    reached: threading.Event = field(factory=threading.Event)
    opened: threading.Event = field(factory=threading.Event)

    def __call__(self, request: Received, reply: Reply) -> Reply:
        self.reached.set()
        assert self.opened.wait(PATIENCE)
        return reply


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, registry: FakeRegistry) -> Iterator[Host]:
    """Version 1, installed from the registry."""
    serve(registry, Layout(tmp_path / "os"), "1")
    with host_on_disk(tmp_path / "host", registry.address) as found:
        found.install(f"docker://{registry.address}/{REPOSITORY}:latest")
        yield found


def serve(registry: FakeRegistry, layout: Layout, version: str) -> Image:
    """Make an image of two layers, both of this version only, the latest."""
    image = layout.add(version, [base_layer(version).data, Tar().add("etc/version", data=version.encode()).data])
    registry.add_document("latest", OCI_MANIFEST, image.manifest)
    for path in (layout.folder / "blobs/sha256").iterdir():
        registry.blobs[f"sha256:{path.name}"] = path.read_bytes()
    return image


@contextmanager
def held_upgrade(host: Host, registry: FakeRegistry, image: Image) -> Iterator[tuple[subprocess.Popen[bytes], Gate]]:
    """An upgrade that has stored the first layer and waits for the second."""
    first, second = (layer.descriptor.digest for layer in image.layers)
    gate = Gate()
    registry.disturb(str(second), gate)
    upgrade = subprocess.Popen(host.argv("upgrade"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert gate.reached.wait(PATIENCE)
        ref = f"ostree/container/blob/sha256_3A_{first.hex}"
        wait_until(lambda: ref in refs(host.root))
        yield upgrade, gate
    finally:
        gate.opened.set()
        upgrade.kill()
        upgrade.communicate()


def wait_until(holds: object) -> None:
    assert callable(holds)
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answers(host: Host) -> list[list[str]]:
    """What readers that start together say: the versions of the deployments, for each."""
    argv = host.argv("status", "--json")
    readers = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(READERS)]
    found = []
    for reader in readers:
        out, err = reader.communicate(timeout=PATIENCE)
        assert (reader.returncode, err) == (0, b"")
        found.append([entry["image"]["version"] for entry in json.loads(out)["status"]["otherDeployments"]])
    return found


def test_ten_readers_at_once_all_answer(host: Host) -> None:
    assert answers(host) == [["1"]] * READERS


def test_readers_answer_and_writers_are_refused_while_an_upgrade_runs(
    host: Host, registry: FakeRegistry, tmp_path: Path
) -> None:
    image = serve(registry, Layout(tmp_path / "os"), "2")
    with held_upgrade(host, registry, image) as (upgrade, gate):
        assert answers(host) == [["1"]] * READERS
        for words in (("upgrade",), ("switch", f"{registry.address}/other"), ("rollback",), ("internals", "cleanup")):
            run = host.bootc(*words)
            assert (run.code, run.out) == (1, "")
            assert re.fullmatch(
                rf"error: another process is changing this system: bootc --config .* upgrade \(pid {upgrade.pid}, "
                r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\) \(wait until it ends, then try again\)\n",
                run.err,
            )
        assert upgrade.poll() is None
        gate.opened.set()
        out, err = upgrade.communicate(timeout=PATIENCE)
        assert upgrade.returncode == 0, err
        assert out.startswith(b"Deployed: ")
    assert host.versions() == ["2", "1"]


def test_a_killed_writer_holds_nothing(host: Host, registry: FakeRegistry, tmp_path: Path) -> None:
    image = serve(registry, Layout(tmp_path / "os"), "2")
    with held_upgrade(host, registry, image) as (upgrade, _):
        upgrade.kill()
        upgrade.wait(PATIENCE)
    assert answers(host) == [["1"]] * READERS
    asked = len(registry.received)
    host.do("upgrade")
    assert host.versions() == ["2", "1"]
    fetched = [request.path.rpartition("/")[2] for request in registry.received[asked:]]
    assert str(image.layers[0].descriptor.digest) not in fetched
