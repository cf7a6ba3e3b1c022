"""Images, their layers and blobs: what manifest and config say of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from attrs import field, frozen

from bootc.errors import ReferenceError
from bootc.image.digest import Digest
from bootc.image.reference import ImageReference
from bootc.image.spelling import parse_time


@frozen
class Descriptor:
    """What a manifest says of one blob. `size` is bytes; None where the source cannot know it."""

    media_type: str
    digest: Digest
    size: int | None
    annotations: Mapping[str, str] = field(factory=dict)


@frozen
class Layer:
    """One layer: its identity (as the manifest names it), its content (diffID), and the blob that is really served."""

    descriptor: Descriptor
    diff_id: Digest
    blob: Descriptor

    @property
    def expected_size(self) -> int:
        """Bytes that will be served, as far as they are known before: else those that the manifest names."""
        known = (self.blob.size, self.descriptor.size)
        return next((size for size in known if size is not None), 0)


@frozen(slots=False)
class ImageSummary:
    """Manifest and config of an image, and the digest by which it is known. Lives as long as the import does."""

    digest: Digest
    manifest: bytes
    """JSON; as served for a fetched image, possibly re-serialised by a store"""
    config: bytes
    """JSON (OCI image configuration)"""

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        return _object(self.config)

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """`config.Labels`."""
        config = self._config.get("config")
        labels = config.get("Labels") if isinstance(config, dict) else None
        return {key: str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}

    @property
    def architecture(self) -> str:
        """OCI spelling: `amd64`, `arm64`, …"""
        return str(self._config.get("architecture") or "")

    @property
    def version(self) -> str | None:
        """Label `org.opencontainers.image.version`, else `version`."""
        return self.labels.get("org.opencontainers.image.version") or self.labels.get("version")

    @property
    def created(self) -> str | None:
        """RFC 3339: label `org.opencontainers.image.created`, else the config's `created`; None: neither is a date."""
        texts = self.labels.get("org.opencontainers.image.created", ""), str(self._config.get("created") or "")
        return next(filter(parse_time, texts), None)

    @cached_property
    def diff_ids(self) -> tuple[Digest, ...]:
        """`rootfs.diff_ids`: the digests of the layers' contents. Empty if they are not stated as they should be."""
        rootfs = self._config.get("rootfs")
        found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        try:
            return tuple(Digest.parse(text) for text in found) if isinstance(found, list) else ()
        except (ReferenceError, AttributeError):
            return ()

    @cached_property
    def layer_sizes(self) -> Mapping[Digest, int]:
        """Digest and compressed size of each layer of the manifest."""
        layers = _object(self.manifest).get("layers")
        return dict(filter(None, map(_digest_and_size, layers if isinstance(layers, list) else [])))


@frozen(slots=False)
class Image(ImageSummary):
    """What `Fetcher.resolve` learned. Manifest and config are exactly the bytes that were served and verified."""

    reference: ImageReference = field(kw_only=True)
    top_digest: Digest | None = field(kw_only=True)
    """of what the tag points to (the index, for multi-arch); None: the source cannot know"""
    layers: tuple[Layer, ...] = field(kw_only=True)
    verdict: str = field(kw_only=True)
    """which requirement of the signature policy accepted it"""


@frozen(slots=False)
class ImportedImage(ImageSummary):
    """An image that is whole in a store. `key` is the store's own name for it (commit, slot, …)."""

    key: str = field(kw_only=True)


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _digest_and_size(layer: object) -> tuple[Digest, int] | None:
    if not isinstance(layer, dict) or not isinstance(layer.get("digest"), str):
        return None
    size = layer.get("size")
    try:
        return Digest.parse(layer["digest"]), size if isinstance(size, int) else 0
    except ReferenceError:
        return None
