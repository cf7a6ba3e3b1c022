"""Bootable images made in a moment, disks to install them on, and all of a sysroot that a failure must not change.

An image has three layers: one that all versions share, one with the kernel, and one that differs in each version.
`Layout` holds such images as an OCI layout, which `oci:` serves and `RegistryServer.push` copies. A disk is a sparse
file with a filesystem, so that an installed one is copied in no time:

    layout = Layout(folder / "os")
    layout.add("v1", os_layers("1"))
    disk = make_disk(folder / "disk")
    with mounted(disk, folder / "target") as root:
        install(root, layout.reference("v1"))
        before = snapshot(root)
        bootc("--sysroot", str(root), "switch", "--transport", "oci", layout.name("v2"))
        assert snapshot(root) == before

The mounts and loop devices of one folder are told by `held_below`.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from bootc.image import Image
from bootc.manifest import OCI_MANIFEST
from tests.ostree_images import Normal, Tar, base_layer, digest_of, make_image, normal_form
from tests.sparse import copy_disk
from tests.unit.cli_runs import Run, bootc

MIB = 1 << 20
DISK_SIZE = 96 * MIB
REFERENCE_NAME = "org.opencontainers.image.ref.name"
VERSION = "org.opencontainers.image.version"

_STORE = "ostree/repo"
_FETCHED = ("ostree/container/blob/", "ostree/container/image/")
"""refs of what was fetched; it may stay after a failure, until the next cleaning"""
_PRUNED = "ostree/bootc/pruned"
_UNCOMPARED = (_STORE, _PRUNED, "lost+found", "ostree/bootc/spool", "ostree/bootc/lock", "ostree/.lock")
"""the store's objects, what the last pruning left of them, and what is fetched for it; the locks' own files"""


# ---------------------------------------------------------------- images


def os_layers(version: str, ballast: int = 0) -> list[bytes]:
    """The layers of a bootable image; `ballast` is the size in bytes of incompressible files in the last one."""
    shared = Tar().directory("usr", mode=0o755).directory("usr/share").add("usr/share/shared", data=b"shared\n" * 99)
    last = Tar().add("usr/lib/version", data=version.encode()).add("etc/version", data=version.encode())
    for number in range(0, ballast, MIB):
        last.add(f"usr/lib/ballast-{number >> 20}", data=os.urandom(min(MIB, ballast - number)))
    return [shared.data, base_layer(version).data, last.data]


class Layout:
    """An OCI layout (OCI image specification, image-layout); a tag that is added again moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._tags: dict[str, dict[str, Any]] = {}

    def name(self, tag: str) -> str:
        """As `switch --transport oci` takes it."""
        return f"{self.folder}:{tag}"

    def reference(self, tag: str) -> str:
        """As `install --source-imgref` takes it."""
        return f"oci:{self.name(tag)}"

    def blob(self, digest: object) -> Path:
        """The file of a blob."""
        return self.folder / "blobs/sha256" / str(digest).partition(":")[2]

    def add(
        self, tag: str, layers: Sequence[bytes], *, labels: Mapping[str, str] | None = None, level: int | None = 1
    ) -> Image:
        """An image of these tar archives, compressed by gzip (`level` None: not at all); the tag is its version."""
        image = make_image(layers, f"{self.folder}:{tag}", labels={VERSION: tag, **(labels or {})}, level=level)
        self._write_layers(image, layers, level)
        return self.add_documents(tag, image)

    def add_documents(self, tag: str, image: Image) -> Image:
        """Only manifest and config, which may be spoiled; the layers are there already."""
        self.blob(image.digest).write_bytes(image.manifest)
        self.blob(digest_of(image.config)).write_bytes(image.config)
        self._tags[tag] = {
            "mediaType": OCI_MANIFEST,
            "digest": str(image.digest),
            "size": len(image.manifest),
            "annotations": {REFERENCE_NAME: tag},
        }
        index = {"schemaVersion": 2, "manifests": list(self._tags.values())}
        (self.folder / "index.json").write_text(json.dumps(index))
        return image

    def _write_layers(self, image: Image, layers: Sequence[bytes], level: int | None) -> None:
        for layer, data in zip(image.layers, layers, strict=True):
            packed = data if level is None else gzip.compress(data, level, mtime=0)
            self.blob(layer.descriptor.digest).write_bytes(packed)


# ---------------------------------------------------------------- disks


def make_disk(path: Path, size: int = DISK_SIZE, *options: str) -> Path:
    """A sparse file of `size` bytes with an empty ext4; `options` are those of mkfs.ext4, as `-N INODES`."""
    path.touch()
    os.truncate(path, size)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard", *options, path], check=True)
    return path


@contextmanager
def mounted(disk: Path, at: Path, options: str = "loop") -> Iterator[Path]:
    """Mount a disk; unmounted afterwards, deployments included."""
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", options, disk, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@contextmanager
def copy_mounted(disk: Path, folder: Path, options: str = "loop") -> Iterator[Path]:
    """A copy of an installed disk, mounted at `folder/sysroot`, to be changed as one likes."""
    copy = copy_disk(disk, folder / "copy")
    try:
        with mounted(copy, folder / "sysroot", options) as root:
            yield root
    finally:
        copy.unlink()


def install(root: Path, source: str, *words: str, **more: Any) -> Run:
    """`bootc install to-filesystem` without a bootloader; `words` are further options, `more` goes to `bootc`."""
    command = ("install", "to-filesystem", "--source-imgref", source, "--bootloader", "none")
    return bootc(*command, *words, str(root), **more)


def installed_disk(folder: Path, layout: Layout, tag: str, *options: str) -> Path:
    """A disk (`options` of `make_disk`) on which an image of a layout was installed; it follows the layout's tag."""
    disk = make_disk(folder / "disk", DISK_SIZE, *options)
    with mounted(disk, folder / "target") as root:
        run = install(root, layout.reference(tag), "--skip-finalize")
        assert run.code == 0, run.err
        clean = bootc("--sysroot", str(root), "internals", "cleanup")
        assert clean.code == 0, clean.err
    shutil.rmtree(folder / "target")
    return disk


# ---------------------------------------------------------------- what must stay


@frozen
class Snapshot:
    """A sysroot without what was only fetched: compared as a whole."""

    files: Normal
    """every path outside the store: deployments with their origins and /etc, boot links, /boot, /var, our records"""
    refs: Mapping[str, str]
    """what protects the deployments' commits"""
    store: Mapping[str, bytes]
    """the store's own configuration and unfinished transactions"""


def snapshot(root: Path) -> Snapshot:
    """What a sysroot is at this moment."""
    files = {path: state for path, state in normal_form(root).items() if not _is_uncompared(path)}
    protecting = {ref: commit for ref, commit in refs(root).items() if not ref.startswith(_FETCHED)}
    return Snapshot(files, protecting, _own(root))


def refs(root: Path) -> dict[str, str]:
    """All refs of the store, with the commits that they name."""
    heads = root / _STORE / "refs/heads"
    return {str(path.relative_to(heads)): path.read_text().strip() for path in heads.rglob("*") if path.is_file()}


def images(root: Path) -> list[str]:
    """The versions of all deployments in boot order, as `bootc status` knows them; asserts that it answers.

    Deployments that follow no image are empty texts.
    """
    run = bootc("--sysroot", str(root), "status", "--json")
    assert (run.code, run.err) == (0, ""), run.err
    status = json.loads(run.out)["status"]
    slots = [status["staged"], status["booted"], status["rollback"], *status["otherDeployments"]]
    return [slot["image"]["version"] if slot["image"] else "" for slot in slots if slot]


def held_below(folder: Path) -> list[str]:
    """Mount points below a folder, and loop devices whose files are there; sorted."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()]
    backing = [os.fsdecode(path.read_bytes().strip()) for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return sorted(name for name in (*mounts, *backing) if Path(name).is_relative_to(folder))


def _is_uncompared(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in _UNCOMPARED)


def _own(root: Path) -> dict[str, bytes]:
    store = root / _STORE
    if not store.is_dir():
        return {}
    left = {f"tmp/{name}": b"" for name in sorted(os.listdir(store / "tmp")) if name != "cache"}
    return {"config": (store / "config").read_bytes(), **left}
