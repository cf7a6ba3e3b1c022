"""What Linux makes of our images: EROFS, with overlayfs over it for the contents that lie in objects."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from bootc_composefs.build import from_directory
from bootc_composefs.erofs import make_image
from bootc_composefs.fsverity import digest_of
from bootc_composefs.tree import Attributes, Content, Directory, File, HardLink, Kind, Object, Special

from tests.composefs_trees import SECOND, attributes, directory, dump_of, inline, symlink
from tests.integration.get_mkcomposefs import run

pytestmark = pytest.mark.root


class Objects:
    """A directory of objects, named by their digests."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, data: bytes) -> File:
        """A file with these contents."""
        content = Object.of(digest_of(data))
        file = self.path / os.fsdecode(content.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return File(attributes(), len(data), content)


@contextmanager
def mounted(image: Path, objects: Path, folder: Path) -> Iterator[Path]:
    """The image with its contents. Objects are a plain lowest layer, which kernels before 6.5 know, too."""
    metadata, root = folder / "metadata", folder / "root"
    metadata.mkdir()
    root.mkdir()
    run(["mount", "-t", "erofs", "-o", "ro,loop", str(image), str(metadata)])
    try:
        options = f"ro,metacopy=on,redirect_dir=on,lowerdir={metadata}:{objects}"
        run(["mount", "-t", "overlay", "-o", options, "composefs", str(root)])
        try:
            yield root
        finally:
            run(["umount", str(root)])
    finally:
        run(["umount", str(metadata)])


def keep(stream: BinaryIO) -> tuple[Content, int]:
    data = stream.read()
    return (data if len(data) <= 5000 else Object.of(digest_of(data))), len(data)


def sample(objects: Objects) -> Directory:
    """Every kind of node, in places that are hard to read back."""
    chance = random.Random(3)
    several = objects.add(chance.randbytes(70_000))
    several.nlink = 2
    label = {b"security.capability": bytes.fromhex("0100000200040000000000000000000000000000")}
    return directory(
        {
            b"big": objects.add(chance.randbytes(10_000_000)),
            b"capable": File(Attributes(0o4755, 1, 70000, 5, label), 5, b"12345"),
            b"device": Special(attributes(0o600), Kind.BLOCK, os.makedev(7, 300)),
            b"directories": directory({b"%d" % number: directory(mtime=number) for number in range(400)}, mode=0o1777),
            b"fifo": Special(attributes(), Kind.FIFO),
            b"hard": several,
            b"inline": directory({b"%d" % size: inline(chance.randbytes(size)) for size in range(1, 5000, 111)}),
            b"links": directory({b"%d" % size: symlink(b"x" * size, mtime=-SECOND) for size in range(1, 4095, 39)}),
            b"ff": inline(xattrs={b"user.%d" % number: b"v" for number in range(140)}),
            b"fg": inline(xattrs={b"user.%d" % number: b"v" for number in range(140)}),
            b"harder": HardLink(several),
            b"\xff \n": inline(b"odd"),
        },
        xattrs={b"user.a": b"1"},
    )


def test_linux_shows_the_tree_that_was_written(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    tree = sample(objects)
    image = tmp_path / "image"
    image.write_bytes(make_image(tree))
    with mounted(image, objects.path, tmp_path) as root:
        found = from_directory(root, keep)
    assert dump_of(found) == dump_of(tree)
