"""The deployed tree equals the image as podman shows it: see `tests/trees.py` for what "equals" means."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import trees
from tests.integration.main_job import NAME, Host, Registry, host_on_disk
from tests.integration.nasty_image import ISLAND, NAMES, SPARSE, nasty_layers
from tests.podman import own_storage

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Serves an ordinary image as the first version, and the nasty one as the second."""
    folder = tmp_path_factory.mktemp("registry")
    with Registry.serving(folder) as registry:
        registry.layout.add("nasty", nasty_layers(folder))
        yield registry


@pytest.fixture(scope="module")
def flattened(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[trees.Tree]:
    """The nasty image by podman."""
    registry.server.push(registry.layout.folder, "nasty", NAME)
    with own_storage(tmp_path_factory.mktemp("podman") / "containers") as podman:
        podman.pull(registry.name)
        with podman.flattened(registry.name) as root:
            yield trees.of_image(root)


def installed(host: Host, registry: Registry) -> Path | None:
    """The nasty image is the first deployment, and fills the /var that is returned."""
    registry.server.push(registry.layout.folder, "nasty", NAME)
    host.install(f"docker://{registry.name}")
    return host.root / "ostree/deploy/default/var"


def upgraded(host: Host, registry: Registry) -> Path | None:
    """The nasty image follows another one, whose /var stays."""
    registry.publish("plain")
    host.install(f"docker://{registry.name}")
    registry.server.push(registry.layout.folder, "nasty", NAME)
    host.do("upgrade")
    return None


@pytest.mark.parametrize("deploy", [installed, upgraded], ids=["installed", "upgraded"])
@pytest.mark.parametrize("fetcher", ["registry", "skopeo"])
def test_a_deployment_is_what_podman_shows(
    tmp_path: Path,
    registry: Registry,
    flattened: trees.Tree,
    fetcher: str,
    deploy: Callable[[Host, Registry], Path | None],
) -> None:
    with host_on_disk(tmp_path, registry.server.address, fetcher) as host:
        var = deploy(host, registry)
        deployment = host.deployments[0]
        deployed = trees.of_deployment(deployment, var)
        assert trees.difference(deployed, flattened, has_var=var is not None) == {}
        assert trees.lost_links(deployed, flattened) == []
        etc = {path.removeprefix("etc/"): node for path, node in deployed.nodes.items() if path.startswith("etc/")}
        assert {path: node for path, node in trees.shipped_etc(deployment).items() if path != "."} == etc


def test_the_image_has_what_makes_layers_hard(flattened: trees.Tree) -> None:
    """The comparison is worth nothing if the image, or the normal form, lost it on the way."""
    nodes = flattened.nodes
    assert [nodes[f"usr/bin/{name}"].mode for name in ("setuid", "setgid", "all", "none")] == [
        "0o4755",
        "0o2755",
        "0o7777",
        "0o0",
    ]
    assert [name for name in NAMES if f"usr/share/{name}" not in nodes] == []
    assert set(nodes["usr/bin/capable"].xattrs) == {"security.capability"}
    assert set(nodes["usr/lib/listed"].xattrs) == {"system.posix_acl_access"}
    assert nodes["usr/lib/far"].owner == (4_000_000_000, 3_000_000_000)
    assert nodes["usr/changed"].mode == "0o2751"
    assert nodes["usr/lib/link"].kind == "d"
    assert nodes["usr/lib/sub"].kind == "-"
    assert nodes["usr/lib/empty"].kind == "l"
    gone = {"usr/lib/goes", "usr/share/doc/old", "usr/lib/sub/linked", "var/lib/data", "dev/null", "etc/default"}
    assert gone & nodes.keys() == set()
    assert frozenset({"usr/lib/linked", "opt/linked"}) in flattened.links
    assert nodes["usr/lib/sparse"].content == sparse_digest()


def sparse_digest() -> str:
    return hashlib.sha256((bytes(ISLAND) + b"island").ljust(SPARSE, b"\0")).hexdigest()
