"""From the entries of layers to the tree of their image, and to its EROFS image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import PurePosixPath

from bootc.durable import DirectoryVolume
from bootc.errors import StoreError
from bootc.image import Digest
from bootc.layers.flatten import flatten
from bootc_composefs import build, fsverity, labelling
from bootc_composefs.collector import paused_collector
from bootc_composefs.erofs import make_image, read_image
from bootc_composefs.fsverity import Algorithm
from bootc_composefs.image_tree import ComposefsTree
from bootc_composefs.layer_file import Entries, read_layer_file
from bootc_composefs.layout import LAYERS
from bootc_composefs.objects import Objects
from bootc_composefs.records import ImageRecord, path_of
from bootc_composefs.tree import Directory, File, Object, walk


def assemble(layers: Iterable[Entries], objects: Objects, volume: DirectoryVolume) -> tuple[Directory, bytes]:
    """The tree of these layers, the lowest first, labelled by its own policy, and the bytes of its EROFS image."""
    with paused_collector():
        root = build.from_layers(flatten(layers))
        labelling.label(root, ComposefsTree(root, objects, volume))
        return root, make_image(root)


def read_tree(erofs: Object, objects: Objects, algorithm: Algorithm) -> Directory:
    """The tree in an EROFS image, which is compared with its digest. Raises StoreError."""
    with objects.open(erofs) as file:
        data = file.read()
    if fsverity.digest_of(data, algorithm) != erofs.digest:
        hint = "remove it; cleaning up, or the next import of the image, makes it again"
        raise StoreError(str(objects.path(erofs)), "the EROFS image of a tree is damaged", hint)
    return _parsed(data)


@lru_cache(maxsize=2)
def _parsed(erofs: bytes) -> Directory:
    """The tree of an EROFS image. One command asks several times for that of the booted image and of the new one."""
    return read_image(erofs).root


def reassemble(
    record: ImageRecord, objects: Objects, algorithm: Algorithm, volume: DirectoryVolume
) -> tuple[Directory, bytes]:
    """The same from the kept layers, which give the same image. Raises StoreError where one is missing or damaged."""
    layers = []
    for diff_id in record.layers:
        data = volume.read_optional(path_of_layer(diff_id))
        if data is None:
            raise StoreError(str(path_of_layer(diff_id)), "is missing", "the next import of the image brings it back")
        layers.append(read_layer_file(data, algorithm))
    root, image = assemble(layers, objects, volume)
    if fsverity.digest_of(image, algorithm) != record.erofs.digest:
        raise StoreError(str(path_of(record.image.key)), "its layers give another image now")
    return root, image


def tree_of(record: ImageRecord, objects: Objects, algorithm: Algorithm, volume: DirectoryVolume) -> Directory:
    """The tree, from the EROFS image or, where that is damaged, from the layers. Raises StoreError if both are."""
    try:
        return read_tree(record.erofs, objects, algorithm)
    except StoreError as damaged:
        try:
            return reassemble(record, objects, algorithm, volume)[0]
        except StoreError:
            raise damaged from None


def path_of_layer(diff_id: Digest) -> PurePosixPath:
    """Where the file of a layer lies."""
    return LAYERS / diff_id.hex


def contents(entries: Entries) -> Iterator[tuple[int, Object]]:
    """Objects of a layer, each with the size of its content."""
    return ((entry.size, content) for entry, content in entries if isinstance(content, Object))


@lru_cache(maxsize=2)
def files_of(root: Directory) -> Mapping[Object, int]:
    """The objects of a tree, each with the size of its content. It is asked for several times, too."""
    return {
        node.content: node.size for _, node in walk(root) if isinstance(node, File) and isinstance(node.content, Object)
    }
