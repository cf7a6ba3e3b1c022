"""What a fetcher is sent for in a case, and what it may come back with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from bootc.fetcher import Fetcher, Peek, Ranges, Source
from bootc.image import ImageReference
from bootc.testing.fetcher_place import AMD64, Listener, imported, read
from bootc.testing.hostile.scene import Scene
from bootc.testing.registry import digest_of

START, SIZE = 70_000, 20_000
"""the part of the first layer's blob that is asked for"""


@frozen
class Errand:
    """One way to use a fetcher. What `go` comes back with must be among what is `right`."""

    go: Callable[[Fetcher, ImageReference, Path, Listener], Any]
    right: Callable[[Scene], tuple[Any, ...]]


def _fetch(fetcher: Fetcher, reference: ImageReference, folder: Path, listener: Listener) -> Any:
    with fetcher.resolve(reference, AMD64) as source:
        contents = imported(source, folder / "spool", listener)
        return str(source.image.digest), source.image.manifest, contents


def _image(scene: Scene) -> tuple[Any, ...]:
    return ((scene.digest, scene.registry.documents[scene.digest][1], tuple(scene.contents)),)


def _peek(fetcher: Fetcher, reference: ImageReference, folder: Path, listener: Listener) -> Any:
    assert isinstance(fetcher, Peek)
    found = fetcher.peek(reference)
    return str(found) if found else None


def _rest(fetcher: Fetcher, reference: ImageReference, folder: Path, listener: Listener) -> Any:
    with fetcher.resolve(reference, AMD64) as source:
        return read(source, source.image.layers[0].blob, START)


def _part(fetcher: Fetcher, reference: ImageReference, folder: Path, listener: Listener) -> Any:
    with fetcher.resolve(reference, AMD64) as source:
        return read_range(source, START, SIZE)


def read_range(source: Source, start: int, size: int) -> bytes:
    """A part of the first layer's blob."""
    assert isinstance(source, Ranges)
    with source.open_range(source.image.layers[0].blob, start, size) as stream:
        return b"".join(iter(lambda: stream.read(7000), b""))


FETCH = Errand(_fetch, _image)
"""the whole image: its manifest, and every layer, verified and decompressed by the core"""
PEEK = Errand(_peek, lambda scene: (digest_of(scene.registry.documents["os"][1]), None))
REST = Errand(_rest, lambda scene: (scene.blobs[0][START:],))
"""a blob from an offset to its end"""
PART = Errand(_part, lambda scene: (scene.blobs[0][START : START + SIZE],))
"""a part of a blob"""
