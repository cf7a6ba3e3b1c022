"""Images as trees of shared objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

from bootc.errors import BootcError, StateError, StoreError
from bootc.hookspec import Context
from bootc.image import Digest, Image, ImportedImage, Layer
from bootc.roots.sysroot import Sysroot
from bootc.storage import Finding, ImageStore, LayerStreams, Tree
from bootc_composefs.assembly import files_of, path_of_layer, read_tree, reassemble, tree_of
from bootc_composefs.images import ComposefsImages
from bootc_composefs.importing import Import
from bootc_composefs.layer_file import digests_in
from bootc_composefs.layout import CHECKOUTS, INCOMING, LAYERS
from bootc_composefs.objects import Objects
from bootc_composefs.records import ImageRecord, keys, path_of
from bootc_composefs.repository import Repository


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
            files = files_of(read_tree(record.erofs, objects, self._repository.algorithm))
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
        return tuple(layer for layer in distinct.values() if self._volume.size(path_of_layer(layer.diff_id)) is None)

    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        found = self.find(image)
        if found:
            return found
        return Import(self._context, self._volume, self._repository).run(image, streams)

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
        self._remove_layers(records)
        for directory in (INCOMING, CHECKOUTS):
            for name in self._volume.names(directory):
                self._volume.remove(directory / name)
        self._mend_images(records)
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
                    files = files_of(read_tree(record.erofs, objects, self._repository.algorithm))
                    lacking = [object for object in (record.erofs, *files) if object.digest not in sound]
                    for object in lacking:
                        yield Finding(key, f"{objects.path(object)} is missing or damaged", is_fatal=True)
            except BootcError as error:
                yield Finding(key, str(error), is_fatal=True)

    # ------------------------------------------------------------ parts

    def _objects(self) -> Objects:
        return Objects(self._volume, self._repository.algorithm)

    def _named(self, objects: Objects) -> set[bytes] | None:
        """The digests of all objects that an image, a layer or a deployment names; None if one of them cannot tell."""
        named, layers, known = set[bytes](), set[Digest](), keys(self._volume)
        try:
            for key in known:
                record = ImageRecord.read(self._volume, key)
                if record is None:
                    continue
                files = files_of(tree_of(record, objects, self._repository.algorithm, self._volume))
                named |= {record.erofs.digest, *(object.digest for object in files)}
                layers.update(record.layers)
            for layer in layers:
                if (data := self._volume.read_optional(path_of_layer(layer))) is not None:
                    named |= digests_in(data, self._repository.algorithm)
            for key, erofs in self._images.deployed().items():
                if key not in known:
                    files = files_of(read_tree(erofs, objects, self._repository.algorithm))
                    named |= {erofs.digest, *(object.digest for object in files)}
        except (StoreError, StateError):
            return None
        return named

    def _remove_layers(self, records: Iterable[ImageRecord]) -> None:
        """Remove those that no image names. Where a deployed image has lost its record, all stay."""
        kept = {path_of_layer(layer).name for record in records for layer in record.layers}
        if not self._images.deployed().keys() <= {*keys(self._volume)}:
            return
        for name in self._volume.names(LAYERS):
            if name not in kept:
                self._volume.remove(LAYERS / name)

    def _mend_images(self, records: Iterable[ImageRecord]) -> None:
        """Make each EROFS image again that is missing or damaged, if all its layers are there."""
        algorithm = self._repository.algorithm
        for record in records:
            if self._objects().damage(record.erofs):
                objects = Objects(self._volume, algorithm, has_verity=self._repository.has_verity)
                with suppress(StoreError):
                    objects.settle([objects.put_bytes(reassemble(record, objects, algorithm, self._volume)[1])])

    def _remove_objects(self) -> None:
        """Remove those that no image and no layer names. Where something names unknown ones, all stay."""
        objects = self._objects()
        named = self._named(objects)
        if named is None:
            return
        for object in objects.all():
            if object.digest not in named:
                objects.remove(object)
