"""Contents of images that are present, found by what is recorded of their layers and verified before they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO

from attrs import frozen

from bootc.errors import BootcError
from bootc.image import Digest, ImportedImage
from bootc.partial.known import Known
from bootc.partial.table import Content
from bootc.state.contents import Contents, LayerContents, Place
from bootc.storage import ImageStore, Tree

WHOLE = 4 << 20
"""bytes of a content that is held in memory; a longer one is read twice"""
TABLES_LIMIT = 64 << 20
"""bytes of tables that are held in memory; images beyond that are not used"""
_CHUNK = 1 << 20


@frozen
class Donor:
    """A layer of a present image, and where its files are."""

    diff_id: Digest
    contents: LayerContents
    tree: Tree


class LocalContents(Known):
    """What these layers have. Questions may be asked from several threads, contents from one."""

    def __init__(self, donors: Sequence[Donor]) -> None:
        self._donors = donors
        self._file: BinaryIO | None = None
        self._opened: tuple[Tree, str] | None = None
        self._position = 0

    @property
    def is_empty(self) -> bool:
        return not self._donors

    def has_content(self, digest: bytes, size: int) -> bool:
        return any(donor.contents.has_content(digest, size) for donor in self._donors)

    def has_gap(self, key: bytes) -> bool:
        return any(donor.contents.has_gap(key) for donor in self._donors)

    def gap(self, key: bytes) -> bytes | None:
        """The frame of a gap, unverified; None if it is gone."""
        found = (donor.contents.gap(key) for donor in self._donors)
        return next((frame for frame in found if frame is not None), None)

    def content(self, wanted: Content) -> Iterator[bytes] | None:
        """A content in pieces, with the digest that it should have; None if it is gone or different."""
        for tree, place in self._places(wanted):
            try:
                pieces = self._verified(tree, place, wanted)
            except Exception:  # Whatever keeps a backend from giving it: it will be fetched.
                self.close()
                continue
            if pieces is not None:
                return pieces
        return None

    def close(self) -> None:
        """Close the file that was read last."""
        file, self._file, self._opened = self._file, None, None
        if file is not None:
            file.close()

    def _places(self, wanted: Content) -> Iterator[tuple[Tree, Place]]:
        for donor in self._donors:
            place = donor.contents.place(wanted.digest, wanted.size)
            if place:
                yield donor.tree, place
        for donor in self._donors if wanted.size < wanted.file_size else ():
            place = donor.contents.place(wanted.file_digest, wanted.file_size)
            if place:
                yield donor.tree, Place(place.path, place.offset + wanted.offset)

    def _verified(self, tree: Tree, place: Place, wanted: Content) -> Iterator[bytes] | None:
        if wanted.size <= WHOLE:
            data = b"".join(self._read(tree, place, wanted.size))
            return iter((data,)) if hashlib.sha256(data).digest() == wanted.digest else None
        digest = hashlib.sha256()
        for data in self._read(tree, place, wanted.size):
            digest.update(data)
        return self._read(tree, place, wanted.size) if digest.digest() == wanted.digest else None

    def _read(self, tree: Tree, place: Place, size: int) -> Iterator[bytes]:
        """Up to `size` bytes of a file. Chunks of one file come one after the other: it stays open. Not every backend
        has files in which one can go back."""
        if self._file is None or self._opened != (tree, place.path) or self._position > place.offset:
            self.close()
            self._file, self._opened = tree.open(PurePosixPath(place.path)), (tree, place.path)
            self._position = 0
        file = self._file
        if file.seekable():
            self._position = file.seek(place.offset)
        end = place.offset + size
        while self._position < end and (data := file.read(min(end - self._position, _CHUNK))):
            start, self._position = self._position, self._position + len(data)
            if self._position > place.offset:
                yield data[max(place.offset - start, 0) :]


@contextmanager
def local_contents(contents: Contents, store: ImageStore, images: Iterable[ImportedImage]) -> Iterator[LocalContents]:
    """What the layers of these images have, the first ones preferred; what cannot be opened is left out."""
    with ExitStack() as stack:
        donors: list[Donor] = []
        left = TABLES_LIMIT
        for image in images:
            with ExitStack() as opening:
                layers = _opened(contents, image, {donor.diff_id for donor in donors}, opening)
                size = sum(layer.tables_size for layer in layers.values())
                if not layers or size > left:
                    continue
                try:
                    tree = opening.enter_context(store.open_tree(image))
                except (OSError, BootcError):  # It is damaged or gone; the check of the store tells about that.
                    continue
                stack.enter_context(opening.pop_all())
            left -= size
            donors += [Donor(diff_id, layer, tree) for diff_id, layer in layers.items()]
        local = LocalContents(donors)
        stack.callback(local.close)
        yield local


def _opened(
    contents: Contents, image: ImportedImage, known: Collection[Digest], stack: ExitStack
) -> dict[Digest, LayerContents]:
    """The layers of one image, as far as is needed to see that they are too large together."""
    found: dict[Digest, LayerContents] = {}
    left = TABLES_LIMIT
    for diff_id in image.diff_ids:
        layer = None if diff_id in known or diff_id in found or left < 0 else contents.open(diff_id)
        if layer:
            stack.callback(layer.close)
            found[diff_id] = layer
            left -= layer.tables_size
    return found
