"""Backends whose deployments are those of `bootc.roots`, and what can be wrong with a sysroot of theirs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from attrs import frozen

from tests.integration import dirimage_sysroots
from tests.integration.failing import fails
from tests.integration.sysroots import DISK_SIZE, install, make_disk, mounted
from tests.ostree_images import normal_form
from tests.unit.cli_runs import bootc

_UNCOMPARED = ("lost+found", *(f"composefs/{name}" for name in ("layers", "objects", "bootc/spool", "bootc/lock")))


@frozen
class Record:
    """One of the files that a backend writes."""

    pattern: str
    """finds the only one"""
    hint: str
    """of the error if it is damaged; `{folder}` is its directory"""
    is_told_by_status: bool = True


@frozen
class Kind:
    """A backend, and how a disk of its is harmed."""

    backend: str
    records: Mapping[str, Record]
    plan: bytes
    """the beginning of a mount plan"""
    inodes: int
    """of a filesystem that holds one image, and hardly another one"""
    left: tuple[int, ...]
    """numbers of free ones with which an update fails here and there"""
    unchanged: Callable[[Path], AbstractContextManager[None]]
    """asserts that the sysroot stays as it was, but for what was fetched"""
    unfinished: tuple[str, ...]
    """patterns of what is being made: after an update there is none"""

    @property
    def state(self) -> str:
        """The record of the boot order."""
        return f"{self.backend}/state.json"

    def disk(self, folder: Path, source: str, *options: str) -> Path:
        """A disk (`options` of `make_disk`) on which an image was installed."""
        disk = make_disk(folder / "disk", DISK_SIZE, *options)
        with mounted(disk, folder / "target") as root:
            run = install(root, source, "--skip-finalize", "--backend", self.backend)
            assert run.code == 0, run.err
            succeed(root, "internals", "cleanup")
        shutil.rmtree(folder / "target")
        return disk


@contextmanager
def unchanged_composefs(root: Path) -> Iterator[None]:
    """Assert that deployments, images and their order stay; objects and layers that were fetched may be there."""
    path = root / COMPOSEFS.state

    def snapshot() -> tuple[object, ...]:
        state, hidden = json.loads(path.read_bytes()), (*_UNCOMPARED, COMPOSEFS.state)
        files = {path: found for path, found in normal_form(root).items() if not path.startswith(hidden)}
        return files, state["order"], state["pinned"]

    before = snapshot()
    objects = {path: path.read_bytes() for path in (root / "composefs/objects").glob("??/*")}
    yield
    assert snapshot() == before
    assert {path: path.read_bytes() for path in objects} == objects


COMPOSEFS = Kind(
    "composefs",
    {
        "state": Record(
            "composefs/state.json",
            'write {{"number": N, "order": [IDs of composefs/deployments, the default first]}} to it',
        ),
        "deployment": Record(
            "composefs/deployments/*/deployment.json", "move {folder} away while another deployment runs"
        ),
        "image": Record("composefs/images/*.json", "move it away; the next import of the image writes it again"),
        "repository": Record(
            "composefs/repository.json",
            'write {{"algorithm": A, "image-format": "1/1", "verity": "auto"}} to it, or "require"; '
            "A is sha256 if the names of objects have 62 digits, sha512 if 126",
            is_told_by_status=False,
        ),
    },
    plan=b"bootc-mount-plan 2\ncomposefs composefs/ob",
    inodes=768,
    left=(0, 2, 12),
    unchanged=unchanged_composefs,
    unfinished=("composefs/incoming/*", "composefs/checkouts/*"),
)
DIRIMAGE = Kind(
    "dirimage",
    {
        "state": Record(
            "dirimage/state.json",
            'write {{"number": N, "order": [IDs of dirimage/deployments, the default first]}} to it',
        ),
        "deployment": Record(
            "dirimage/deployments/*/deployment.json", "move {folder} away while another deployment runs"
        ),
        "image": Record(
            "dirimage/slots/*/image.json",
            "remove the file: the slot then holds an unknown image, and `bootc upgrade` fetches the image anew",
        ),
    },
    plan=b"bootc-mount-plan 1\nroot dirimage/sl",
    inodes=512,
    left=(0, 2, 20, 40),
    unchanged=dirimage_sysroots.unchanged,
    unfinished=("dirimage/**/*.partial",),
)
KINDS = (COMPOSEFS, DIRIMAGE)


# ---------------------------------------------------------------- commands


def on(root: Path, *words: str) -> tuple[str, ...]:
    """A command on this sysroot."""
    return ("--sysroot", str(root), *words)


def error(root: Path, *words: str) -> str:
    """The error of a command that leaves everything as it was."""
    return fails(root.parent, *on(root, *words))


def succeed(root: Path, *words: str) -> None:
    """Run a command that must not fail."""
    run = bootc(*on(root, *words))
    assert run.code == 0, run.err


def found(root: Path, pattern: str) -> Path:
    """The one path of this pattern."""
    (path,) = root.glob(pattern)
    return path
