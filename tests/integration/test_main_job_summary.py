"""What upgrade, switch and a check tell of their cost, against the log of the registry that they asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootc.image import Image
from tests.chunked_images import CHANGED, SIZE, add_chunked, many_files
from tests.integration.main_job import NAME, Host, Registry, copy_of, host_on_disk, installed_once, two_layers

pytestmark = pytest.mark.root


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


def told(host: Host, *words: str) -> dict[str, Any]:
    """The one line of JSON that a command prints."""
    run = host.bootc(*words, "--json")
    assert (run.code, run.out.count("\n")) == (0, 1), run.err
    found: dict[str, Any] = json.loads(run.out)
    return found


def sizes(image: Image) -> list[int]:
    """Of the layers' blobs."""
    return [layer.descriptor.size or 0 for layer in image.layers]


def test_nothing_new_costs_one_request(host: Host, registry: Registry) -> None:
    with registry.counting() as asked:
        upgrade, check = told(host, "upgrade"), told(host, "upgrade", "--check")
    assert len(asked) == 2
    for found in (upgrade, check):
        assert (found["change"], found["version"], found["requests"]) == ("none", "1", 1)
        assert found["reference"] == f"docker://{registry.name}"
    assert check["prediction"] is None


def test_an_upgrade_tells_what_it_fetched_and_what_it_did_not(host: Host, registry: Registry) -> None:
    image = registry.publish("2")
    base, changed = sizes(image)
    with registry.counting() as asked:
        check = told(host, "upgrade", "--check")
    assert (check["change"], check["version"], check["digest"]) == ("available", "2", str(image.digest))
    assert (check["prediction"]["bytes"], check["prediction"]["requests"]) == (changed, 1)
    assert check["requests"] == len(asked)

    with registry.counting() as asked:
        found = told(host, "upgrade")
    (layer,) = found["layersFetched"]
    assert layer.pop("seconds") <= found["seconds"]["import"]
    digest = str(image.layers[1].descriptor.digest)
    cost = {"bytesFetched": changed, "bytesReused": 0, "bytesSaved": 0, "requests": 1}
    assert layer == {"digest": digest, "size": changed, **cost}
    assert (found["change"], found["digest"], found["previousDigest"]) == (
        "deployed",
        str(image.digest),
        check["previousDigest"],
    )
    assert (found["layersPresent"], found["bytesPresent"]) == (1, base)
    assert (found["bytesFetched"], found["bytesReused"], found["bytesSaved"]) == (changed, 0, base)
    assert found["requests"] == len(asked)
    assert found["seconds"].keys() == {"resolve", "import", "stage", "finalize", "clean"}
    assert found["deployment"]


def test_a_switch_tells_the_same(host: Host, registry: Registry) -> None:
    image = registry.layout.add("5", two_layers("5"))
    registry.server.push(registry.layout.folder, "5", "other/os:stable")
    other = f"{registry.server.address}/other/os:stable"
    with registry.counting() as asked:
        found = told(host, "switch", other)
    assert (found["change"], found["reference"], found["version"]) == ("deployed", f"docker://{other}", "5")
    assert (found["bytesFetched"], found["requests"]) == (sizes(image)[1], len(asked))
    again = told(host, "switch", other)
    assert (again["change"], again["requests"], again["layersFetched"]) == ("unchanged-reference", None, [])


def test_through_skopeo_requests_are_not_known(host: Host, registry: Registry) -> None:
    image = registry.publish("2")
    found = told(Host(host.root, host.config, "skopeo"), "upgrade")
    assert (found["change"], found["bytesFetched"], found["requests"]) == ("deployed", sizes(image)[1], None)


def test_what_was_fetched_before_a_failure_is_reused(host: Host, registry: Registry) -> None:
    """The second of two new layers is not what the manifest says; the first waits in the spool, or is in the store."""
    image = registry.publish("2", [*two_layers("2"), two_layers("more")[1]])
    blob = next(registry.server.folder.rglob(f"{image.layers[2].descriptor.digest.hex}/data"))
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert host.bootc("upgrade").code == 1
    blob.write_bytes(whole)
    found = told(host, "upgrade")
    fetched = sum(layer["bytesFetched"] for layer in found["layersFetched"])
    assert fetched == found["bytesFetched"] == sizes(image)[2]
    assert found["bytesSaved"] == sum(sizes(image)) - sizes(image)[2]


# ---------------------------------------------------------------- parts of layers


def publish_chunked(registry: Registry, tag: str) -> Image:
    image = add_chunked(registry.layout, tag, [*two_layers("0"), many_files(tag)])
    assert registry.server.push(registry.layout.folder, tag, NAME) == str(image.digest)
    registry.server.push(registry.layout.folder, tag, f"os:{tag}")
    return image


def test_parts_of_layers_are_predicted_and_told(tmp_path: Path, registry: Registry) -> None:
    publish_chunked(registry, "c1")
    with host_on_disk(tmp_path / "host", registry.server.address) as host:
        host.config.write_text(host.config.read_text() + '[fetch]\npartial = "always"\n')
        host.install(f"docker://{registry.name}")
        image = publish_chunked(registry, "c2")
        places = [f"docker://{registry.server.address}/os:{tag}" for tag in ("c1", "c2")]
        plan = told(host, "image", "plan", *places)
        check = told(host, "upgrade", "--check")
        with registry.counting() as asked:
            found = told(host, "upgrade")
    expected = len(CHANGED) * SIZE
    assert expected < found["bytesFetched"] < expected + 20_000
    assert check["prediction"]["bytes"] == found["bytesFetched"] == plan["methods"]["parts"]["bytes"]
    (layer,) = found["layersFetched"]
    (predicted,) = check["prediction"]["layers"]
    assert (predicted["method"], predicted["requests"]) == ("parts", layer["requests"])
    assert layer["requests"] == sum(str(image.layers[2].descriptor.digest) in request for request in asked)
    assert layer["bytesSaved"] == sizes(image)[2] - found["bytesFetched"]
    assert 0 < layer["bytesReused"] <= layer["bytesSaved"]
    assert found["bytesSaved"] == sum(sizes(image)) - found["bytesFetched"]
