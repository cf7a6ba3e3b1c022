"""The initramfs script on composefs images, with this machine's Linux: what it mounts, and what it refuses.

Linux mounts the image and the overlay for real. Where fs-verity is measured, the program that measures is a fake one;
tests with virtual machines have the real one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve
from bootc_composefs.erofs import make_image
from bootc_composefs.fsverity import Algorithm, digest_of
from bootc_composefs.tree import Object

from bootc.system.initramfs import ComposefsRoot, MountPlan
from tests.composefs_trees import directory, external, inline
from tests.integration.test_dirimage_mount_root import Result, run

pytestmark = pytest.mark.root

OBJECTS = PurePosixPath("composefs/objects")
CONTENT = b"the content lies in an object\n" * 9


def add(folder: Path, data: bytes, algorithm: Algorithm) -> Object:
    """Put an object onto the physical root that `run` makes."""
    found = Object.of(digest_of(data, algorithm))
    path = folder / "content" / OBJECTS / os.fsdecode(found.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return found


def image_in(folder: Path, *, is_verified: bool = False, algorithm: Algorithm = Algorithm.SHA256) -> ComposefsRoot:
    """An image with a file in itself and one in an object."""
    children = {name: directory() for name in (b"etc", b"var", b"sysroot")}
    which = external(len(CONTENT), add(folder, CONTENT, algorithm))
    root = directory({**children, b"which": which, b"small": inline(b"in the image\n")})
    erofs = add(folder, make_image(root), algorithm)
    path = OBJECTS / os.fsdecode(erofs.path)
    return ComposefsRoot(path, OBJECTS, f"{algorithm.value}-12:{erofs.digest.hex()}", is_verified)


def writable() -> dict[PurePosixPath, PurePosixPath]:
    """Targets and sources."""
    binds = {"etc": "deployments/1/etc", "var": "var/default"}
    return {PurePosixPath(target): PurePosixPath(source) for target, source in binds.items()}


def plan_of(root: ComposefsRoot) -> bytes:
    return MountPlan(root, writable()).render()


def boot(
    folder: Path,
    root: ComposefsRoot,
    argument: str | None = None,
    plan: bytes | None = None,
    programs: Mapping[str, str] | None = None,
) -> Result:
    """Run the script with this plan and this argument; the usual ones of the root by default."""
    look = """
        cat small which | sort -u
        touch here 2>/dev/null || echo 'root is read-only'
        touch sysroot/here 2>/dev/null || echo 'sysroot is read-only'
        echo 1 > etc/mine && cat sysroot/deployments/1/etc/mine
        findmnt -no SOURCE,FSTYPE .
        ls ..
    """
    words = f"quiet bootc.deployment=1-abc bootc.plan=deployments/1/mounts {argument or root.argument} rw"
    return run(folder, words, plan or plan_of(root), look=look, programs=programs)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_root_is_an_overlay_of_the_image_over_the_objects(tmp_path: Path, algorithm: Algorithm) -> None:
    result = boot(tmp_path, image_in(tmp_path, algorithm=algorithm))
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[:5] == [
        "in the image",
        CONTENT.splitlines()[0].decode(),
        "root is read-only",
        "sysroot is read-only",
        "1",
    ]
    assert lines[5].split() == ["composefs", "overlay"]


def test_a_transient_etc_is_laid_over_the_deployment_s(tmp_path: Path) -> None:
    root = image_in(tmp_path)
    plan = MountPlan(root, writable(), is_etc_transient=True).render()
    look = "echo 1 > etc/mine && cat etc/mine && ls sysroot/deployments/1/etc"
    words = f"bootc.deployment=1-abc bootc.plan=deployments/1/mounts {root.argument}"
    result = run(tmp_path, words, plan, look=look)
    assert (result.code, result.out, result.err) == (0, "1\n", "")


def refusal(
    folder: Path,
    root: ComposefsRoot,
    argument: str | None = None,
    plan: bytes | None = None,
    programs: Mapping[str, str] | None = None,
) -> str:
    """Why the script mounts nothing."""
    result = boot(folder, root, argument, plan, programs)
    assert result.code == 1
    start = "bootc: cannot mount the root of deployment 1-abc: "
    assert result.err.startswith(start)
    return result.err.splitlines()[0].removeprefix(start)


def test_the_image_must_be_the_one_of_the_command_line(tmp_path: Path) -> None:
    root = image_in(tmp_path)
    other = evolve(root, digest="sha256-12:" + "0" * 64)
    assert "wants the image" in refusal(tmp_path, root, other.argument)


def test_a_plan_cannot_take_verification_back(tmp_path: Path) -> None:
    root = image_in(tmp_path)
    assert "(unverified)" in refusal(tmp_path, root, evolve(root, is_verified=True).argument)


def test_a_plan_cannot_put_a_directory_in_the_place_of_an_image(tmp_path: Path) -> None:
    root = image_in(tmp_path, is_verified=True)
    plan = MountPlan(PurePosixPath("slots/1/tree")).render()
    assert refusal(tmp_path, root, plan=plan).endswith("the mount plan a directory")


def test_without_an_argument_no_image_is_mounted(tmp_path: Path) -> None:
    assert "wants the image ''" in refusal(tmp_path, image_in(tmp_path), "quiet")


@pytest.mark.parametrize("gone", ["image", "objects"])
def test_what_is_missing_is_said(tmp_path: Path, gone: str) -> None:
    root = image_in(tmp_path)
    if gone == "image":
        (tmp_path / "content" / root.image).unlink()
        assert refusal(tmp_path, root) == f"the image {root.image} is missing"
    else:
        elsewhere = evolve(root, objects=PurePosixPath("composefs/elsewhere"))
        assert refusal(tmp_path, elsewhere) == "composefs/elsewhere is missing"


def test_an_image_that_is_none_is_not_mounted(tmp_path: Path) -> None:
    root = image_in(tmp_path)
    (tmp_path / "content" / root.image).write_bytes(bytes(16384))
    assert "mount -t erofs" in refusal(tmp_path, root)


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        ("echo 'no fs-verity here' >&2; exit 1", "the image cannot be measured: no fs-verity here"),
        (f"echo sha256:{'0' * 64} $2", f"the image is another one: sha256:{'0' * 64}"),
        ("echo", "the image is another one: "),
    ],
)
def test_an_image_that_is_measured_to_be_another_one_is_refused(tmp_path: Path, measure: str, reason: str) -> None:
    assert refusal(tmp_path, image_in(tmp_path, is_verified=True), programs={"fsverity": measure}) == reason


@pytest.mark.parametrize("algorithm", Algorithm)
def test_objects_without_verity_are_not_read_where_the_image_is_verified(tmp_path: Path, algorithm: Algorithm) -> None:
    root = image_in(tmp_path, is_verified=True, algorithm=algorithm)
    measure = f"[ $1 = measure ] && echo {root.digest.replace('-12', '')} $2"
    result = boot(tmp_path, root, programs={"fsverity": measure})
    assert result.out.splitlines()[0] == "in the image"
    assert CONTENT.splitlines()[0].decode() not in result.out
    assert "which: Input/output error" in result.err
