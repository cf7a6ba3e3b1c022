"""Images in slots: one whole tree each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import PurePosixPath

from attrs import evolve

from bootc.durable import explain
from bootc.errors import BootcError, StoreError
from bootc.events import LayerImported, Notice
from bootc.fetcher import Readable
from bootc.hookspec import Context
from bootc.image import Image, ImportedImage, Layer
from bootc.layers import printable, read_layer
from bootc.roots import Sysroot, build_at, discard, whole
from bootc.roots.trees import Directories, DirectoryTree, Sharing, TreeWriter, label_of
from bootc.storage import Finding, ImageStore, LayerStreams, Tree
from bootc_dirimage import retention
from bootc_dirimage.kept import KeptLayers
from bootc_dirimage.layout import DIGESTS, SLOTS, TREE
from bootc_dirimage.options import DirimageOptions
from bootc_dirimage.records import SlotRecord


class DirimageStore(ImageStore):
    """An import builds a tree beside the others and renames it when it is whole and on disk."""

    def __init__(self, context: Context, options: DirimageOptions, sysroot: Sysroot) -> None:
        self._context, self._options, self._sysroot = context, options, sysroot
        self._volume = sysroot.volume
        self._kept = KeptLayers(self._volume)

    def find(self, image: Image) -> ImportedImage | None:
        found = (SlotRecord.read(self._volume, key) for key in whole(self._volume, SLOTS))
        return next((record.image for record in found if record and record.image.digest == image.digest), None)

    def missing(self, image: Image) -> tuple[Layer, ...]:
        distinct = {layer.diff_id: layer for layer in image.layers}
        return tuple(layer for layer in distinct.values() if not self._kept.has(layer))

    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        found = self.find(image)
        if found:
            return found
        self._make_room()
        if self._options.keep_layers:
            for layer in self.missing(image):
                self._context.check_cancelled()
                self._kept.fetch(layer, streams)
                self._context.report(LayerImported(str(layer.descriptor.digest)))
        key = self._sysroot.new_name(image.digest)
        slot = SLOTS / key
        try:
            self._build(image, streams, slot)
        except BaseException:
            with suppress(BootcError):
                discard(self._volume, build_at(slot))
            raise
        return ImportedImage(image.digest, image.manifest, image.config, key=key)

    @contextmanager
    def open_tree(self, image: ImportedImage) -> Iterator[Tree]:
        if SlotRecord.read(self._volume, image.key) is None:
            raise StoreError(str(SLOTS / image.key), "the slot is gone", "run the command again")
        yield DirectoryTree(self._volume.path(SLOTS / image.key / TREE))

    def prune(self, keep: Collection[ImportedImage]) -> int:
        before = self._volume.free()
        self._remove_slots({image.key for image in keep})
        records = [SlotRecord.read(self._volume, key) for key in whole(self._volume, SLOTS)]
        layers = {layer for record in records if record for layer in record.layers}
        self._kept.prune(layers if self._options.keep_layers else ())
        return max(0, self._volume.free() - before)

    def check(self) -> Iterator[Finding]:
        """Read every file of every slot and compare it with its digest."""
        for key in whole(self._volume, SLOTS):
            try:
                SlotRecord.read(self._volume, key)
                listed = self._volume.read(SLOTS / key / DIGESTS)
            except (BootcError, FileNotFoundError) as error:
                yield Finding(key, str(error), is_fatal=True)
                continue
            for line in filter(None, listed.split(b"\0")):
                self._context.check_cancelled()
                yield from self._check_file(key, *line.split(b"  ", 1))

    # ------------------------------------------------------------ making room

    def _make_room(self) -> None:
        """Take what is in the way out of the order (the menu was narrowed before), then remove its tree."""
        view = self._sysroot.view()
        gone = retention.in_the_way(view, self._options.slots)
        if gone is None:
            problem = f"no slot is free: all {self._options.slots} are booted, the rollback or pinned"
            raise StoreError("slots", problem, "unpin a deployment, or raise `slots` in [backends.dirimage]")
        if gone:
            names = ", ".join(sorted(gone))
            self._context.report(Notice(f"The new image takes the place of {names}, which cannot be booted any more"))
            state = self._sysroot.state()
            self._sysroot.write(evolve(state, order=tuple(id for id in state.order if id not in gone)))
        used = {record.image for record in view.order if record.id not in gone}
        if view.staged and len(used | {view.staged.image}) >= self._options.slots:
            self._sysroot.set_staged(None)
        elif view.staged:
            used.add(view.staged.image)
        self._remove_slots(used)

    def _remove_slots(self, keep: Collection[str]) -> None:
        named = self._sysroot.view().images
        for name in self._volume.names(SLOTS):
            if name not in keep and name not in named:
                discard(self._volume, SLOTS / name)

    # ------------------------------------------------------------ building

    def _build(self, image: Image, streams: LayerStreams, slot: PurePosixPath) -> None:
        partial, volume = build_at(slot), self._volume
        volume.make_directories(partial / TREE, 0o700)
        with ExitStack() as stack:
            made = stack.enter_context(Directories(volume.path(partial / TREE)))
            writer = TreeWriter(volume, partial / TREE, made, self._sharing(stack))
            for layer in image.layers:
                self._context.check_cancelled()
                with self._open_layer(layer, streams) as stream:
                    writer.lay(read_layer(stream))
            label = label_of(DirectoryTree(volume.path(partial / TREE)))
            lines = (b"%s  %s\0" % (digest.hex().encode(), path) for path, digest in writer.finish(label))
            volume.replace(partial / DIGESTS, lines)
        imported = ImportedImage(image.digest, image.manifest, image.config, key=slot.name)
        SlotRecord(imported, tuple(layer.diff_id for layer in image.layers)).write(volume, partial)
        self._context.check_cancelled()
        volume.sync()
        volume.rename(partial, slot)

    @contextmanager
    def _open_layer(self, layer: Layer, streams: LayerStreams) -> Iterator[Readable]:
        source: AbstractContextManager[Readable] = streams.open(layer)
        if self._kept.has(layer):
            source = self._kept.open(layer)
        with source as stream:
            yield stream

    def _sharing(self, stack: ExitStack) -> Sharing | None:
        """With the newest slot that stays."""
        slots = whole(self._volume, SLOTS)
        if not slots or self._options.share == "none":
            return None
        try:
            other = stack.enter_context(Directories(self._volume.path(SLOTS / slots[0] / TREE)))
        except OSError as error:
            raise explain(error, str(self._volume.path(SLOTS / slots[0] / TREE))) from error
        return Sharing(other, SLOTS / slots[0] / TREE, links=self._options.share == "hardlink")

    def _check_file(self, key: str, digest: bytes, path: bytes) -> Iterator[Finding]:
        where = os.fsencode(self._volume.path(SLOTS / key / TREE)) + b"/" + path
        problem = None
        try:
            descriptor = os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest().encode() != digest:
                    problem = "its content is not the image's"
        except OSError as error:
            problem = error.strerror or str(error)
        if problem:
            yield Finding(key, f"/{printable(path)}: {problem}", is_fatal=True)
