"""Images as directories and fetches through skopeo, for the tests of the skopeo fetcher."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from attrs import frozen
from bootc_skopeo.fetcher import SkopeoFetcher
from bootc_skopeo.options import Options

from bootc import platform
from bootc.durable import DirectoryVolume
from bootc.events import Event
from bootc.fetcher import Source
from bootc.hookspec import Context
from bootc.image import Descriptor, Image, Layer
from bootc.machine import Machine
from tests.blobs import image_of, layer_of, tar_of

PROGRAM = os.environ.get("BOOTC_TEST_SKOPEO", "skopeo")
"""another version to test with: the path of its executable"""


@frozen
class Built:
    """An image and the blobs of its layers, in order."""

    image: Image
    blobs: tuple[bytes, ...]

    @property
    def contents(self) -> list[str]:
        """The diffIDs."""
        return [str(layer.diff_id) for layer in self.image.layers]


def build(layers: int = 3, size: int = 200_000) -> Built:
    """An image whose layers are a tar of `size` random bytes each."""
    pairs = [layer_of(tar_of({f"file-{number}": os.urandom(size)})) for number in range(layers)]
    return Built(image_of([layer for layer, _ in pairs]), tuple(blob for _, blob in pairs))


def write_layout(folder: Path, built: Built, tag: str = "os") -> Path:
    """An OCI layout (OCI image specification, image-layout) with this one image."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for data in (built.image.manifest, built.image.config, *built.blobs):
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": str(built.image.digest),
        "size": len(built.image.manifest),
        "annotations": {"org.opencontainers.image.ref.name": tag},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def copy(source: str, target: str, *options: str) -> None:
    """`skopeo copy`, by the skopeo that is installed."""
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", *options, source, target]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def nothing() -> None:
    """Nobody asked to stop."""


def context(folder: Path, events: list[Event] | None = None, check_cancelled: Callable[[], None] = nothing) -> Context:
    """A context whose machine is an empty directory."""
    machine = Machine(DirectoryVolume(folder), PurePosixPath("state"))
    return Context(machine, events.append if events is not None else lambda event: None, check_cancelled)


def fetcher(
    folder: Path,
    options: Options | None = None,
    program: str = PROGRAM,
    retries: Sequence[float] = (),
    events: list[Event] | None = None,
) -> SkopeoFetcher:
    """A fetcher as the plugin opens it, but without patience for retries."""
    return SkopeoFetcher(context(folder, events), options or Options(), program, retries)


def read(source: Source, blob: Descriptor, start: int = 0) -> bytes:
    """A whole blob."""
    with source.open_blob(blob, start) as stream:
        return b"".join(iter(lambda: stream.read(50_000), b""))


def digests(source: Source, layers: Sequence[Layer]) -> list[str]:
    """The digests of the blobs that are really served."""
    return [f"sha256:{hashlib.sha256(read(source, layer.blob)).hexdigest()}" for layer in layers]


PLATFORM = platform.current()
