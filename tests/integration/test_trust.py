"""Signatures that are demanded, verdicts and the guard against downgrades: by the command, with every backend.

Systems are installed from a fake registry on a disk of their own, and are not booted. Configuration of container tools
lies in a directory that $XDG_CONFIG_HOME names; images are signed by GnuPG, signatures lie in a local lookaside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from bootc.image import Image
from bootc.manifest import OCI_MANIFEST
from bootc.system.initramfs import MARKER
from bootc.testing.registry import REPOSITORY, FakeRegistry, Received, Reply
from tests import dirimage_system
from tests.gpg import Keys, payload
from tests.integration.sysroots import VERSION, make_disk, mounted
from tests.integration.test_skopeo_signatures import skopeo_level
from tests.ostree_images import Tar, make_image
from tests.unit.cli_runs import Run, bootc

pytestmark = pytest.mark.root

BACKENDS = ("composefs", "dirimage", "ostree")
ACCEPT = [{"type": "insecureAcceptAnything"}]
MARCH, APRIL, MAY = (f"2026-0{month}-01T00:00:00Z" for month in (3, 4, 5))


class Moving(FakeRegistry):
    """A registry whose tag names the next image after each request for it, the last one for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        """digests; without any, tags stay where they are"""

    @property
    def name(self) -> str:
        """Of the image that systems follow."""
        return f"{self.address}/{REPOSITORY}:os"

    def publish(self, version: str, tag: str = "os", created: str = MARCH) -> Image:
        """Make an image and let a tag name it; its last layer holds the version."""
        layers = dirimage_system.os_layers(version, Tar().add(str(MARKER), data=b"2\n"))
        image = make_image(layers, labels={VERSION: version}, created=created)
        for data in (*layers, image.config):
            self.keep(data)
        self.add_document(tag, OCI_MANIFEST, image.manifest)
        return image

    def normal(self, request: Received) -> Reply:
        if self.order and request.path.endswith("/manifests/os"):
            self.documents["os"] = self.documents[self.order[0]]
            self.order = self.order[1:] or self.order
        return super().normal(request)


@frozen
class World:
    """A registry, keys, and the configuration of container tools."""

    folder: Path
    registry: Moving
    keys: Keys

    def policy(self, requirements: list[dict[str, Any]]) -> None:
        """The default of policy.json."""
        (self.folder / "containers/policy.json").write_text(json.dumps({"default": requirements}))

    def sign(self, digest: object) -> None:
        """Sign a manifest for the name that systems follow."""
        place = self.folder / "lookaside" / f"{REPOSITORY}@{str(digest).replace(':', '=')}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "signature-1").write_bytes(self.keys.sign("good", payload(str(digest), self.registry.name)))

    @property
    def signed_by(self) -> list[dict[str, Any]]:
        """Requirements that only signed images meet."""
        return [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(self.folder / "good.gpg")}]

    @property
    def verdict(self) -> str:
        """On a signed image."""
        return f"signedBy {self.keys.fingerprint('good')} (default)"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    with closing(Keys(tmp_path_factory.mktemp("keys") / "gnupg")) as keys:
        keys.make("good")
        yield keys


@pytest.fixture
def world(tmp_path: Path, keys: Keys) -> Iterator[World]:
    (tmp_path / "containers/registries.d").mkdir(parents=True)
    lookaside = f"default-docker:\n  lookaside: file://{tmp_path}/lookaside\n"
    (tmp_path / "containers/registries.d/a.yaml").write_text(lookaside)
    (tmp_path / "good.gpg").write_bytes(keys.public("good"))
    with Moving() as registry:
        found = World(tmp_path, registry, keys)
        found.policy(ACCEPT)
        yield found


@frozen
class Host:
    """A disk, and how commands work on it."""

    root: Path
    world: World

    def configure(self, text: str = "") -> None:
        """More than that plain http is allowed."""
        insecure = f'insecure = ["{self.world.registry.address}"]\n'
        tables = f"[fetchers.skopeo]\n{insecure}[fetchers.registry]\n{insecure}retries = 0\n"
        (self.world.folder / "host.toml").write_text(f"{text}\n{tables}")

    def run(self, *words: str) -> Run:
        """A command, whatever comes of it."""
        config = str(self.world.folder / "host.toml")
        return bootc("--config", config, *words, env={"XDG_CONFIG_HOME": str(self.world.folder)})

    def do(self, *words: str) -> str:
        """A command on the installed system that must succeed."""
        run = self.run("--sysroot", str(self.root), *words)
        assert run.code == 0, run.err
        return run.out

    def refused(self, *words: str) -> str:
        """What a command says that must fail, and leave the deployments alone."""
        before = self.deployments()
        run = self.run("--sysroot", str(self.root), *words)
        assert run.code == 1, run.out
        assert self.deployments() == before
        return run.err

    def install(self, backend: str, *words: str) -> None:
        options = ("--bootloader", "none", "--skip-finalize", "--backend", backend)
        source = ("--source-imgref", f"docker://{self.world.registry.name}")
        run = self.run("install", "to-filesystem", *source, *options, *words, str(self.root))
        assert run.code == 0, run.err

    def deployments(self) -> list[dict[str, Any]]:
        """As the status document has them, in boot order."""
        found: list[dict[str, Any]] = json.loads(self.do("status", "--json"))["status"]["otherDeployments"]
        return found

    def seen(self) -> list[tuple[str, str | None, str | None]]:
        """Of each deployment the version, the signature that is demanded, and the verdict."""
        return [
            (d["image"]["version"], d["image"]["image"].get("signature"), d.get("verdict")) for d in self.deployments()
        ]


@pytest.fixture
def host(world: World, tmp_path: Path) -> Iterator[Host]:
    with mounted(make_disk(tmp_path / "disk"), tmp_path / "target") as root:
        found = Host(root, world)
        found.configure()
        yield found


UNVERIFIED = "not verified: insecureAcceptAnything (default)"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_demanded_signature_is_recorded_shown_and_demanded_by_every_upgrade(
    host: Host, world: World, backend: str
) -> None:
    world.registry.publish("1")
    host.install(backend, "--enforce-container-sigpolicy")
    assert host.seen() == [("1", "containerPolicy", UNVERIFIED)]
    two = world.registry.publish("2")
    assert "specifies a default of `insecureAcceptAnything`; refusing usage" in host.refused("upgrade")
    world.policy(world.signed_by)
    assert "signedBy: a signature is required, there is none" in host.refused("upgrade")
    world.sign(two.digest)
    host.do("upgrade")
    assert host.seen() == [("2", "containerPolicy", world.verdict), ("1", "containerPolicy", UNVERIFIED)]
    verbose = host.do("status", "--format=humanreadable", "-v")
    assert "Signature: container-policy\n" in verbose
    assert f"Verdict: {world.verdict}\n" in verbose
    world.registry.publish("3")
    assert "a signature is required, there is none" in host.refused("upgrade")
    host.do("rollback")
    assert host.seen() == [("1", "containerPolicy", UNVERIFIED), ("2", "containerPolicy", world.verdict)]
    assert "a signature is required, there is none" in host.refused("upgrade")


@pytest.mark.parametrize("backend", BACKENDS)
def test_switch_sets_and_drops_the_demand(host: Host, world: World, backend: str) -> None:
    image = world.registry.publish("1")
    host.install(backend)
    assert host.seen() == [("1", None, UNVERIFIED)]
    world.policy(world.signed_by)
    world.sign(image.digest)
    host.do("switch", "--enforce-container-sigpolicy", world.registry.name)
    assert host.seen()[0] == ("1", "containerPolicy", world.verdict)
    world.policy(ACCEPT)
    assert "refusing usage" in host.refused("upgrade", "--tag", "other")
    host.do("switch", world.registry.name)
    assert host.seen()[0] == ("1", None, UNVERIFIED)


def test_the_installation_s_configuration_demands_it_too(host: Host, world: World) -> None:
    world.registry.publish("1")
    host.configure("[install]\nenforce-container-sigpolicy = true")
    host.install("dirimage")
    assert host.seen() == [("1", "containerPolicy", UNVERIFIED)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("is_index", [False, True], ids=["manifest", "index"])
def test_the_digest_that_was_verified_is_fetched_imported_and_recorded(
    host: Host, world: World, backend: str, is_index: bool
) -> None:
    """The tag names another image at every request: one that is signed, then one that is not, and never comes back."""
    registry = world.registry
    registry.publish("1")
    host.install(backend)
    world.policy(world.signed_by)
    good, bad = registry.publish("good"), registry.publish("bad")
    tops = [registry.documents[str(image.digest)] for image in (good, bad)]
    descriptors = [registry.add_document(f"top-{number}", *top) for number, top in enumerate(tops)]
    if is_index:
        platform = {"platform": {"os": "linux", "architecture": "amd64"}}
        descriptors = [registry.add_index(f"top-{n}", {**d, **platform}) for n, d in enumerate(descriptors)]
    world.sign(descriptors[0]["digest"])
    good_top, bad_top = (descriptor["digest"] for descriptor in descriptors)
    registry.order = [bad_top, good_top, bad_top]  # for HEAD, which only asks whether it moved, then GET, then others
    registry.received.clear()
    host.do("upgrade")
    assert [request.method for request in registry.received if request.path.endswith("/manifests/os")] == [
        "HEAD",
        "GET",
    ]
    newest = host.deployments()[0]
    assert (newest["image"]["imageDigest"], newest["verdict"]) == (str(good.digest), world.verdict)
    asked = " ".join(request.path for request in registry.received)
    assert [image.layers[-1].descriptor.digest.hex in asked for image in (good, bad)] == [True, False]
    records = {path.name: json.loads(path.read_text()) for path in host.root.glob("*/bootc/*.json")}
    (sighting,) = records["references.json"]["references"].values()
    assert (sighting["top-digest"], sighting["digest"]) == (good_top, str(good.digest))
    (accepted,) = records["accepted.json"]["newest"].values()
    assert accepted["digest"] == str(good.digest)
    registry.order = [bad_top]
    assert "a signature is required, there is none" in host.refused("upgrade")


def test_through_skopeo_too_one_image_is_described_fetched_and_recorded(host: Host, world: World) -> None:
    """Each of its processes opens the image by its tag, and may find another one; blobs are asked for by digest."""
    registry = world.registry
    registry.publish("1")
    host.install("dirimage")
    good, bad = registry.publish("good"), registry.publish("bad")
    registry.order = [str(good.digest), str(bad.digest)]
    host.do("--fetcher", "skopeo", "upgrade")
    newest = host.deployments()[0]
    assert (newest["image"]["version"], newest["image"]["imageDigest"]) == ("good", str(good.digest))
    assert newest["verdict"] == UNVERIFIED
    asked = " ".join(request.path for request in registry.received)
    assert [image.layers[-1].descriptor.digest.hex in asked for image in (good, bad)] == [True, False]


def test_through_skopeo_a_signature_is_demanded_if_it_can_verify_one(host: Host, world: World) -> None:
    image = world.registry.publish("1")
    host.install("dirimage")
    world.policy(world.signed_by)
    switch = ("--fetcher", "skopeo", "switch", "--enforce-container-sigpolicy", world.registry.name)
    if skopeo_level("skopeo") < 6:
        world.sign(image.digest)
        assert "requires signedBy (default), which this skopeo does not verify" in host.refused(*switch)
        return
    assert "A signature was required, but no signature exists" in host.refused(*switch)
    world.sign(image.digest)
    host.do(*switch)
    assert host.seen()[0] == ("1", "containerPolicy", "signedBy, by skopeo (default)")
    world.registry.publish("2")
    assert "A signature was required, but no signature exists" in host.refused("--fetcher", "skopeo", "upgrade")


def test_what_is_served_first_is_what_is_judged(host: Host, world: World) -> None:
    registry = world.registry
    registry.publish("1")
    host.install("dirimage")
    world.policy(world.signed_by)
    good, bad = (str(registry.publish(name).digest) for name in ("good", "bad"))
    world.sign(good)
    registry.order = [good, bad, good]
    assert "a signature is required, there is none" in host.refused("upgrade")
    assert not [request for request in registry.received if request.path.endswith(bad.partition(":")[2])]


def test_a_fetch_check_demands_what_upgrades_will_demand(host: Host, world: World) -> None:
    image = world.registry.publish("1")
    options = ("--run-fetch-check", "--enforce-container-sigpolicy", "--bootloader", "none", "--skip-finalize")
    source = ("--source-imgref", f"docker://{world.registry.name}")
    command = ("install", "to-filesystem", *source, *options, "--backend", "dirimage", str(host.root))
    run = host.run(*command)
    assert run.code == 1
    assert "refusing usage" in run.err
    assert [path.name for path in host.root.iterdir()] == ["lost+found"]
    world.policy(world.signed_by)
    world.sign(image.digest)
    run = host.run(*command)
    assert run.code == 0, run.err
    assert host.seen() == [("1", "containerPolicy", world.verdict)]


GUARD = "[trust]\ndowngrade-guard = true"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_guard_refuses_what_is_older_and_never_a_rollback(host: Host, world: World, backend: str) -> None:
    world.registry.publish("2", created=APRIL)
    host.configure(GUARD)
    host.install(backend)
    world.registry.publish("1", created=MARCH)
    problem = f"created {MARCH}, before the newest image that was accepted ({APRIL})"
    assert problem in host.refused("upgrade")
    assert problem in host.refused("upgrade", "--check")
    assert "Update available" in host.do("upgrade", "--check", "--allow-downgrade")
    world.registry.publish("3", created=MAY)
    host.do("upgrade")
    host.do("rollback")
    assert [found[0] for found in host.seen()] == ["2", "3"]
    world.registry.publish("2.1", created=APRIL)
    assert f"({MAY})" in host.refused("upgrade")
    host.do("upgrade", "--allow-downgrade")
    assert host.seen()[0][0] == "2.1"
    host.configure()
    world.registry.publish("1", created=MARCH)
    host.do("upgrade")
    assert host.seen()[0][0] == "1"


def test_versions_count_only_with_an_order(host: Host, world: World) -> None:
    world.registry.publish("10", created="1970-01-01T00:00:00Z")
    host.configure(f'{GUARD}\nversion-order = "uapi"')
    host.install("dirimage")
    world.registry.publish("9", created="1970-01-01T00:00:00Z")
    assert "version 9 is older than 10, which was accepted before" in host.refused("upgrade")
    host.configure(GUARD)
    host.do("upgrade")
    assert host.seen()[0][0] == "9"


def test_status_tells_how_upgrades_are_fetched(host: Host, world: World) -> None:
    world.registry.publish("1")
    host.install("dirimage")
    auth = world.folder / "auth.json"
    auth.write_text(json.dumps({"auths": {world.registry.address: {"auth": "dXNlcjpzZWNyZXQ="}}}))
    host.configure()
    path = world.folder / "host.toml"
    path.write_text(f'{path.read_text()}authfile = "{auth}"\n')
    mirror = f'[[registry]]\nlocation = "{world.registry.address}"\n[[registry.mirror]]\nlocation = "mirror.example"\n'
    (world.folder / "containers/registries.conf").write_text(mirror)
    world.registry.received.clear()
    text = host.do("status", "--format=humanreadable", "--verbose")
    containers = world.folder / "containers"
    lines = text.partition("  Upgrades from")[2].splitlines()
    lines[4] = lines[4].partition(",")[0]  # this machine's own drop-ins
    assert lines == [
        f": {world.registry.name}",
        "        Fetcher: registry",
        f"         Policy: {containers}/policy.json: insecureAcceptAnything (default)",
        f"     Signatures: file://{world.folder}/lookaside",
        f"     Registries: {containers}/registries.conf",
        f"        Servers: mirror.example/{REPOSITORY} (mirror), then {world.registry.address}/{REPOSITORY} (insecure)",
        f"    Credentials: mirror.example/{REPOSITORY}: none ({auth} has no entry);"
        f" {world.registry.address}/{REPOSITORY}: {auth}",
    ]
    assert "c2VjcmV0" not in text
    assert "secret" not in text
    assert not world.registry.received
    assert "Upgrades from" not in host.do("status", "--format=humanreadable")
