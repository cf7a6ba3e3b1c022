"""Manifests and indexes as they come from outside: parsed strictly, bounded, one reading only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from bootc.errors import BootcError, ProtocolError, UnsupportedError
from bootc.image import Descriptor, Digest
from bootc.platform import Platform

MANIFEST_LIMIT = 4 << 20
"""bytes; the same for a config"""
LAYER_LIMIT = 4096
"""layers of one image, entries of one index"""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)

LAYER_TYPES = frozenset(
    f"{base}{suffix}"
    for base, suffixes in {
        "application/vnd.oci.image.layer.v1.tar": ("", "+gzip", "+zstd"),
        "application/vnd.docker.image.rootfs.diff.tar": ("", ".gzip", ".zstd"),
    }.items()
    for suffix in suffixes
)
_AMBIGUOUS = frozenset({"fsLayers", "signatures"})
"""keys of Docker's schema 1 (CVE-2021-41190)"""
CONFIG_TYPES = frozenset({"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"})


@frozen
class Manifest:
    """An image manifest: its config and its layers, in order from the base up."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]


@frozen
class IndexEntry:
    """One manifest of an index, with the platform it is for (None: not said)."""

    descriptor: Descriptor
    platform: tuple[str, str, str] | None
    """os, architecture, variant"""


@frozen
class Index:
    """An image index (manifest list)."""

    entries: tuple[IndexEntry, ...]


def parse(data: bytes, media_type: str | None, source: str) -> Manifest | Index:
    """Read a manifest or an index. `source` names it in errors.

    A document that could be read as both, that repeats a key, or that contradicts `media_type` is refused.
    """
    if len(data) > MANIFEST_LIMIT:
        raise ProtocolError(source, f"manifest is larger than {MANIFEST_LIMIT} bytes")
    document = strict_json(data, source)
    stated = document.get("mediaType")
    if stated is not None and stated not in ACCEPTED:
        raise UnsupportedError(source, f"manifest media type {_short(stated)} is not supported")
    if _AMBIGUOUS & document.keys() or ("manifests" in document and ("layers" in document or "config" in document)):
        raise ProtocolError(source, "manifest can be read in more than one way")
    kind = _kind(document, source)
    served = (media_type or "").partition(";")[0].strip()
    for name, text in (("content type", served), ("mediaType", stated)):
        if text in ACCEPTED and (text in (OCI_INDEX, DOCKER_LIST)) != (kind == "index"):
            raise ProtocolError(source, f"manifest contradicts its {name} {text}")
    return _index(document, source) if kind == "index" else _manifest(document, source)


def strict_json(data: bytes, source: str) -> dict[str, Any]:
    """A JSON object from outside, in UTF-8. Repeated keys, deep nesting, lone surrogates, numbers that are none and all
    other texts are a ProtocolError."""
    try:
        text = data.decode()
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_refuse, parse_float=_finite)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ProtocolError(source, f"not valid JSON: {_short(str(error))}") from error
    if not isinstance(value, dict):
        raise ProtocolError(source, "not a JSON object")
    return value


def choose(index: Index, platform: Platform, source: str) -> Descriptor:
    """The entry for this platform: best variant first, then a zstd instance, then the first; attestations never."""
    wanted = (*platform.variants, "") if platform.variants else ("",)
    best: tuple[tuple[int, int], Descriptor] | None = None
    for entry in index.entries:
        rank = _rank(entry, platform, wanted)
        if rank is not None and (best is None or rank < best[0]):
            best = (rank, entry.descriptor)
    if best is None:
        raise UnsupportedError(source, f"no image for linux/{platform.architecture} in this index")
    return best[1]


def diff_ids(config: bytes, manifest: Manifest, source: str) -> tuple[Digest, ...]:
    """The diffIDs of a config (OCI image configuration, rootfs), one for each layer of the manifest."""
    if len(config) > MANIFEST_LIMIT:
        raise ProtocolError(source, f"config is larger than {MANIFEST_LIMIT} bytes")
    rootfs = strict_json(config, source).get("rootfs")
    texts = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(texts, list) or len(texts) != len(manifest.layers):
        raise ProtocolError(source, "config and manifest do not name the same number of layers")
    return tuple(_digest(text, source) for text in texts)


def _rank(entry: IndexEntry, platform: Platform, wanted: Sequence[str]) -> tuple[int, int] | None:
    if entry.descriptor.media_type not in (OCI_MANIFEST, DOCKER_MANIFEST):
        return None
    if "vnd.docker.reference.type" in entry.descriptor.annotations:
        return None
    zstd = 0 if entry.descriptor.annotations.get("io.github.containers.compression.zstd") == "true" else 1
    if entry.platform is None:
        return (len(wanted), zstd)
    system, architecture, variant = entry.platform
    if system != "linux" or architecture != platform.architecture or variant not in wanted:
        return None
    return (wanted.index(variant), zstd)


def _kind(document: Mapping[str, Any], source: str) -> str:
    if document.get("schemaVersion") != 2:
        raise UnsupportedError(
            source, f"manifest schema version {_short(document.get('schemaVersion'))} is not supported"
        )
    if isinstance(document.get("manifests"), list):
        return "index"
    if isinstance(document.get("layers"), list) and isinstance(document.get("config"), dict):
        return "image"
    raise ProtocolError(source, "neither an image manifest nor an index")


def _manifest(document: Mapping[str, Any], source: str) -> Manifest:
    layers = document["layers"]
    if not layers:
        raise UnsupportedError(source, "image has no layers")
    if len(layers) > LAYER_LIMIT:
        raise ProtocolError(source, f"manifest has more than {LAYER_LIMIT} layers")
    config = _descriptor(document["config"], source)
    if config.media_type not in CONFIG_TYPES:
        raise UnsupportedError(source, f"config media type {_short(config.media_type)} is no container image's")
    parsed = tuple(_descriptor(layer, source) for layer in layers)
    for layer in parsed:
        if layer.media_type not in LAYER_TYPES:
            raise UnsupportedError(source, f"layer media type {_short(layer.media_type)} is not supported")
    return Manifest(config, parsed, _annotations(document.get("annotations"), source))


def _index(document: Mapping[str, Any], source: str) -> Index:
    entries = document["manifests"]
    if len(entries) > LAYER_LIMIT:
        raise ProtocolError(source, f"index has more than {LAYER_LIMIT} entries")
    return Index(tuple(_entry(item, source) for item in entries))


def _entry(item: object, source: str) -> IndexEntry:
    descriptor = _descriptor(item, source)
    platform = item.get("platform") if isinstance(item, dict) else None
    if not isinstance(platform, dict):
        return IndexEntry(descriptor, None)
    fields = tuple(str(platform.get(key) or "") for key in ("os", "architecture", "variant"))
    return IndexEntry(descriptor, (fields[0], fields[1], fields[2]))


def _descriptor(item: object, source: str) -> Descriptor:
    if not isinstance(item, dict):
        raise ProtocolError(source, "descriptor is not an object")
    size = item.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 53:
        raise ProtocolError(source, f"descriptor has an impossible size {_short(size)}")
    if item.get("urls"):
        raise UnsupportedError(source, "descriptor points outside the registry (foreign layer)")
    media_type = item.get("mediaType")
    if not isinstance(media_type, str) or not media_type.isprintable():
        raise ProtocolError(source, "descriptor has no media type")
    annotations = _annotations(item.get("annotations"), source)
    return Descriptor(media_type, _digest(item.get("digest"), source), size, annotations)


def _annotations(value: object, source: str) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ProtocolError(source, "annotations are not strings")
    return value


def _digest(text: object, source: str) -> Digest:
    try:
        return Digest.parse(text if isinstance(text, str) else "")
    except BootcError as error:
        raise ProtocolError(source, f"bad digest {_short(text)}") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object repeats a key")
    return result


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _short(value: object) -> str:
    """Hostile values appear in messages, but neither whole nor unescaped."""
    if isinstance(value, list | dict):
        return f"a {type(value).__name__}"
    return repr(value[:100] if isinstance(value, str) else value)[:120]
