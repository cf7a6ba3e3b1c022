"""From layers to snapshots: each layer is laid over a snapshot of the layers below it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path, PurePosixPath

from bootc.errors import BootcError, StoreError
from bootc.events import LayerImported
from bootc.hookspec import Context
from bootc.image import Digest, Image, ImportedImage, Layer
from bootc.layers import read_layer
from bootc.roots.layout import build_at
from bootc.roots.sysroot import Sysroot
from bootc.roots.trees import Directories, DirectoryTree, Label, TreeWriter, label_of
from bootc.storage import Finding, ImageStore, LayerStreams, Tree
from bootc_btrfs import subvolumes
from bootc_btrfs.images import BtrfsImages
from bootc_btrfs.layout import IMAGES, LAYERS

_CHUNK = 1 << 20


class BtrfsStore(ImageStore):
    """What is finished is a read-only snapshot. What is not has a name of its own, and is removed."""

    def __init__(self, context: Context, sysroot: Sysroot, images: BtrfsImages) -> None:
        self._context, self._sysroot, self._images = context, sysroot, images
        self._volume = sysroot.volume

    def find(self, image: Image) -> ImportedImage | None:
        return self._images.image(image.digest.hex)

    def missing(self, image: Image) -> tuple[Layer, ...]:
        return () if self.find(image) else image.layers[self._present(image) :]

    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        imported = ImportedImage(image.digest, image.manifest, image.config, key=image.digest.hex)
        if self.find(image):
            return imported
        diff_ids = tuple(layer.diff_id for layer in image.layers)
        trees, below = _trees(diff_ids), None
        for layer, tree in zip(image.layers, trees, strict=True):
            if not self._is_whole(tree):
                self._lay(layer, streams, below, tree)
            below = tree
        label = label_of(DirectoryTree(self._volume.path(trees[-1])))
        with self._written(trees[-1], IMAGES / imported.key, label):
            self._context.check_cancelled()
        self._images.write(imported, diff_ids)
        return imported

    @contextmanager
    def open_tree(self, image: ImportedImage) -> Iterator[Tree]:
        if self._images.image(image.key) is None:
            raise StoreError(str(IMAGES / image.key), "the image is gone", "run the command again")
        yield self._images.tree(image.key)

    def prune(self, keep: Collection[ImportedImage]) -> int:
        before, kept = self._volume.free(), {image.key for image in keep} | self._sysroot.view().images
        for key in set(self._images.keys()) - kept:
            self._images.forget(key)
        found = [image for image in map(self._images.read, kept) if image]
        named = {tree for _, diff_ids in found for tree in _trees(diff_ids)} | {IMAGES / key for key in kept}
        gone = [subvolumes.delete(self._volume.path(tree)) for tree in self._snapshots() if tree not in named]
        subvolumes.settle(self._volume.root, gone)
        return max(0, self._volume.free() - before)

    def check(self) -> Iterator[Finding]:
        """Nothing may have changed in a snapshot; and btrfs compares what is read with its checksums."""
        for tree in self._snapshots():
            try:
                if subvolumes.is_altered(self._volume.path(tree)):
                    yield Finding(str(tree), "something in it was changed", is_fatal=True)
                self._read(self._volume.path(tree))
            except (OSError, BootcError) as error:
                yield Finding(str(tree), str(error), is_fatal=True)

    # ------------------------------------------------------------ parts

    def _present(self, image: Image) -> int:
        """How many layers there are a tree of."""
        trees = _trees([layer.diff_id for layer in image.layers])
        return next((number for number, tree in enumerate(trees) if not self._is_whole(tree)), len(trees))

    def _is_whole(self, tree: PurePosixPath) -> bool:
        return self._volume.is_directory(tree) and not subvolumes.is_altered(self._volume.path(tree))

    def _snapshots(self) -> Iterator[PurePosixPath]:
        for directory in (LAYERS, IMAGES):
            yield from (directory / name for name in self._volume.names(directory) if not name.endswith(".json"))

    def _lay(self, layer: Layer, streams: LayerStreams, below: PurePosixPath | None, tree: PurePosixPath) -> None:
        self._context.check_cancelled()
        with self._written(below, tree) as writer, streams.open(layer) as stream:
            writer.lay(read_layer(stream))
        self._context.report(LayerImported(str(layer.descriptor.digest)))

    @contextmanager
    def _written(
        self, below: PurePosixPath | None, tree: PurePosixPath, label: Label | None = None
    ) -> Iterator[TreeWriter]:
        """To write a tree over another; it gets its name, as a snapshot, when all went well."""
        partial = build_at(tree)
        path = self._volume.path(partial)
        self._volume.make_directories(tree.parent, 0o700)
        for leftover in (partial, tree):
            if self._volume.is_directory(leftover):
                subvolumes.delete(self._volume.path(leftover))
        if below is None:
            subvolumes.create(path)
        else:
            subvolumes.snapshot(self._volume.path(below), path, is_read_only=False)
        try:
            with Directories(path) as made:
                writer = TreeWriter(self._volume, partial, made, None)
                if below is not None:
                    writer.take_over()
                yield writer
                for _ in writer.finish(label):
                    self._context.check_cancelled()
            subvolumes.snapshot(path, self._volume.path(tree), is_read_only=True)
        finally:
            subvolumes.delete(path)

    def _read(self, root: Path) -> None:
        for directory, _, names in os.walk(root):
            for path in (Path(directory, name) for name in names):
                self._context.check_cancelled()
                if path.is_file() and not path.is_symlink():
                    with path.open("rb") as file:
                        while file.read(_CHUNK):
                            pass


def _trees(diff_ids: Collection[Digest]) -> list[PurePosixPath]:
    """For each layer, the tree of it and all below, by chain ID (OCI image specification, config)."""
    chains = accumulate(map(str, diff_ids), lambda below, diff_id: f"sha256:{_sha256(f'{below} {diff_id}')}")
    return [LAYERS / chain.partition(":")[2] for chain in chains]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
