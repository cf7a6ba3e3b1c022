"""Images as trees of shared objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TypeAlias

from bootc.errors import BootcError, StateError, StoreError
from bootc.events import LayerImported
from bootc.hookspec import Context
from bootc.image import Digest, Image, ImportedImage, Layer
from bootc.layers import Content as LayerContent
from bootc.layers import Entry, EntryKind, read_layer
from bootc.layers.flatten import flatten
from bootc.roots import Sysroot
from bootc.storage import Finding, ImageStore, LayerStreams, Tree
from bootc_composefs import build, labelling
from bootc_composefs.collector import paused_collector
from bootc_composefs.erofs import make_image
from bootc_composefs.failures import LayerFileError
from bootc_composefs.image_tree import ComposefsTree, read_tree
from bootc_composefs.images import ComposefsImages
from bootc_composefs.layer_file import read_layer_file, write_layer
from bootc_composefs.layout import CHECKOUTS, INCOMING, LAYERS
from bootc_composefs.objects import Objects
from bootc_composefs.records import ImageRecord, keys, path_of
from bootc_composefs.repository import Repository
from bootc_composefs.tree import Content, Directory, File, Object, walk

Entries: TypeAlias = list[tuple[Entry, Content | None]]

INLINE = 64
"""bytes up to which contents lie in the image itself, as mkcomposefs has it"""
_BOOT_FILES = (b"vmlinuz", b"initramfs.img")
"""names of files that bootloaders read, so that they must be objects, however small"""


class ComposefsStore(ImageStore):
    """An import brings objects and the entries of each layer, then one record: the step that makes the image whole."""

    def __init__(self, context: Context, sysroot: Sysroot, repository: Repository, images: ComposefsImages) -> None:
        self._context, self._sysroot, self._repository, self._images = context, sysroot, repository, images
        self._volume = sysroot.volume

    def find(self, image: Image) -> ImportedImage | None:
        """Its EROFS image is compared with its digest; its objects must be there, have their sizes and, where it is
        required, fs-verity."""
        try:
            record = ImageRecord.read(self._volume, image.digest.hex)
            if record is None:
                return None
            objects = self._objects()
            files = _files(read_tree(record, objects, self._repository.algorithm))
            if any(objects.size(object) != size for object, size in files.items()):
                return None
            if self._repository.is_verity_required and any(objects.unprotected((record.erofs, *files))):
                return None
        except StateError:
            raise
        except StoreError:
            return None
        return record.image

    def missing(self, image: Image) -> tuple[Layer, ...]:
        distinct = {layer.diff_id: layer for layer in image.layers}
        return tuple(layer for layer in distinct.values() if self._volume.size(_path(layer.diff_id)) is None)

    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        found = self.find(image)
        if found:
            return found
        objects = self._objects(has_verity=self._repository.has_verity)
        layers: dict[Digest, Entries] = {}
        for layer in image.layers:
            self._context.check_cancelled()
            if layer.diff_id not in layers:
                layers[layer.diff_id] = self._layer(layer, streams, objects)
        self._context.check_cancelled()
        return self._build(image, [layers[layer.diff_id] for layer in image.layers], objects)

    @contextmanager
    def open_tree(self, image: ImportedImage) -> Iterator[Tree]:
        yield self._images.tree(image.key)

    def prune(self, keep: Collection[ImportedImage]) -> int:
        before = self._volume.free()
        kept = {image.key for image in keep} | self._sysroot.view().images
        for key in keys(self._volume):
            if key not in kept:
                self._volume.remove(path_of(key))
        records = [record for record in (ImageRecord.read(self._volume, key) for key in keys(self._volume)) if record]
        layers = {_path(layer).name for record in records for layer in record.layers}
        for name in self._volume.names(LAYERS):
            if name not in layers:
                self._volume.remove(LAYERS / name)
        for directory in (INCOMING, CHECKOUTS):
            for name in self._volume.names(directory):
                self._volume.remove(directory / name)
        self._remove_objects()
        return max(0, self._volume.free() - before)

    def check(self) -> Iterator[Finding]:
        """Read every object and compare it with its name; then look whether each image has all that it names.

        An object that nothing names is what a power cut left of an import: nothing is lost with it.
        """
        objects = self._objects()
        sound, named = set(), self._named(objects)
        for object in objects.all():
            self._context.check_cancelled()
            if problem := objects.damage(object):
                is_needed = named is None or object.digest in named
                more = "" if is_needed else "; nothing needs it, and the next cleaning removes it"
                yield Finding(str(objects.path(object)), problem + more, is_fatal=is_needed)
            else:
                sound.add(object.digest)
        for key in keys(self._volume):
            try:
                record = ImageRecord.read(self._volume, key)
                if record:
                    files = _files(read_tree(record, objects, self._repository.algorithm))
                    lacking = [object for object in (record.erofs, *files) if object.digest not in sound]
                    for object in lacking:
                        yield Finding(key, f"{objects.path(object)} is missing or damaged", is_fatal=True)
            except BootcError as error:
                yield Finding(key, str(error), is_fatal=True)

    # ------------------------------------------------------------ layers

    def _objects(self, *, has_verity: bool = False) -> Objects:
        return Objects(self._volume, self._repository.algorithm, has_verity=has_verity)

    def _layer(self, layer: Layer, streams: LayerStreams, objects: Objects) -> Entries:
        """The entries of a layer: kept ones, if all their objects are there; else it is read."""
        kept = self._volume.read_optional(_path(layer.diff_id))
        if kept is not None:
            try:
                entries = read_layer_file(kept, self._repository.algorithm)
                if all(objects.size(content) == entry.size for entry, content in _contents(entries)):
                    return entries
            except LayerFileError:
                pass  # it is read again
        return self._read(layer, streams, objects)

    def _read(self, layer: Layer, streams: LayerStreams, objects: Objects) -> Entries:
        with streams.open(layer) as stream, paused_collector():
            entries = [(entry, self._keep(entry, content, objects)) for entry, content in read_layer(stream)]
        objects.settle([content for _, content in _contents(entries)])
        self._volume.replace(_path(layer.diff_id), write_layer(entries, self._repository.algorithm))
        self._context.report(LayerImported(str(layer.descriptor.digest)))
        return entries

    def _keep(self, entry: Entry, content: LayerContent, objects: Objects) -> Content | None:
        if entry.kind is not EntryKind.FILE:
            return None
        self._context.check_cancelled()
        is_inline = entry.size <= INLINE and (entry.name not in _BOOT_FILES or not entry.size)
        return content.read() if is_inline else objects.put(content.read, entry.size)

    # ------------------------------------------------------------ images

    def _build(self, image: Image, layers: Iterable[Entries], objects: Objects) -> ImportedImage:
        with paused_collector():
            root = build.from_layers(flatten(layers))
            labelling.label(root, ComposefsTree(root, objects, self._volume))
            data = make_image(root)
        erofs = objects.put_bytes(data)
        # Objects that are there already got fs-verity when they came, or where it must be, now: an update's work is to
        # grow with what changed, not with the image.
        objects.settle((erofs, *(_files(root) if self._repository.is_verity_required else ())))
        imported = ImportedImage(image.digest, image.manifest, image.config, key=image.digest.hex)
        diff_ids = tuple(layer.diff_id for layer in image.layers)
        ImageRecord(imported, diff_ids, erofs, len(data)).write(self._volume)
        return imported

    def _named(self, objects: Objects) -> set[bytes] | None:
        """The digests of all objects that an image or a layer names; None if one of them cannot tell."""
        named = set[bytes]()
        try:
            for key in keys(self._volume):
                record = ImageRecord.read(self._volume, key)
                if record is None:
                    continue
                files = _files(read_tree(record, objects, self._repository.algorithm))
                named |= {record.erofs.digest, *(object.digest for object in files)}
                for layer in record.layers:
                    if (data := self._volume.read_optional(_path(layer))) is not None:
                        entries = read_layer_file(data, self._repository.algorithm)
                        named |= {content.digest for _, content in _contents(entries)}
        except (StoreError, StateError):
            return None
        return named

    def _remove_objects(self) -> None:
        """Remove those that no image and no layer names. Where something names unknown ones, all stay."""
        objects = self._objects()
        named = self._named(objects)
        if named is None:
            return
        for object in objects.all():
            if object.digest not in named:
                objects.remove(object)


def _path(diff_id: Digest) -> PurePosixPath:
    return LAYERS / diff_id.hex


def _contents(entries: Entries) -> Iterator[tuple[Entry, Object]]:
    """Those whose contents are objects."""
    return ((entry, content) for entry, content in entries if isinstance(content, Object))


def _files(root: Directory) -> dict[Object, int]:
    """The objects of a tree, each with the size of its content."""
    return {
        node.content: node.size for _, node in walk(root) if isinstance(node, File) and isinstance(node.content, Object)
    }
