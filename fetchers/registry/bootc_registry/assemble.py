"""From the first document of an image to the whole `Image`: the same way for registries and for files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from attrs import frozen

from bootc.errors import IntegrityError, ProtocolError
from bootc.image import Descriptor, Digest, Image, ImageReference, Layer
from bootc.manifest import MANIFEST_LIMIT, Manifest, choose, diff_ids, parse
from bootc.platform import Platform

Load = Callable[[Descriptor], bytes]
"""Fetches what a descriptor names, at most MANIFEST_LIMIT bytes; it is verified here."""

Accept = Callable[[Sequence[bytes]], str]
"""The policy's verdict on an image, told the manifests that lead to it; raises PolicyError."""


@frozen
class Document:
    """A manifest or an index as served, and its digest."""

    data: bytes
    media_type: str | None
    digest: Digest


def assemble(
    reference: ImageReference, top: Document, platform: Platform, load_manifest: Load, load_blob: Load, accept: Accept
) -> Image:
    """Choose the platform's manifest, have it accepted, and read the config. Raises FetchError."""
    source = reference.display
    document, manifest = _descend(top, platform, load_manifest, source)
    verdict = accept((top.data, document.data))
    config = load_verified(manifest.config, load_blob, source)
    contents = diff_ids(config, manifest, source)
    layers = tuple(Layer(layer, content, layer) for layer, content in zip(manifest.layers, contents, strict=True))
    return Image(
        document.digest,
        document.data,
        config,
        reference=reference,
        top_digest=top.digest,
        layers=layers,
        verdict=verdict,
    )


def load_verified(blob: Descriptor, load: Load, source: str) -> bytes:
    """A small blob, with the digest and the size by which it is named."""
    if blob.size is not None and blob.size > MANIFEST_LIMIT:
        raise ProtocolError(source, f"{blob.digest} is larger than {MANIFEST_LIMIT} bytes")
    data = load(blob)
    if blob.size is not None and len(data) != blob.size:
        raise IntegrityError(source, f"{blob.digest} has {len(data)} bytes instead of {blob.size}")
    require_digest(data, blob.digest, source)
    return data


def require_digest(data: bytes, digest: Digest, source: str) -> None:
    """Raise IntegrityError unless the data has this digest."""
    if hashlib.new(digest.algorithm, data).hexdigest() != digest.hex:
        raise IntegrityError(source, f"what was served as {digest} has another digest")


def _descend(top: Document, platform: Platform, load: Load, source: str) -> tuple[Document, Manifest]:
    parsed = parse(top.data, top.media_type, source)
    if isinstance(parsed, Manifest):
        return top, parsed
    chosen = choose(parsed, platform, source)
    document = Document(load_verified(chosen, load, source), chosen.media_type, chosen.digest)
    inner = parse(document.data, document.media_type, source)
    if not isinstance(inner, Manifest):
        raise ProtocolError(source, "an index within an index")
    return document, inner
