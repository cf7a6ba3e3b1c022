"""One import: layers become objects and lists of entries, and these the tree of the image and its EROFS image.

Layers are recorded together, many small ones or a large one: each record costs a sync of the filesystem before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

from bootc.durable import DirectoryVolume, Writeback
from bootc.errors import BootcError
from bootc.events import LayerImported
from bootc.hookspec import Context
from bootc.image import Digest, Image, ImportedImage, Layer
from bootc.layers import Content as LayerContent
from bootc.layers import Entry, EntryKind, read_layer
from bootc.storage import LayerStreams
from bootc_composefs.assembly import assemble, contents, files_of, path_of_layer
from bootc_composefs.collector import paused_collector
from bootc_composefs.failures import LayerFileError
from bootc_composefs.layer_file import Entries, read_layer_file, write_layer
from bootc_composefs.objects import Objects
from bootc_composefs.records import ImageRecord
from bootc_composefs.repository import Repository
from bootc_composefs.tree import Content, Directory, Object

INLINE = 64
"""bytes up to which contents lie in the image itself, as mkcomposefs has it"""
_BOOT_FILES = (b"vmlinuz", b"initramfs.img")
"""names of files that bootloaders read, so that they must be objects, however small"""
_UNRECORDED = 64 << 20
"""bytes of new objects after which layers are recorded, so that an interrupted import goes on after them"""


class Import:
    """Of one image into one sysroot."""

    def __init__(self, context: Context, volume: DirectoryVolume, repository: Repository) -> None:
        self._context, self._volume, self._repository = context, volume, repository
        self._objects = Objects(volume, repository.algorithm, has_verity=repository.has_verity)
        self._read: list[tuple[Layer, Entries]] = []

    def run(self, image: Image, streams: LayerStreams) -> ImportedImage:
        """Bring the image in. A failure leaves whole layers recorded, as far as there is room for it."""
        try:
            root, data = assemble(self._layers(image, streams), self._objects, self._volume)
            erofs = self._objects.put_bytes(data)
            self._record((erofs, *self._demanded(root)))
        except BaseException:
            with suppress(BootcError):
                self._record(())
            raise
        imported = ImportedImage(image.digest, image.manifest, image.config, key=image.digest.hex)
        diff_ids = tuple(layer.diff_id for layer in image.layers)
        ImageRecord(imported, diff_ids, erofs, len(data)).write(self._volume)
        return imported

    # ------------------------------------------------------------ layers

    def _layers(self, image: Image, streams: LayerStreams) -> Iterator[Entries]:
        """The entries of all layers, which only a record still needs when the tree has been made of them."""
        layers: dict[Digest, Entries] = {}
        for layer in image.layers:
            self._context.check_cancelled()
            if layer.diff_id not in layers:
                layers[layer.diff_id] = self._kept(layer) or self._bring(layer, streams)
            yield layers[layer.diff_id]
        self._context.check_cancelled()

    def _kept(self, layer: Layer) -> Entries | None:
        """The entries of a layer that was read before; None if there are none, or an object of them is missing."""
        data = self._volume.read_optional(path_of_layer(layer.diff_id))
        try:
            entries = read_layer_file(data, self._repository.algorithm) if data is not None else None
        except LayerFileError:
            return None
        if entries is None or any(self._objects.size(content) != size for size, content in contents(entries)):
            return None
        return entries

    def _bring(self, layer: Layer, streams: LayerStreams) -> Entries:
        with streams.open(layer) as stream, paused_collector(), Writeback(self._volume) as writeback:
            entries = []
            for entry, content in read_layer(stream):
                before = self._objects.unsettled
                entries.append((entry, self._keep(entry, content)))
                writeback.made(self._objects.unsettled - before)
        self._read.append((layer, entries))
        if self._objects.unsettled > _UNRECORDED:
            self._record(())
        return entries

    def _keep(self, entry: Entry, content: LayerContent) -> Content | None:
        if entry.kind is not EntryKind.FILE:
            return None
        self._context.check_cancelled()
        is_inline = entry.size <= INLINE and (entry.name not in _BOOT_FILES or not entry.size)
        return content.read() if is_inline else self._objects.put(content.read, entry.size)

    def _record(self, more: Collection[Object]) -> None:
        """Bring the objects of the layers that were read to the disk, and more; then write the layers' files."""
        read, self._read = self._read, []
        self._objects.settle([*(content for _, entries in read for _, content in contents(entries)), *more])
        for layer, entries in read:
            lines = write_layer(entries, self._repository.algorithm)
            self._volume.replace(path_of_layer(layer.diff_id), lines)
            self._context.report(LayerImported(str(layer.descriptor.digest)))

    def _demanded(self, root: Directory) -> Collection[Object]:
        """Objects that must get fs-verity now. Without the demand, those that are there already stay as they came: an
        update's work is to grow with what changed, not with the image."""
        return files_of(root) if self._repository.is_verity_required else ()
