"""Images that are not what they say, cannot be had, or cannot be installed: `switch` from a real registry."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bootc.errors import BootcError, ImageError, IntegrityError, NetworkError, UnsupportedError
from bootc.image import Image
from bootc.manifest import OCI_MANIFEST
from bootc.testing.registry import Action, FakeRegistry, answers, cut_after, holds, redirects, with_body
from tests.integration.failing import World, error_of, fails, spoil, temporary
from tests.integration.sysroots import Layout, images, os_layers, refs
from tests.ostree_images import MODULES, Tar
from tests.servers import HTPASSWD, RegistryServer
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root

LAYER = 2
"""the layer that differs between versions, which is never there already"""


def on(world: World, root: Path) -> tuple[str, ...]:
    """The options that all commands here have."""
    return ("--config", str(world.config), "--sysroot", str(root))


def switch(world: World, root: Path, name: str) -> str:
    """The error of `switch`, with the registry's changing address and all digests replaced."""
    line = fails(root.parent, *on(world, root), "switch", world.reference(name), root=root)
    return normal(line, world.registry.address)


def normal(line: str, address: str) -> str:
    return re.sub(r"sha256:[0-9a-f]{64}", "DIGEST", line).replace(address, "REGISTRY")


# ---------------------------------------------------------------- content that is not what it is named


def layer_of(world: World, image: Image) -> Path:
    return world.stored(image.layers[LAYER].descriptor.digest)


def hint(kind: type[BootcError]) -> str:
    """A pattern for the hint of errors that have none of their own."""
    return re.escape(f" ({kind.usual_hint})")


SPOILED = {
    "wrong digest of a layer": (
        layer_of,
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        "docker://REGISTRY/{name}:latest: blob DIGEST does not have the digest by which it is named",
    ),
    "truncated layer": (
        layer_of,
        lambda data: data[:-5],
        "REGISTRY/{name}:latest: blob DIGEST has another size than [0-9]+ bytes",
    ),
    "layer with more behind it": (
        layer_of,
        lambda data: data + b"more",
        "REGISTRY/{name}:latest: blob DIGEST has another size than [0-9]+ bytes",
    ),
    "wrong digest of the config": (
        lambda world, image: world.stored(json.loads(image.manifest)["config"]["digest"]),
        lambda data: data[:-1] + b" ",
        "REGISTRY/{name}:latest: what was served as DIGEST has another digest",
    ),
}


@pytest.mark.parametrize(("path_of", "change", "line"), SPOILED.values(), ids=SPOILED)
def test_content_that_is_not_what_it_is_named(
    world: World,
    root: Path,
    path_of: Callable[[World, Image], Path],
    change: Callable[[bytes], bytes],
    line: str,
    request: pytest.FixtureRequest,
) -> None:
    name = re.sub(r"\W+", "-", request.node.callspec.id)
    path = path_of(world, world.publish(name))
    good = path.read_bytes()
    spoil(path, change)
    assert re.fullmatch(line.format(name=name) + hint(IntegrityError), switch(world, root, name))

    path.write_bytes(good)
    again = bootc(*on(world, root), "switch", world.reference(name))
    assert again.code == 0, again.err
    assert images(root) == [name, "v1"]
    assert list((root / "ostree/bootc/spool").iterdir()) == []


def test_a_layer_that_the_registry_lost(world: World, root: Path) -> None:
    layer_of(world, world.publish("lost")).unlink()
    assert switch(world, root, "lost") == (
        "REGISTRY/lost:latest: no such blob DIGEST: REGISTRY answered 404 (BLOB_UNKNOWN: blob unknown to registry)"
        " (check the name and the tag; for a private repository, a login may be missing)"
    )


def test_a_manifest_that_is_not_what_its_digest_names(world: World, root: Path) -> None:
    with FakeRegistry() as fake:
        image = serve(fake, world.layout, "v2")
        fake.disturb("manifests", with_body(lambda body: body + b" "), is_forever=True)
        reference = f"{fake.address}/fake/os@{image.digest}"
        line = fails(root.parent, *on(world, root), "switch", reference, root=root)
        problem = f"what was served as DIGEST has another digest ({IntegrityError.usual_hint})"
        assert normal(line, fake.address) == f"REGISTRY/fake/os@DIGEST: {problem}"


def test_a_config_that_names_other_content(world: World, root: Path) -> None:
    def lie(config: dict[str, dict[str, list[str]]]) -> None:
        config["rootfs"]["diff_ids"][LAYER] = f"sha256:{'0' * 64}"

    world.publish_edited("diffid", config=lie)
    assert re.fullmatch(
        "docker://REGISTRY/diffid:latest: layer [0-9a-f]{12}:"
        " its content does not have the diffID that the image config names" + hint(IntegrityError),
        switch(world, root, "diffid"),
    )


MEDIA_TYPES = {
    "layer": (
        lambda manifest: manifest["layers"][LAYER].update(mediaType="application/vnd.example.thing"),
        "layer media type 'application/vnd.example.thing' is not supported",
    ),
    "config": (
        lambda manifest: manifest["config"].update(mediaType="application/vnd.cncf.helm.config.v1+json"),
        "config media type 'application/vnd.cncf.helm.config.v1+json' is no container image's",
    ),
}


@pytest.mark.parametrize(("edit", "line"), MEDIA_TYPES.values(), ids=MEDIA_TYPES)
def test_a_wrong_media_type(
    world: World, root: Path, edit: Callable[[dict[str, object]], None], line: str, request: pytest.FixtureRequest
) -> None:
    name = f"media-{request.node.callspec.id}"
    world.publish_edited(name, manifest=edit)
    assert switch(world, root, name) == f"REGISTRY/{name}:latest: {line} ({UnsupportedError.usual_hint})"


def test_a_manifest_of_another_type(world: World, root: Path) -> None:
    with FakeRegistry() as fake:
        fake.add_document("latest", "text/html", b"<html>\x1b[31mplease log in")
        line = fails(root.parent, *on(world, root), "switch", f"{fake.address}/fake/os:latest", root=root)
        assert "REGISTRY/fake/os:latest: " in normal(line, fake.address)


# ---------------------------------------------------------------- images that cannot be installed


def no_label(config: dict[str, dict[str, dict[str, str]]]) -> None:
    del config["config"]["Labels"]["containers.bootc"]


def other_machine(config: dict[str, str]) -> None:
    config["architecture"] = "pdp11"


def test_an_image_without_a_label(world: World, root: Path) -> None:
    world.publish_edited("unlabelled", config=no_label)
    before = len(world.registry.requests())
    assert switch(world, root, "unlabelled") == (
        "docker://REGISTRY/unlabelled:latest: target image does not have a containers.bootc or ostree.bootable label"
        " (build the image with `LABEL containers.bootc 1`)"
    )
    asked = [request.path for request in world.registry.requests()[before:] if "/blobs/" in request.path]
    assert len(asked) == 1, "only the config was fetched"


def test_an_image_for_another_machine(world: World, root: Path) -> None:
    world.publish_edited("pdp11", config=other_machine)
    assert switch(world, root, "pdp11") == (
        "docker://REGISTRY/pdp11:latest: image has architecture pdp11; expected amd64"
        " (choose an image for this machine)"
    )


UNFIT = {
    "no kernel": (
        [Tar().directory("usr").directory("etc").add("usr/lib/os-release", data=b"ID=x\n")],
        "docker://REGISTRY/{name}:latest: no kernel in usr/lib/modules"
        " (install a kernel package and move the kernel to usr/lib/modules/VERSION/vmlinuz)",
    ),
    "two kernels": (
        [*os_layers("2"), Tar().add("usr/lib/modules/9.9/vmlinuz").add("usr/lib/modules/9.9/initramfs.img")],
        "docker://REGISTRY/{name}:latest: more than one kernel: 6.1.0-test, 9.9 (remove all but one from the image)",
    ),
    "no initramfs": (
        [*os_layers("2"), Tar().whiteout(f"{MODULES}/initramfs.img")],
        "docker://REGISTRY/{name}:latest: kernel 6.1.0-test has no initramfs.img beside it"
        f" (generate {MODULES}/initramfs.img when building the image)",
    ),
    "no /etc": (
        [*os_layers("2"), Tar().whiteout("etc")],
        "docker://REGISTRY/{name}:latest: /etc is no directory (make it when building the image)",
    ),
    "a file for /etc": (
        [*os_layers("2"), Tar().whiteout("etc"), Tar().add("etc")],
        "docker://REGISTRY/{name}:latest: /etc is no directory (make it when building the image)",
    ),
    "a link for /var": (
        [*os_layers("2"), Tar().whiteout("var"), Tar().symlink("var", "usr/var").directory("usr/var")],
        "docker://REGISTRY/{name}:latest: /var is no directory (make it when building the image)",
    ),
    "no /sysroot": (
        [*os_layers("2"), Tar().whiteout("sysroot")],
        "docker://REGISTRY/{name}:latest: /sysroot is no directory (make it when building the image)",
    ),
    "a kernel version that steers terminals": (
        [Tar().directory("usr").directory("etc").add("usr/lib/modules/6 \x1b[31m/vmlinuz")],
        "docker://REGISTRY/{name}:latest: kernel version '6 \\x1b[31m' cannot stand in a boot entry"
        f" ({ImageError.usual_hint})",
    ),
    "a tar archive that ends too early": (
        [*os_layers("2"), Tar().add("usr/lib/cut", data=bytes(9000)).data[:2000]],
        "layer entry usr/lib/cut: the archive ends in the middle of this entry"
        " (build the image again; nothing of this layer is used)",
    ),
    "a name that leads out and steers terminals": (
        [*os_layers("2"), Tar().add("../\x1b[31mx")],
        "layer entry ../\\x1b[31mx: the name contains `..` (build the image again; nothing of this layer is used)",
    ),
}


@pytest.mark.parametrize(("layers", "line"), UNFIT.values(), ids=UNFIT)
def test_an_image_that_cannot_be_deployed(
    world: World, root: Path, layers: list[Tar | bytes], line: str, request: pytest.FixtureRequest
) -> None:
    name = re.sub(r"\W+", "-", request.node.callspec.id)
    world.publish(name, [layer.data if isinstance(layer, Tar) else layer for layer in layers])
    assert switch(world, root, name) == line.format(name=name)


def test_what_a_refused_image_left_goes_with_the_next_update(world: World, root: Path) -> None:
    world.publish("kernelless", [Tar().directory("usr").directory("etc").add("etc/kernelless").data])
    before = refs(root)
    switch(world, root, "kernelless")
    assert len(refs(root)) > len(before), "its layers may stay"
    run = bootc(*on(world, root), "switch", "--transport", "oci", world.layout.name("v2"))
    assert run.code == 0, run.err
    assert not [ref for ref in refs(root) if "kernelless" in ref]
    assert images(root) == ["v2", "v1"]


# ---------------------------------------------------------------- registries that do not answer, or refuse


def test_unknown_transports(world: World, root: Path) -> None:
    known = "registry, oci, oci-archive, docker-archive, docker-daemon, containers-storage, dir"
    quoted = ", ".join(f"'{name}'" for name in known.split(", "))
    words = (*on(world, root), "switch", "--transport", "carrier-pigeon", "registry.example/os")
    assert fails(root.parent, *words, root=root, code=2) == (
        f"Invalid value for '--transport': 'carrier-pigeon' is not one of {quoted} (see `bootc switch --help`)"
    )
    target = root.parent / "target"
    words = ("install", "to-filesystem", "--source-imgref", "carrier-pigeon:os", str(target))
    assert fails(root.parent, *words) == (
        f"invalid image reference 'carrier-pigeon:os': unknown transport 'carrier-pigeon' (known: {known})"
    )


def test_an_unreachable_registry(world: World, root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    line = fails(root.parent, *on(world, root), "switch", f"{address}/os:latest", root=root)
    problem = f"connection refused (3 tries) ({NetworkError.usual_hint})"
    assert normal(line, address) == f"REGISTRY/os:latest: REGISTRY: {problem}"


def test_an_image_that_is_not_there(world: World, root: Path) -> None:
    assert switch(world, root, "nothing") == (
        "REGISTRY/nothing:latest: no such image: REGISTRY answered 404 (MANIFEST_UNKNOWN: manifest unknown)"
        " (check the name and the tag; for a private repository, a login may be missing)"
    )
    absent = f"{root.parent}/absent"
    line = fails(root.parent, *on(world, root), "switch", "--transport", "oci", f"{absent}:v1", root=root)
    hint = "(mount the medium that it is on, or follow another image with `bootc switch`)"
    assert line == f"oci:{absent}:v1: {absent}: no such file or directory {hint}"


def test_a_registry_that_wants_credentials(world: World, root: Path, tmp_path: Path) -> None:
    with RegistryServer(tmp_path / "private", htpasswd=HTPASSWD) as private:
        private.push(world.layout.folder, "v2", "os:latest")
        words = (*on(world, root), "switch", f"{private.address}/os:latest")
        hint = "(credentials are read from /etc/ostree/auth.json; see containers-auth.json(5))"
        line = fails(root.parent, *words, root=root, env={"REGISTRY_AUTH_FILE": ""})
        assert normal(line, private.address) == f"REGISTRY/os:latest: REGISTRY wants a login {hint}"

        auth = tmp_path / "auth.json"
        login = base64.b64encode(b"demo:not-the-secret").decode()
        auth.write_text(json.dumps({"auths": {private.address: {"auth": login}}}))
        env = {"REGISTRY_AUTH_FILE": str(auth)}
        line = fails(root.parent, *words, root=root, env=env)
        hint = "(correct them there; see containers-auth.json(5))"
        said = f"REGISTRY/os:latest: REGISTRY refused the credentials from {auth} {hint}"
        assert normal(line, private.address) == said
        assert login not in line

        auth.write_text(json.dumps({"auths": {private.address: {"auth": login}}})[:-3])
        assert fails(root.parent, *words, root=root, env=env).startswith(f"{auth}: not valid JSON: ")
        auth.unlink()
        line = fails(root.parent, *words, root=root, env=env)
        assert line == (
            f"{auth}: the file with the registry's credentials does not exist (check --authfile and REGISTRY_AUTH_FILE)"
        )


def serve(fake: FakeRegistry, layout: Layout, tag: str) -> Image:
    """Have the fake registry serve an image of the layout as `latest`."""
    image = layout.add(tag, os_layers(tag))
    for layer in image.layers:
        fake.add_blob(layout.blob(layer.descriptor.digest).read_bytes())
    fake.add_blob(image.config)
    fake.add_document("latest", OCI_MANIFEST, image.manifest)
    return image


FAULTS = {
    "cut again and again": ([("blobs", cut_after(40))], "REGISTRY/fake/os:latest: .*(cut|after).*"),
    "failing": (
        [("blobs", answers(503, b"<html>\x1b[2Jbusy"))],
        r"REGISTRY/fake/os:latest: REGISTRY answered 503 \(3 tries\)" + hint(NetworkError),
    ),
    "storage that is gone, behind a signed address": (
        [("blobs", redirects("http://127.0.0.1:9/bucket?X-Amz-Signature=secret"))],
        r"REGISTRY/fake/os:latest: 127\.0\.0\.1:9: connection refused \(3 tries\)" + hint(NetworkError),
    ),
    "silent": ([("blobs", holds(10))], "REGISTRY/fake/os:latest: no answer in time.*"),
}


@pytest.mark.parametrize(("faults", "line"), FAULTS.values(), ids=FAULTS)
def test_a_registry_that_fails_in_the_middle(
    world: World, root: Path, faults: list[tuple[str, Action]], line: str, tmp_path: Path
) -> None:
    config = tmp_path / "impatient.toml"
    config.write_text(f"{world.config.read_text()}read-timeout = 0.3\n")
    with FakeRegistry() as fake:
        serve(fake, world.layout, "faulty")
        for path, action in faults:
            fake.disturb(path, action, is_forever=True)
        words = ("--config", str(config), "--sysroot", str(root), "switch", f"{fake.address}/fake/os:latest")
        found = normal(fails(root.parent, *words, root=root), fake.address)
        assert re.fullmatch(line, found), found


def test_a_proxy_with_a_password_that_does_not_answer(world: World, root: Path) -> None:
    words = (*on(world, root), "switch", "registry.invalid/os:latest")
    env = {"https_proxy": "http://user:secret@127.0.0.1:9", "no_proxy": ""}
    line = fails(root.parent, *words, root=root, env=env)
    assert line.startswith("registry.invalid/os:latest: "), line


def test_an_upgrade_fails_as_a_switch_does(world: World, root: Path) -> None:
    """The tag that the system follows moves to an image that cannot be installed."""
    first = world.publish("moving")
    assert bootc(*on(world, root), "switch", world.reference("moving")).code == 0
    world.publish("moving", [Tar().directory("usr").directory("etc").add("etc/x").data])
    line = fails(root.parent, *on(world, root), "upgrade", root=root)
    assert normal(line, world.registry.address).startswith("docker://REGISTRY/moving:latest: no kernel in")
    assert images(root) == ["moving", "v1"]
    status = bootc("--sysroot", str(root), "status", "--json")
    assert str(first.digest) in status.out


def test_an_installation_fails_as_a_switch_does(world: World, tmp_path: Path) -> None:
    """Before the target is touched: it need not even be fit."""
    words = ("--config", str(world.config), "install", "to-filesystem", "--source-imgref")
    run = bootc(*words, f"docker://{world.reference('nothing')}", str(temporary(tmp_path)))
    assert "Not a mountpoint" in error_of(run)
