"""What an upgrade asks of a registry, by the registry's own log, and which programs it starts, by strace."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootc.image import Image
from bootc.manifest import OCI_INDEX
from tests.integration.main_job import NAME, Host, Registry, copy_of, host_on_disk, installed_once, two_layers
from tests.ostree_images import digest_of

pytestmark = pytest.mark.root

UNMOVED = ["HEAD manifests/latest"]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry.serving(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Host:
    """A disk on which version 1 was installed from the registry."""
    return installed_once(tmp_path_factory.mktemp("host"), registry)


@pytest.fixture
def host(tmp_path: Path, registry: Registry, installed: Host) -> Iterator[Host]:
    """The same as it was after the installation, and so is the registry."""
    registry.publish("1")
    with copy_of(installed, tmp_path) as found:
        yield found


def described(image: Image) -> list[str]:
    """The requests for a manifest that moved, and for its config."""
    config = json.loads(image.manifest)["config"]["digest"]
    return [*UNMOVED, "GET manifests/latest", f"GET blobs/{config}"]


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize("words", [("upgrade",), ("upgrade", "--check")], ids=" ".join)
def test_nothing_new_costs_one_head_request(host: Host, registry: Registry, words: tuple[str, ...]) -> None:
    for said in ("No update available.\n", f"No changes in: {registry.name}\n")[len(words) - 1 :][:1] * 2:
        with registry.counting() as asked:
            assert host.do(*words) == said
        assert asked == UNMOVED


def test_nothing_new_costs_one_head_request_after_an_installation_from_elsewhere(
    tmp_path: Path, registry: Registry
) -> None:
    """The name that upgrades follow was never looked at before: the digest alone tells."""
    image = registry.publish("1")
    with host_on_disk(tmp_path / "host", registry.server.address) as host:
        host.install(registry.layout.reference("1"), "--target-imgref", registry.name)
        with registry.counting() as asked:
            assert host.do("upgrade") == "No update available.\n"
        assert asked == UNMOVED
        assert host.status()["otherDeployments"][0]["image"]["imageDigest"] == str(image.digest)


def test_one_changed_layer_costs_manifest_config_and_that_layer(host: Host, registry: Registry) -> None:
    image = registry.publish("2")
    with registry.counting() as asked:
        assert host.do("upgrade").startswith(f"Deployed: {registry.name}\n")
    assert asked == [*described(image), f"GET blobs/{image.layers[1].descriptor.digest}"]
    with registry.counting() as asked:
        assert host.do("upgrade") == "No update available.\n"
    assert asked == UNMOVED


def test_a_check_fetches_no_layer(host: Host, registry: Registry) -> None:
    image = registry.publish("2")
    with registry.counting() as asked:
        assert host.do("upgrade", "--check").startswith(f"Update available for: {registry.name}\n")
    assert asked == described(image)
    with registry.counting() as asked:
        host.do("upgrade")
    assert asked == [*described(image), f"GET blobs/{image.layers[1].descriptor.digest}"]


def test_a_tag_that_returns_to_the_running_image_costs_one_head_request(host: Host, registry: Registry) -> None:
    registry.publish("2")
    host.do("upgrade", "--check")
    registry.server.push(registry.layout.folder, "1", NAME)
    with registry.counting() as asked:
        assert host.do("upgrade") == "No update available.\n"
    assert asked == UNMOVED


def test_a_layer_that_is_compressed_anew_is_not_fetched_again(host: Host, registry: Registry) -> None:
    image = registry.publish("2", two_layers("2"), level=9)
    changed = image.layers[1].descriptor.digest
    with registry.counting() as asked:
        host.do("upgrade")
    assert asked == [*described(image), f"GET blobs/{changed}"]


def test_an_index_that_did_not_move_costs_one_head_request(tmp_path: Path, registry: Registry) -> None:
    image = registry.layout.add("1", two_layers("1"))
    push_index(registry, image)
    with host_on_disk(tmp_path / "host", registry.server.address) as host:
        host.install(f"docker://{registry.name}")
        for words in (("upgrade",), ("upgrade", "--check")):
            with registry.counting() as asked:
                host.do(*words)
            assert asked == UNMOVED


def push_index(registry: Registry, image: Image) -> None:
    """Let the tag name an index whose one entry is this image, for this machine."""
    entry = {"mediaType": image_type(image), "digest": str(image.digest), "size": len(image.manifest)}
    entries = [{**entry, "platform": {"os": "linux", "architecture": "amd64"}}]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    registry.layout.blob(digest_of(index)).write_bytes(index)
    top = {"mediaType": OCI_INDEX, "digest": str(digest_of(index)), "size": len(index)}
    (registry.layout.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    options = ["--all", "--preserve-digests", "--dest-tls-verify=false"]
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", *options]
    subprocess.run([*copy, f"oci:{registry.layout.folder}", f"docker://{registry.name}"], check=True)


def image_type(image: Image) -> str:
    return str(json.loads(image.manifest)["mediaType"])


# ---------------------------------------------------------------- programs

EXECUTED = re.compile(r'execve\("([^"]+)".*\) = 0$', re.MULTILINE)
STARTED = {"findmnt", "sfdisk", Path(sys.executable).name}
"""what blockdev.py asks about the disk below the sysroot: where an EFI partition could be; and what thaws a filesystem
that libostree left frozen because it was killed"""


def programs(argv: list[str], log: Path) -> list[str]:
    """The names of all programs that a command starts, itself left out."""
    # A file for each process: in one for all, a call that another process interrupts is told in two lines.
    tracer = ["strace", "-ff", "-qq", "-e", "trace=execve,execveat", "-o", str(log)]
    done = subprocess.run([*tracer, *argv], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    started = [name for file in log.parent.glob(f"{log.name}.*") for name in EXECUTED.findall(file.read_text())]
    started.remove(argv[0])
    return [Path(name).name for name in started]


def test_no_other_program_fetches_and_imports(host: Host, registry: Registry, tmp_path: Path) -> None:
    image = registry.publish("2")
    assert set(programs(host.argv("upgrade"), tmp_path / "upgrade.log")) == STARTED
    assert host.versions() == ["2", "1"]
    registry.publish("3", [*two_layers("3"), two_layers("new")[1]])
    other = f"{registry.server.address}/other:latest"
    registry.server.push(registry.layout.folder, "3", "other:latest")
    assert set(programs(host.argv("switch", other), tmp_path / "switch.log")) == STARTED
    assert host.versions() == ["3", "2"]
    assert image.digest != host.status()["otherDeployments"][0]["image"]["imageDigest"]


def test_strace_would_see_another_program(host: Host, registry: Registry, tmp_path: Path) -> None:
    registry.publish("2")
    through_skopeo = Host(host.root, host.config, "skopeo")
    assert set(programs(through_skopeo.argv("upgrade"), tmp_path / "log")) == {*STARTED, "skopeo"}
