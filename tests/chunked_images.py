"""Whole images in an OCI layout whose layers are in the form zstd:chunked."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from attrs import evolve

from bootc.image import Image, Layer
from bootc.manifest import OCI_MANIFEST
from tests.chunked import chunked_layer
from tests.integration.sysroots import VERSION, Layout
from tests.ostree_images import Tar, digest_of, make_image

FILES, SIZE, CHANGED = 60, 30_000, (7, 41)


def many_files(version: str) -> bytes:
    """A layer of `FILES` files of `SIZE` bytes that cannot be compressed; `CHANGED` differ from version to version."""
    tar = Tar().directory("usr").directory("usr/share")
    for number in range(FILES):
        seed = f"{number} {version if number in CHANGED else ''}"
        tar.add(f"usr/share/{number:03}", data=random.Random(seed).randbytes(SIZE))
    return tar.data


def add_chunked(layout: Layout, tag: str, tars: Sequence[bytes]) -> Image:
    """Add an image of these tar archives to a layout; the tag is its version."""
    layers = tuple(_chunked(layout, data) for data in tars)
    plain = make_image(tars, layout.name(tag), labels={VERSION: tag})
    document = json.loads(plain.manifest)
    document |= {"mediaType": OCI_MANIFEST, "layers": [_described(layer) for layer in layers]}
    manifest = json.dumps(document).encode()
    image = evolve(plain, manifest=manifest, digest=digest_of(manifest), layers=layers)
    return layout.add_documents(tag, image)


def _chunked(layout: Layout, data: bytes) -> Layer:
    tar, blob = layout.folder / "tar", layout.folder / "blob"
    tar.write_bytes(data)
    layer = chunked_layer(tar, blob)
    tar.unlink()
    blob.rename(layout.blob(layer.descriptor.digest))
    return layer


def _described(layer: Layer) -> dict[str, object]:
    blob = layer.descriptor
    annotations = dict(blob.annotations)
    return {"mediaType": blob.media_type, "digest": str(blob.digest), "size": blob.size, "annotations": annotations}
