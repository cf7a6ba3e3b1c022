"""Images in slots: one whole tree each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import PurePosixPath

from attrs import evolve, frozen

from bootc.durable import Writeback, explain
from bootc.errors import BootcError, IntegrityError, LayerError, NoSpaceError, StoreError
from bootc.events import LayerImported, Notice
from bootc.hookspec import Context
from bootc.image import Digest, Image, ImportedImage, Layer
from bootc.layers import Entry, printable, read_layer
from bootc.roots.layout import PARTIAL, build_at, discard, number_of, whole
from bootc.roots.sysroot import Sysroot
from bootc.roots.trees import ContentsMissing, Directories, DirectoryTree, Sharing, TreeWriter, label_of
from bootc.storage import Finding, ImageStore, LayerStreams, Tree
from bootc_dirimage import retention
from bootc_dirimage.index import IndexWriter, copy_index, read_index
from bootc_dirimage.layout import DIGESTS, LAYERS, SLOTS, TREE
from bootc_dirimage.options import DirimageOptions
from bootc_dirimage.records import SlotRecord


@frozen
class _Donor:
    """A tree whose layers can be laid again: a slot, or what an interrupted import left of one."""

    slot: PurePosixPath
    layers: frozenset[str]
    sharing: Sharing


class DirimageStore(ImageStore):
    """An import builds a tree beside the others and renames it when it is whole and on disk."""

    def __init__(self, context: Context, options: DirimageOptions, sysroot: Sysroot) -> None:
        self._context, self._options, self._sysroot = context, options, sysroot
        self._volume = sysroot.volume

    def find(self, image: Image) -> ImportedImage | None:
        found = (SlotRecord.read(self._volume, key) for key in whole(self._volume, SLOTS))
        return next((record.image for record in found if record and record.image.digest == image.digest), None)

    def missing(self, image: Image) -> tuple[Layer, ...]:
        if self.find(image):
            return ()
        present = {layer for slot in self._sources(self._room()) for layer in self._volume.names(slot / LAYERS)}
        distinct = {layer.diff_id: layer for layer in image.layers}
        return tuple(layer for layer in distinct.values() if layer.diff_id.hex not in present)

    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        found = self.find(image)
        if found:
            return found
        self._make_room()
        fresh: frozenset[Digest] = frozenset()
        while True:
            slot, leftovers = SLOTS / self._sysroot.new_name(image.digest), self._leftovers()
            try:
                self._build(image, streams, slot, fresh)
                break
            except ContentsMissing as missing:
                fresh |= missing.layers
                discard(self._volume, build_at(slot))
            except BaseException as error:
                if isinstance(error, NoSpaceError) and leftovers:  # they have the room that is wanting
                    self._discard_leftovers()
                    continue
                with suppress(BootcError):
                    self._discard_leftovers(self._leftovers()[:1])
                raise
        self._discard_leftovers()
        return ImportedImage(image.digest, image.manifest, image.config, key=slot.name)

    @contextmanager
    def open_tree(self, image: ImportedImage) -> Iterator[Tree]:
        if SlotRecord.read(self._volume, image.key) is None:
            raise StoreError(str(SLOTS / image.key), "the slot is gone", "run the command again")
        yield DirectoryTree(self._volume.path(SLOTS / image.key / TREE))

    def prune(self, keep: Collection[ImportedImage]) -> int:
        before = self._volume.free()
        self._remove_slots({image.key for image in keep})
        self._discard_leftovers()
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

    def _room(self) -> retention.Room | None:
        return retention.room(self._sysroot.view(), self._options.slots)

    def _make_room(self) -> None:
        """Take what is in the way out of the order (the menu was narrowed before), then remove its tree."""
        room = self._room()
        if room is None:
            problem = f"no slot is free: all {self._options.slots} are booted, the rollback or pinned"
            raise StoreError("slots", problem, "unpin a deployment, or raise `slots` in [backends.dirimage]")
        if room.gone:
            names = ", ".join(sorted(room.gone))
            self._context.report(Notice(f"The new image takes the place of {names}, which cannot be booted any more"))
            state = self._sysroot.state()
            self._sysroot.write(evolve(state, order=tuple(id for id in state.order if id not in room.gone)))
        if not room.keeps_staged:
            self._sysroot.set_staged(None)
        self._remove_slots(room.used)

    def _remove_slots(self, keep: Collection[str]) -> None:
        """Remove all other slots that no deployment names; what interrupted imports left stays."""
        named = {*keep, *self._sysroot.view().images, *self._leftovers()}
        for name in self._volume.names(SLOTS):
            if name not in named:
                discard(self._volume, SLOTS / name)

    def _leftovers(self) -> list[str]:
        """What interrupted imports left: of the one that got further first, and of the newer one."""
        names = [name for name in self._volume.names(SLOTS) if name.endswith(PARTIAL)]
        counted = [(len(self._volume.names(SLOTS / name / LAYERS)), _number(name), name) for name in names]
        return [name for count, _, name in sorted(counted, reverse=True) if count]

    def _discard_leftovers(self, keep: Collection[str] = ()) -> None:
        for name in self._volume.names(SLOTS):
            if name.endswith(PARTIAL) and name not in keep:
                discard(self._volume, SLOTS / name)

    def _sources(self, room: retention.Room | None) -> list[PurePosixPath]:
        """The slots that an import leaves, the newest first, and what interrupted ones left."""
        staying = [key for key in whole(self._volume, SLOTS) if room is None or key in room.used]
        return [SLOTS / name for name in (*staying, *self._leftovers())]

    # ------------------------------------------------------------ building

    def _build(self, image: Image, streams: LayerStreams, slot: PurePosixPath, fresh: Collection[Digest]) -> None:
        """Build a slot. Layers that some tree still has are laid again, all others and the `fresh` ones are read."""
        partial, volume = build_at(slot), self._volume
        with ExitStack() as stack:
            donors = [self._donor(stack, source) for source in self._sources(self._room())]
            volume.make_directories(partial / TREE, 0o700)
            volume.make_directories(partial / LAYERS)
            made = stack.enter_context(Directories(volume.path(partial / TREE)))
            writer = TreeWriter(volume, partial / TREE, made, donors[0].sharing if donors else None)
            for layer in image.layers:
                self._context.check_cancelled()
                having = [donor for donor in donors if layer.diff_id.hex in donor.layers]
                if having and layer.diff_id not in fresh:
                    self._lay_again(layer, having[0], partial, writer)
                else:
                    self._lay(layer, streams, partial, writer)
            label = label_of(DirectoryTree(volume.path(partial / TREE)))
            lines = (b"%s  %s\0" % (digest.hex().encode(), path) for path, digest in writer.finish(label))
            volume.replace(partial / DIGESTS, lines)
        imported = ImportedImage(image.digest, image.manifest, image.config, key=slot.name)
        SlotRecord(imported, tuple(layer.diff_id for layer in image.layers)).write(volume, partial)
        self._context.check_cancelled()
        volume.sync()
        volume.rename(partial, slot)

    def _lay(self, layer: Layer, streams: LayerStreams, partial: PurePosixPath, writer: TreeWriter) -> None:
        """Read a layer, lay it, and keep what it holds; only then does it count."""
        index = IndexWriter()
        with streams.open(layer) as stream, Writeback(self._volume) as writeback:

            def note(entry: Entry, digest: bytes) -> None:
                index.add(entry, digest)
                writeback.made(entry.size)

            writer.lay(read_layer(stream), note)
        index.write(self._volume, partial, layer.diff_id)
        self._context.report(LayerImported(str(layer.descriptor.digest)))

    def _lay_again(self, layer: Layer, donor: _Donor, partial: PurePosixPath, writer: TreeWriter) -> None:
        """The same from what a donor kept. Raises ContentsMissing if that is damaged."""
        try:
            writer.lay_again(layer.diff_id, self._known(layer, donor), donor.sharing)
        except (IntegrityError, LayerError) as error:
            raise ContentsMissing([layer.diff_id]) from error
        copy_index(self._volume, donor.slot, partial, layer.diff_id)

    def _known(self, layer: Layer, donor: _Donor) -> Iterator[tuple[Entry, bytes]]:
        for known in read_index(self._volume, donor.slot, layer.diff_id):
            self._context.check_cancelled()
            yield known

    def _donor(self, stack: ExitStack, slot: PurePosixPath) -> _Donor:
        try:
            tree = stack.enter_context(Directories(self._volume.path(slot / TREE)))
        except OSError as error:
            raise explain(error, str(self._volume.path(slot / TREE))) from error
        layers = frozenset(self._volume.names(slot / LAYERS))
        share = self._options.share
        sharing = Sharing(tree, slot / TREE, links=share == "hardlink", clones=share == "reflink")
        return _Donor(slot, layers, sharing)

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


def _number(name: str) -> int:
    return number_of(name.removesuffix(PARTIAL)) or 0
