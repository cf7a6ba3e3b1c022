"""Which backend an installation takes: options, then configuration, then the image's label, then ostree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootc.system.initramfs import MARKER
from tests import dirimage_system
from tests.integration.sysroots import Layout, make_disk, mounted
from tests.ostree_images import Tar
from tests.unit.cli_runs import Run, bootc

pytestmark = pytest.mark.root

BACKENDS = ("composefs", "dirimage", "ostree")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """One image without a wish, and for each backend one that asks for it."""
    made = Layout(tmp_path_factory.mktemp("images"))
    for wish in ("", *BACKENDS):
        labels = {"containers.bootc.backend": wish} if wish else {}
        support = Tar().add(str(MARKER), data=b"2\n")
        made.add(wish or "plain", dirimage_system.os_layers("1", support), labels=labels)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    with mounted(make_disk(tmp_path / "disk"), tmp_path / "target") as root:
        yield root


def install(layout: Layout, target: Path, *words: str, tag: str = "plain", configured: str = "") -> Run:
    """As users do, from outside of the image."""
    config = target.parent / "host.toml"
    config.write_text(f'[bootc]\nbackend = "{configured}"\n' if configured else "")
    return bootc(
        *("--config", str(config), "install", "to-filesystem", "--source-imgref", layout.reference(tag)),
        *("--bootloader", "none", "--skip-finalize", *words, str(target)),
    )


def backend_of(target: Path) -> str:
    """What the installed system says of itself; its status must be readable without any option."""
    (record,) = target.glob("*/bootc/system.json")
    document = json.loads(record.read_text())
    assert record.parts[-3] == document["backend"]
    status = json.loads(bootc("--sysroot", str(target), "status", "--json").out)["status"]
    (deployment,) = status["otherDeployments"]
    assert deployment["image"]["version"] in ("plain", *BACKENDS)
    assert document["backend"] in deployment
    return str(document["backend"])


@pytest.mark.parametrize("name", BACKENDS)
def test_an_option_chooses(layout: Layout, target: Path, name: str) -> None:
    run = install(layout, target, "--backend", name, tag="ostree", configured="ostree")
    assert run.code == 0, run.err
    assert backend_of(target) == name


def test_upstreams_option_chooses_composefs(layout: Layout, target: Path) -> None:
    run = install(layout, target, "--composefs-backend")
    assert run.code == 0, run.err
    assert backend_of(target) == "composefs"


def test_configuration_chooses_before_the_image(layout: Layout, target: Path) -> None:
    run = install(layout, target, tag="composefs", configured="dirimage")
    assert run.code == 0, run.err
    assert backend_of(target) == "dirimage"


@pytest.mark.parametrize("tag", [*BACKENDS, "plain"])
def test_the_images_label_chooses(layout: Layout, target: Path, tag: str) -> None:
    run = install(layout, target, tag=tag)
    assert run.code == 0, run.err
    assert backend_of(target) == ("ostree" if tag == "plain" else tag)


def test_two_choices_are_none(layout: Layout, target: Path) -> None:
    run = install(layout, target, "--backend", "dirimage", "--composefs-backend")
    line = "several backends are chosen: composefs, dirimage (see its --help)"
    assert (run.code, run.err) == (2, f"error: {line}\n")


def test_a_backend_that_is_not_there(layout: Layout, target: Path) -> None:
    run = install(layout, target, "--backend", "zfs")
    assert run.code != 0
    assert run.err.startswith("error: unknown backend 'zfs'"), run.err
    assert [path.name for path in target.iterdir()] == ["lost+found"]


def test_an_installed_system_keeps_its_backend(layout: Layout, target: Path) -> None:
    assert install(layout, target, "--backend", "dirimage").code == 0
    run = bootc("--sysroot", str(target), "--backend", "ostree", "status")
    assert run.code != 0
    assert "dirimage" in run.err
