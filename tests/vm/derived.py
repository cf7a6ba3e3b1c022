"""Images made from the sample image in a moment: one more layer, and nothing is built."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tests.vm.story import ROOT

VERSION = "org.opencontainers.image.version"
_TAG = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class File:
    """A file of a layer."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link of a layer."""

    target: str


Files = Mapping[str, File | Link]
"""by paths relative to the root"""


class Images:
    """The tags of an OCI layout made by `images/debian/build.py`, and more of them."""

    def __init__(self, layout: Path) -> None:
        self.layout = layout

    def digest(self, tag: str) -> str:
        """What a tag names."""
        entries = json.loads((self.layout / "index.json").read_text())["manifests"]
        return str(next(e["digest"] for e in entries if e["annotations"][_TAG] == tag))

    def read(self, tag: str, path: str) -> bytes:
        """A file of an image, from the highest layer that has it."""
        for layer in reversed(self._manifest(tag)["layers"]):
            argv = [
                "tar",
                "--extract",
                "--gzip",
                "--to-stdout",
                f"--file={self._blob(layer['digest'])}",
                f"./{path}",
                path,
            ]
            done = subprocess.run(argv, capture_output=True, check=False)
            if done.stdout:
                return done.stdout
        raise FileNotFoundError(f"{tag} has no {path}")

    def derive(self, base: str, tag: str, version: str, files: Files) -> str:
        """Tag `base` with one more layer; the digest of the new image."""
        with tempfile.TemporaryDirectory(dir=self.layout) as folder:
            tree = Path(folder, "tree")
            tree.mkdir(mode=0o755)
            for path, file in files.items():
                _write(tree, PurePosixPath(path), file)
            recipe = ["/usr/bin/python3", str(ROOT / "images/debian/derive.py"), str(self.layout), base, tag, str(tree)]
            argv = [*recipe, "--label", f"{VERSION}={version}"]
            return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def kernel_folder(self, tag: str) -> str:
        """`usr/lib/modules/VERSION` of the image's one kernel."""
        for layer in self._manifest(tag)["layers"]:
            for name in _names(self._blob(layer["digest"])):
                if name.endswith("/vmlinuz"):
                    return str(PurePosixPath(name).parent)
        raise FileNotFoundError(f"{tag} has no kernel")

    def _manifest(self, tag: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._blob(self.digest(tag)).read_text())
        return found

    def _blob(self, digest: str) -> Path:
        return self.layout / "blobs/sha256" / digest.partition(":")[2]


@functools.cache
def _member(blob: Path, path: str) -> bytes:
    """A file of a layer; empty if it has none of that name. Blobs are named by their content and never change."""
    argv = ["tar", "--extract", "--gzip", "--to-stdout", f"--file={blob}", f"./{path}", path]
    return subprocess.run(argv, capture_output=True, check=False).stdout


@functools.cache
def _names(blob: Path) -> tuple[str, ...]:
    argv = ["tar", "--list", "--gzip", f"--file={blob}"]
    return tuple(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines())


def _write(tree: Path, path: PurePosixPath, file: File | Link) -> None:
    for folder in reversed(path.parents[:-1]):
        (tree / folder).mkdir(mode=0o755, exist_ok=True)
    if isinstance(file, Link):
        (tree / path).symlink_to(file.target)
    else:
        (tree / path).write_bytes(file.data)
        (tree / path).chmod(file.mode)
