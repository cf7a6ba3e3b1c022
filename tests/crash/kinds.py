"""The backends of the campaign, with the options that make a difference."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bootc_composefs
import bootc_dirimage
from bootc_composefs.erofs.reader import read_image
from bootc_composefs.fsverity import digest_of
from bootc_composefs.options import ComposefsOptions
from bootc_composefs.tree import Directory, File, HardLink, Object
from bootc_dirimage.options import DirimageOptions

from bootc.hookspec import BackendPlugin
from bootc.testing.power_inode import Seen
from bootc.testing.power_invariants import ROOTS
from bootc.testing.power_model import Contents
from tests.crash.machine import Kind


def read_composefs(sysroot: Path, words: Sequence[str], seen: Seen) -> int:
    """A root that is an image over objects: `composefs IMAGE OBJECTS DIGEST verified|unverified`.

    The image has the digest that the plan names, and each object that it names has its own.
    """
    _, image, objects, digest, *_ = words
    data = (sysroot / image).read_bytes()
    assert digest == f"sha256-12:{_measured(data).hex()}", "I1: the image is another than the plan's"
    held = Contents.scan(sysroot / objects, seen)
    for object in _objects(data):
        found = held.find(object.path.decode())
        assert found is not None, f"I1: object {object.path.decode()} is missing"
        assert _measured(held.inodes[found].data) == object.digest, f"I1: object {object.path.decode()} is another"
    return hash(digest)


@functools.lru_cache(maxsize=1000)
def _measured(data: bytes) -> bytes:
    return digest_of(data)


@functools.lru_cache(maxsize=10)
def _objects(image: bytes) -> tuple[Object, ...]:
    return tuple(_named(read_image(image).root))


def _named(root: Directory) -> Iterator[Object]:
    waiting = [root]
    while waiting:
        for child in waiting.pop().children.values():
            node = child.target if isinstance(child, HardLink) else child
            if isinstance(node, Directory):
                waiting.append(node)
            elif isinstance(node, File) and isinstance(node.content, Object):
                yield node.content


def _plugin(package: Any) -> BackendPlugin[Any]:
    (plugin,) = package.bootc_storage_backends()
    assert isinstance(plugin, BackendPlugin)
    return plugin


DIRIMAGE, COMPOSEFS = map(_plugin, (bootc_dirimage, bootc_composefs))

KINDS = (
    Kind("dirimage, 2 slots", DIRIMAGE, DirimageOptions(slots=2), spare=False),
    Kind("dirimage, 3 slots, hard links", DIRIMAGE, DirimageOptions(slots=3, share="hardlink"), spare=True),
    Kind("composefs", COMPOSEFS, ComposefsOptions(), spare=True, roots={**ROOTS, "composefs": read_composefs}),
)
