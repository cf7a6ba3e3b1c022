"""Backend composefs, by the real command: what is its own among the harm that `test_bad_input_roots` does to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.bad_sysroots import COMPOSEFS, error, found, succeed
from tests.integration.dirimage_sysroots import dirimage_layers
from tests.integration.failing import World, error_of, switch
from tests.integration.sysroots import copy_mounted, images, make_disk, mounted
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def disk(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version c1 is on it; c2 and c3 are there to switch to."""
    for version in ("c1", "c2", "c3"):
        world.layout.add(version, dirimage_layers(version))
    return COMPOSEFS.disk(tmp_path_factory.mktemp("composefs"), world.layout.reference("c1"))


@pytest.fixture
def root(disk: Path, tmp_path: Path) -> Iterator[Path]:
    """A sysroot of one's own, with c1 on it."""
    with copy_mounted(disk, tmp_path) as sysroot:
        yield sysroot


def erofs_of(root: Path) -> Path:
    """The EROFS image of the only deployment."""
    lines = found(root, "composefs/deployments/*/mounts").read_text().splitlines()
    return root / next(line.split()[1] for line in lines if "composefs" in line)


def test_the_hint_of_a_damaged_image_helps(world: World, root: Path) -> None:
    """Without its record the deployment goes on, and so do updates of it."""
    path = found(root, "composefs/images/*.json")
    path.write_bytes(b"{")
    assert error(root, *switch(world, "c2")).startswith(f"{path.relative_to(root)}: damaged: ")
    path.rename(root / "away")
    assert images(root) == [""]
    succeed(root, "internals", "cleanup")
    succeed(root, *switch(world, "c2"))
    assert images(root) == ["c2", ""]
    succeed(root, *switch(world, "c1"))
    assert images(root) == ["c1", "c2"]


# ---------------------------------------------------------------- images and objects


@pytest.mark.parametrize("content", [None, b"", b"altered"], ids=["missing", "truncated", "altered"])
def test_an_erofs_image_that_is_lost_is_made_again(world: World, root: Path, content: bytes | None) -> None:
    path = erofs_of(root)
    good = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert images(root) == ["c1"]
    succeed(root, *switch(world, "c2"))
    assert images(root) == ["c2", "c1"]
    assert path.read_bytes() == good


def test_an_object_that_is_lost_comes_with_the_next_image_that_has_it(world: World, root: Path) -> None:
    """The layer that has it is shared with the new image."""
    content = b"shared\n" * 99
    (lost,) = (path for path in (root / "composefs/objects").glob("??/*") if path.read_bytes() == content)
    lost.unlink()
    assert images(root) == ["c1"]
    succeed(root, *switch(world, "c2"))
    assert images(root) == ["c2", "c1"]
    assert lost.read_bytes() == content


def test_what_a_power_cut_left_goes_with_cleaning_up(root: Path) -> None:
    base = root / "composefs"
    left = [base / "deployments/7-0123456789ab.partial/etc", base / "deployments/6-0123456789ab.removed/etc"]
    left += [base / "checkouts/abc/etc", base / "deployments/5-0123456789ab"]
    for path in left:
        path.mkdir(parents=True)
    files = [base / "incoming/1-1", base / "layers" / ("0" * 64), base / "objects/00" / ("1" * 62)]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"ha")
    assert images(root) == ["c1"]
    succeed(root, "internals", "cleanup")
    assert [path.name for path in (*left, *files) if path.exists()] == []
    assert images(root) == ["c1"]


def test_two_deployments_of_one_digest(world: World, root: Path) -> None:
    """They share all they have, which stays as long as one of them does."""
    world.layout.add_documents("c1-again", world.layout.add("c1", dirimage_layers("c1")))
    succeed(root, *switch(world, "c1-again"))
    assert images(root) == ["c1", "c1"]
    assert len(list((root / "composefs/images").iterdir())) == 1
    succeed(root, "rollback")
    succeed(root, "internals", "cleanup")
    for version in ("c2", "c3"):
        succeed(root, *switch(world, version))
    assert images(root) == ["c3", "c2"]
    assert len(list((root / "composefs/images").iterdir())) == 2


def test_verity_that_is_required_and_cannot_be_leaves_the_target_empty(world: World, tmp_path: Path) -> None:
    config = tmp_path / "require.toml"
    config.write_text('[backends.composefs]\nverity = "require"\n')
    with mounted(make_disk(tmp_path / "disk"), tmp_path / "target") as root:
        run = bootc(
            "--config",
            str(config),
            "install",
            "to-filesystem",
            "--backend",
            "composefs",
            "--bootloader",
            "none",
            "--acknowledge-destructive",
            "--source-imgref",
            world.layout.reference("c1"),
            str(root),
        )
        assert "fs-verity is required, but " in error_of(run)
        assert [path.name for path in root.iterdir() if path.name != "lost+found"] == []
