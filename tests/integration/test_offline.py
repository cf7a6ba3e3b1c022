"""Updates without a network: from an image on a stick that is mounted now and then, and from podman's storage.

The stick is a filesystem of its own. The system is installed from elsewhere, and not booted.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.integration.dirimage_sysroots import dirimage_layers, install_dirimage
from tests.integration.sysroots import Layout, copy_mounted, make_disk, mounted
from tests.podman import Podman, own_storage
from tests.unit.cli_runs import Run, bootc

pytestmark = pytest.mark.root

HINT = "(mount the medium that it is on, or follow another image with `bootc switch`)"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Where images are built."""
    made = Layout(tmp_path_factory.mktemp("built") / "os")
    for version in ("1", "2", "3"):
        made.add(version, dirimage_layers(version))
    return made


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, layout: Layout) -> Path:
    """A disk on which version 1 was installed."""
    folder = tmp_path_factory.mktemp("host")
    made = make_disk(folder / "disk")
    with mounted(made, folder / "target") as root:
        install_dirimage(root, layout.reference("1"))
    return made


@frozen
class Host:
    """An installed system, and how commands work on it."""

    root: Path

    def bootc(self, *words: str) -> Run:
        """Run a command, whatever comes of it."""
        return bootc("--sysroot", str(self.root), *words)

    def json(self, *words: str) -> dict[str, Any]:
        """Run a command that must succeed; what it printed."""
        run = self.bootc(*words, "--json")
        assert (run.code, run.out.count("\n")) == (0, run.out.endswith("\n")), run.err
        found: dict[str, Any] = json.loads(run.out)
        return found

    @property
    def deployments(self) -> list[tuple[str, str, str]]:
        """Version, transport and name of each, in boot order."""
        entries = self.json("status")["status"]["otherDeployments"]
        images = [entry["image"] for entry in entries]
        return [(image["version"], image["image"]["transport"], image["image"]["image"]) for image in images]


@pytest.fixture
def host(tmp_path: Path, disk: Path) -> Iterator[Host]:
    with copy_mounted(disk, tmp_path) as root:
        yield Host(root)


@frozen
class Stick:
    """A medium with one image, which is written anew elsewhere."""

    disk: Path
    at: Path

    @contextmanager
    def plugged(self) -> Iterator[Path]:
        """Mounted."""
        with mounted(self.disk, self.at) as found:
            yield found


@pytest.fixture
def stick(tmp_path: Path) -> Stick:
    return Stick(make_disk(tmp_path / "stick", 16 << 20), tmp_path / "media")


def write_layout(layout: Layout, tag: str, folder: Path) -> None:
    """As a producer writes it, by the tag `stable`."""
    shutil.rmtree(folder / "os", ignore_errors=True)
    skopeo(layout.reference(tag), f"oci:{folder}/os:stable")


def write_archive(layout: Layout, tag: str, folder: Path) -> None:
    (folder / "os.tar").unlink(missing_ok=True)
    skopeo(layout.reference(tag), f"oci-archive:{folder}/os.tar")


def skopeo(source: str, target: str) -> None:
    subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", source, target], check=True)


FORMS: dict[str, tuple[Callable[[Layout, str, Path], None], str, str]] = {
    "a layout": (write_layout, "oci", "os:stable"),
    "an archive": (write_archive, "oci-archive", "os.tar"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_system_is_updated_from_a_stick(host: Host, layout: Layout, stick: Stick, form: str) -> None:
    write, transport, name = FORMS[form]
    place = f"{stick.at}/{name}"
    with stick.plugged() as folder:
        write(layout, "2", folder)
        switched = host.json("switch", "--transport", transport, place)
        assert (switched["change"], switched["reference"], switched["version"]) == (
            "deployed",
            f"{transport}:{place}",
            "2",
        )
        assert host.bootc("upgrade") == Run(0, "No update available.\n", "")
    assert host.deployments == [("2", transport, place), ("1", "oci", layout.name("1"))]

    with stick.plugged() as folder:
        write(layout, "3", folder)
        check = host.json("upgrade", "--check")
        upgraded = host.json("upgrade")
    assert (check["change"], check["version"], check["digest"]) == ("available", "3", upgraded["digest"])
    assert upgraded["change"] == "deployed"
    assert upgraded["requests"] is None
    assert upgraded["bytesFetched"] == check["prediction"]["bytes"] > 0
    assert upgraded["layersPresent"] == 2
    assert upgraded["bytesSaved"] == upgraded["bytesPresent"] > 0
    assert host.deployments == [("3", transport, place), ("2", transport, place)]


@pytest.mark.parametrize("form", FORMS)
def test_a_stick_that_is_not_there_is_told_and_nothing_changes(
    host: Host, layout: Layout, stick: Stick, form: str
) -> None:
    write, transport, name = FORMS[form]
    place = f"{stick.at}/{name}"
    with stick.plugged() as folder:
        write(layout, "2", folder)
        host.json("switch", "--transport", transport, place)
    before = host.deployments
    missing = place.removesuffix(":stable")
    error = f"error: {transport}:{place}: {missing}: no such file or directory {HINT}\n"
    for words in (("upgrade",), ("upgrade", "--check"), ("upgrade", "--json")):
        assert host.bootc(*words) == Run(1, "", error)
    assert host.deployments == before
    with stick.plugged():
        assert host.json("upgrade")["change"] == "none"


def test_a_stick_with_another_image_is_told(host: Host, layout: Layout, stick: Stick) -> None:
    with stick.plugged() as folder:
        write_layout(layout, "2", folder)
        host.json("switch", "--transport", "oci", f"{folder}/os:stable")
        shutil.rmtree(folder / "os")
        skopeo(layout.reference("3"), f"oci:{folder}/os:testing")
        run = host.bootc("upgrade")
    problem = "no image of this name (names in it: testing)"
    assert run == Run(1, "", f"error: oci:{stick.at}/os:stable: {problem}\n")
    assert [version for version, *_ in host.deployments] == ["2", "1"]


def test_a_path_is_recorded_whole(host: Host, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(layout.folder.parent)
    assert host.json("switch", "--transport", "oci", "os:2")["reference"] == layout.reference("2")
    monkeypatch.chdir("/")
    assert host.json("upgrade")["change"] == "none"
    assert host.deployments[0] == ("2", "oci", layout.name("2"))


# ---------------------------------------------------------------- by skopeo


def test_a_system_is_updated_from_a_docker_archive(host: Host, layout: Layout, stick: Stick) -> None:
    """Layers are there uncompressed, and the manifest is made up by skopeo: the same archive is the same image."""
    place = f"{stick.at}/docker.tar:localhost/os:1"
    with stick.plugged() as folder:
        skopeo(layout.reference("2"), f"docker-archive:{place}")
        switched = host.json("switch", "--transport", "docker-archive", place)
        assert (switched["change"], switched["version"]) == ("deployed", "2")
        assert host.json("upgrade")["change"] == "none"
        (folder / "docker.tar").unlink()
        skopeo(layout.reference("3"), f"docker-archive:{place}")
        assert host.json("upgrade", "--check")["version"] == "3"
        upgraded = host.json("upgrade")
    assert (upgraded["change"], upgraded["layersPresent"]) == ("deployed", 2)
    assert host.deployments == [("3", "docker-archive", place), ("2", "docker-archive", place)]
    run = host.bootc("upgrade")
    assert (run.code, run.out) == (1, "")
    assert run.err.startswith(f"error: docker-archive:{place}: ")
    assert run.err.endswith(f"no such file or directory {HINT}\n")


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    with own_storage(tmp_path / "podman") as made:
        yield made


def test_a_system_is_updated_from_podmans_storage(host: Host, layout: Layout, podman: Podman) -> None:
    """As one does with images that were built on the machine itself."""
    podman.load(layout.folder, "2", "localhost/os:latest")
    place = f"[overlay@{podman.folder}/storage+{podman.runtime}]localhost/os:latest"
    switched = host.json("switch", "--transport", "containers-storage", place)
    assert (switched["change"], switched["version"]) == ("deployed", "2")
    assert host.json("upgrade")["change"] == "none"
    podman.load(layout.folder, "3", "localhost/os:latest")
    upgraded = host.json("upgrade")
    assert (upgraded["change"], upgraded["version"], upgraded["layersPresent"]) == ("deployed", "3", 2)
    assert host.deployments == [("3", "containers-storage", place), ("2", "containers-storage", place)]


def test_updates_between_transports_are_predicted(host: Host, layout: Layout, podman: Podman, tmp_path: Path) -> None:
    """A layer is the same, however it is kept and compressed."""
    place = f"containers-storage:[overlay@{podman.folder}/storage+{podman.runtime}]localhost/os:2"
    podman.load(layout.folder, "2", "localhost/os:2")
    archives = {form: f"{form}:{tmp_path}/{form}.tar" for form in ("docker-archive", "oci-archive")}
    for archive in archives.values():
        skopeo(layout.reference("2"), archive)
    sizes = {}
    for name, new in {"oci": layout.reference("2"), **archives, "stored": place}.items():
        methods = host.json("image", "plan", layout.reference("1"), new)["methods"]
        assert (methods["image"]["layers"], methods["layers"]["layers"]) == (4, 2)
        sizes[name] = methods["layers"]["bytes"]
    assert sizes["oci"] == sizes["oci-archive"] > 0
    changed = set(dirimage_layers("2")) - set(dirimage_layers("1"))
    assert sizes["docker-archive"] == sum(map(len, changed))
    assert sizes["stored"] == sizes["oci"], "podman does not know what it will serve, but what the manifest says"
