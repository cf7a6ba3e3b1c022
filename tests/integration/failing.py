"""Commands that must fail: one line that says why, and nothing else changed."""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from bootc.image import Image
from tests.integration.sysroots import Layout, held_below, os_layers, snapshot
from tests.ostree_images import digest_of
from tests.servers import RegistryServer
from tests.unit.cli_runs import Run, bootc

NEWER = "(use the newer version of bootc that wrote it)"
"""what to do about a record that is not understood"""
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 5.0
_EXPECTED = ("Installing image: ", "Digest: ", "warning: ", "note: Deploying commit ")
"""what a command may say before it fails; the last one is libostree's own"""

Edit = Callable[[dict[str, Any]], object]
"""changes a JSON document in place"""


@frozen
class World:
    """What is made once: images, a disk with v1 installed, a registry that lives as long as the tests."""

    layout: Layout
    disk: Path
    registry: RegistryServer
    config: Path
    """lets the registry be used without TLS, and has no patience for retries"""

    def reference(self, name: str) -> str:
        """An image's name in the registry."""
        return f"{self.registry.address}/{name}:latest"

    def push(self, name: str, image: Image) -> Image:
        """Copy an image of the layout, whose tag is its name, to the registry."""
        self.registry.push(self.layout.folder, name, f"{name}:latest")
        return image

    def publish(self, name: str, layers: Sequence[bytes] | None = None) -> Image:
        """Make an image of these layers (default: a good one) and push it."""
        return self.push(name, self.layout.add(name, layers or os_layers(name)))

    def publish_edited(self, name: str, *, config: Edit = id, manifest: Edit = id) -> Image:
        """The same with other documents; digests and sizes are those of what was made."""
        image = edited(self.layout.add(name, os_layers(name)), config, manifest)
        return self.push(name, self.layout.add_documents(name, image))

    def stored(self, digest: object) -> Path:
        """The file in which the registry keeps a blob."""
        hex = str(digest).partition(":")[2]
        return self.registry.folder / "data/docker/registry/v2/blobs/sha256" / hex[:2] / hex / "data"


def edited(image: Image, config: Edit = id, manifest: Edit = id) -> Image:
    """An image with changed documents."""
    documents = json.loads(image.config), json.loads(image.manifest)
    config(documents[0])
    new_config = json.dumps(documents[0]).encode()
    documents[1]["config"] |= {"digest": str(digest_of(new_config)), "size": len(new_config)}
    manifest(documents[1])
    new_manifest = json.dumps(documents[1]).encode()
    return evolve(image, config=new_config, manifest=new_manifest, digest=digest_of(new_manifest))


def spoil(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the content of a file."""
    path.write_bytes(change(path.read_bytes()))


# ---------------------------------------------------------------- commands


def switch(world: World, tag: str) -> tuple[str, ...]:
    """The command for an image of the layout."""
    return ("switch", "--transport", "oci", world.layout.name(tag))


def error_of(run: Run, code: int = 1) -> str:
    """The one line that says why a command failed, without `error: `. Asserts what holds for all failures."""
    lines = run.err.splitlines()
    assert (run.code, run.out) == (code, ""), run
    assert [line.startswith("error: ") for line in lines[-1:]] == [True], run.err
    assert [line for line in lines[:-1] if not line.startswith(_EXPECTED)] == [], run.err
    assert all(line.isprintable() for line in lines), run.err
    assert not re.search(r"Traceback|internal error|secret", run.err, re.IGNORECASE), run.err
    return lines[-1].removeprefix("error: ")


def fails(
    folder: Path, *words: str, root: Path | None = None, code: int = 1, env: Mapping[str, str] | None = None
) -> str:
    """Run `bootc WORDS`; the line that says why it failed.

    Asserts that the sysroot (or empty target) at `root` is as it was, and that no mount or loop device below `folder`,
    no process and no temporary file is left.
    """
    with unchanged(folder, root):
        return error_of(bootc(*words, env={"TMPDIR": str(temporary(folder)), **(env or {})}), code)


def temporary(folder: Path) -> Path:
    """The directory for temporary files below a test's folder."""
    path = folder / "tmp"
    path.mkdir(exist_ok=True)
    return path


@contextmanager
def unchanged(folder: Path, root: Path | None = None) -> Iterator[None]:
    """Assert that what is done inside leaves nothing behind, and the sysroot as it was."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # whatever outlives its parent becomes our child
    before, held, children = snapshot(root) if root else None, held_below(folder), _children()
    yield
    left = {
        "held": held_below(folder),
        "running": [_command(pid) for pid in _children() - children if not _has_ended(pid)],
        "temporary": os.listdir(temporary(folder)),
    }
    assert left == {"held": held, "running": [], "temporary": []}, left
    if root:
        assert snapshot(root) == before


def _children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()}


def _has_ended(pid: int) -> bool:
    """Whether an orphan ends by itself; libostree leaves one behind that thaws filesystems, should it be killed."""
    descriptor = os.pidfd_open(pid)
    try:
        has_ended = bool(select.select([descriptor], [], [], _PATIENCE)[0])
    finally:
        os.close(descriptor)
    if has_ended:
        os.waitpid(pid, 0)
    return has_ended


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
