"""The skopeo fetcher with the skopeo that is installed, on every transport that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from bootc_skopeo.options import Options

from bootc.errors import AuthenticationError, FetchError, NetworkError, NotFoundError
from bootc.events import Event, Notice
from bootc.image import ImageReference
from bootc.manifest import OCI_INDEX
from bootc.streams import FetchedLayers
from tests.blobs import digest_of
from tests.servers import HTPASSWD, PASSWORD, USER, RegistryServer
from tests.skopeo_images import PLATFORM, PROGRAM, Built, build, copy, digests, fetcher, nothing, read, write_layout

PLAIN = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images").resolve()


@pytest.fixture(scope="module")
def built() -> Built:
    return build()


@pytest.fixture(scope="module")
def layout(folder: Path, built: Built) -> str:
    return f"oci:{write_layout(folder / 'oci', built)}:os"


@pytest.fixture(scope="module")
def registry(folder: Path) -> Iterator[RegistryServer]:
    with RegistryServer(folder / "registry") as server:
        yield server


@pytest.fixture(autouse=True)
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    monkeypatch.setenv("CONTAINERS_POLICY_JSON", str(file))


@pytest.fixture
def unmounted(tmp_path: Path) -> Iterator[Path]:
    """A directory below which nothing stays mounted: the overlay driver leaves its root mounted on itself."""
    yield tmp_path
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    mounted = (line.split()[4] for line in lines)
    for place in sorted((name for name in mounted if name.startswith(f"{tmp_path.resolve()}/")), reverse=True):
        subprocess.run(["umount", place], check=True)


def require_whole(folder: Path, reference: str, built: Built, events: list[Event], *insecure: str) -> None:
    """The image is there as it was built: manifest, config, and layers as its manifest names them."""
    opened = fetcher(folder, Options(insecure=insecure), events=events)
    with opened.resolve(ImageReference.parse(reference), PLATFORM) as source:
        found = source.image
        assert (found.digest, found.manifest) == (built.image.digest, built.image.manifest)
        assert found.config == built.image.config
        assert found.layers == built.image.layers
        assert digests(source, found.layers) == [str(layer.blob.digest) for layer in found.layers]
        assert read(source, found.layers[1].blob, 100_000) == built.blobs[1][100_000:]
    opened.close()
    assert events == []


@pytest.mark.parametrize("form", ["oci", "dir", "oci-archive"])
def test_images_in_files(folder: Path, layout: str, built: Built, form: str) -> None:
    target = layout if form == "oci" else f"{form}:{folder}/{form}.image"
    if form != "oci":
        copy(layout, target)
    require_whole(folder, target, built, [])


def test_an_image_in_a_registry(folder: Path, layout: str, built: Built, registry: RegistryServer) -> None:
    digest = registry.push(folder / "oci", "os", "a/b:1")
    require_whole(folder, f"docker://{registry.address}/a/b:1", built, [], registry.address)
    require_whole(folder, f"docker://{registry.address}/a/b:other@{digest}", built, [], registry.address)


@pytest.mark.parametrize("driver", ["vfs", pytest.param("overlay", marks=pytest.mark.root)])
def test_a_stored_image_serves_its_layers_uncompressed(
    folder: Path, unmounted: Path, layout: str, built: Built, driver: str
) -> None:
    reference = f"containers-storage:[{driver}@{unmounted}/store+{unmounted}/run]localhost/os:1"
    copy(layout, reference)
    with fetcher(folder).resolve(ImageReference.parse(reference), PLATFORM) as source:
        found = source.image
        assert (found.digest, found.manifest) == (built.image.digest, built.image.manifest)
        assert found.config == built.image.config
        assert [layer.descriptor for layer in found.layers] == [layer.descriptor for layer in built.image.layers]
        assert [str(layer.blob.digest) for layer in found.layers] == built.contents
        assert {layer.blob.media_type for layer in found.layers} == {PLAIN}
        assert digests(source, found.layers) == built.contents


@pytest.mark.root
def test_an_additional_store_is_read(unmounted: Path, layout: str, built: Built) -> None:
    copy(layout, f"containers-storage:[overlay@{unmounted}/other+{unmounted}/run]localhost/os:1")
    configuration = unmounted / "storage.conf"
    configuration.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{unmounted}/store"\nrunroot = "{unmounted}/run2"\n'
    )
    program = unmounted / "skopeo"
    program.write_text(f'#!/bin/sh\nCONTAINERS_STORAGE_CONF={configuration} exec {PROGRAM} "$@"\n')
    program.chmod(0o755)
    reference = ImageReference.parse("containers-storage:localhost/os:1")
    opened = fetcher(unmounted, Options(storage=f"{unmounted}/other"), str(program))
    with opened.resolve(reference, PLATFORM) as source:
        assert digests(source, source.image.layers) == built.contents


def test_a_docker_archive_is_converted_and_keeps_its_digest(folder: Path, layout: str, built: Built) -> None:
    reference = f"docker-archive:{folder}/docker.tar:localhost/os:1"
    copy(layout, reference)
    events: list[Event] = []
    with fetcher(folder, events=events).resolve(ImageReference.parse(reference), PLATFORM) as source:
        found = source.image
        assert digest_of(found.manifest) != found.digest
        assert json.loads(found.manifest)["config"]["digest"] == str(digest_of(found.config))
        assert [(str(layer.diff_id), layer.blob.digest) for layer in found.layers] == [
            (content, layer.diff_id) for content, layer in zip(built.contents, built.image.layers, strict=True)
        ]
        assert {layer.blob.media_type for layer in found.layers} == {PLAIN}
        assert digests(source, found.layers) == built.contents
    assert [isinstance(event, Notice) and "converted the manifest" in event.message for event in events] == [True]


def test_a_docker_schema_2_image_keeps_its_digest(folder: Path, layout: str, built: Built) -> None:
    copy(layout, f"dir:{folder}/schema2", "--format", "v2s2")
    with fetcher(folder).resolve(ImageReference.parse(f"dir:{folder}/schema2"), PLATFORM) as source:
        assert source.image.digest == digest_of((folder / "schema2/manifest.json").read_bytes())
        assert json.loads(source.image.manifest)["config"]["digest"] == str(digest_of(source.image.config))
        assert [read(source, layer.blob) for layer in source.image.layers] == list(built.blobs)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_an_index_gives_the_image_of_the_platform(tmp_path: Path, architecture: str) -> None:
    images = {name: build(1) for name in ("amd64", "arm64")}
    entries = []
    for name, built in images.items():
        write_layout(tmp_path / "oci", built)
        entry = json.loads((tmp_path / "oci/index.json").read_text())["manifests"][0]
        del entry["annotations"]
        entries.append({**entry, "platform": {"os": "linux", "architecture": name}})
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    name = hashlib.sha256(index).hexdigest()
    (tmp_path / "oci/blobs/sha256" / name).write_bytes(index)
    top = {"mediaType": OCI_INDEX, "digest": f"sha256:{name}", "size": len(index)}
    (tmp_path / "oci/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    platform = evolve(PLATFORM, architecture=architecture, variants=())
    with fetcher(tmp_path).resolve(ImageReference.parse(f"oci:{tmp_path}/oci"), platform) as source:
        assert source.image.digest == images[architecture].image.digest
        assert source.image.top_digest is None


@pytest.mark.parametrize(("damage", "error"), [("cut", FetchError), ("flip", FetchError), ("remove", NotFoundError)])
def test_a_damaged_blob_is_an_error(tmp_path: Path, damage: str, error: type[FetchError]) -> None:
    image = build(1, 3_000_000)
    blob = image.image.layers[0].blob
    path = write_layout(tmp_path / "oci", image) / "blobs/sha256" / blob.digest.hex
    match damage:
        case "cut":
            path.write_bytes(image.blobs[0][:2_000_000])
        case "flip":
            path.write_bytes(b"\0" + image.blobs[0][1:])
        case _:
            path.unlink()
    reference = ImageReference.parse(f"oci:{tmp_path}/oci:os")
    with fetcher(tmp_path).resolve(reference, PLATFORM) as source:
        if damage == "flip" and fetches_raw():
            assert digest_of(read(source, blob)) != blob.digest
        else:
            with pytest.raises(error):
                read(source, blob)


def test_credentials_are_read_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = build(1)
    layout = write_layout(tmp_path / "oci", image)
    with RegistryServer(tmp_path / "registry", htpasswd=HTPASSWD) as server:
        server.push(layout, "os", "a/b:1")
        reference = ImageReference.parse(f"docker://{server.address}/a/b:1")
        anonymous = Options(insecure=(server.address,))
        with pytest.raises(AuthenticationError), fetcher(tmp_path, anonymous).resolve(reference, PLATFORM):
            pass
        file = tmp_path / "auth.json"
        file.write_text(
            json.dumps({"auths": {server.address: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}})
        )
        with fetcher(tmp_path, evolve(anonymous, authfile=str(file))).resolve(reference, PLATFORM) as source:
            assert read(source, source.image.layers[0].blob) == image.blobs[0]
        podman = tmp_path / "run/containers/auth.json"
        podman.parent.mkdir(parents=True)
        file.rename(podman)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
        with fetcher(tmp_path, evolve(anonymous, podman_credentials=True)).resolve(reference, PLATFORM) as source:
            assert read(source, source.image.layers[0].blob) == image.blobs[0]


@pytest.mark.parametrize("transport", ["registry", "containers-storage"])
def test_the_core_gets_verified_layers(
    folder: Path, tmp_path: Path, layout: str, built: Built, registry: RegistryServer, transport: str
) -> None:
    name = f"[vfs@{tmp_path}/store+{tmp_path}/run]localhost/os:1"
    if transport == "registry":
        registry.push(folder / "oci", "os", "a/core:1")
        name = f"{registry.address}/a/core:1"
    else:
        copy(layout, f"{transport}:{name}")
    opened = fetcher(folder, Options(insecure=(registry.address,)))
    with opened.resolve(ImageReference.of(name, transport), PLATFORM) as source:
        layers = source.image.layers
        with FetchedLayers(source, layers, tmp_path / "spool", lambda event: None, nothing) as streams:
            for layer in layers:
                with streams.open(layer) as content:
                    data = b"".join(iter(lambda: content.read(65536), b""))
                assert digest_of(data) == layer.diff_id


NOWHERE = {
    "no layout": ("oci:/nonexistent", NotFoundError),
    "no tag": ("oci:<folder>/oci:other", NotFoundError),
    "no directory": ("dir:/nonexistent", NotFoundError),
    "no stored image": ("containers-storage:[vfs@<folder>/store+<folder>/run]localhost/none:1", NotFoundError),
    "no repository": ("docker://<host>/a/none:1", NotFoundError),
    "no listener": ("docker://127.0.0.1:1/a/b:1", NetworkError),
    "no daemon": ("docker-daemon:localhost/os:1", FetchError),
    "a plain http registry": ("docker://localhost:<port>/a/b:1", NetworkError),
}


@pytest.mark.parametrize(("reference", "error"), NOWHERE.values(), ids=NOWHERE)
def test_what_is_not_there_is_said(
    folder: Path, layout: str, registry: RegistryServer, reference: str, error: type[FetchError]
) -> None:
    name = reference.replace("<folder>", str(folder)).replace("<host>", registry.address)
    options = Options(insecure=(registry.address, "127.0.0.1:1"))
    parsed = ImageReference.parse(name.replace("<port>", str(registry.port)))
    with pytest.raises(error) as raised, fetcher(folder, options).resolve(parsed, PLATFORM):
        pass
    assert "\n" not in raised.value.message


def fetches_raw() -> bool:
    """Whether this skopeo (1.19 or later) hands out blobs unverified, as the core verifies them anyway."""
    text = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = text.split()[2].split(".")[:2]
    return (int(major), int(minor)) >= (1, 19)
