"""Keys in the metadata of commits, and the values that go with an image."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from bootc import __version__
from bootc.errors import StoreError
from bootc.image import Digest, Image, ImportedImage, canonical_json, parse_time
from bootc_ostree.glib import GLib, OSTree

CONFIG = "ostree.container.image-config"
IMPORTER = "ostree.importer.version"
MANIFEST = "ostree.manifest"
DIGEST = "ostree.manifest-digest"
IMPLIED = "bootc.implied-directories"
"""as: directories of a layer commit that the layer only implies; other importers ignore it"""
VERSION = f"pybootc {__version__}"


def of_image(image: Image) -> GLib.Variant:
    """The four strings of a merge commit; documents in canonical JSON."""
    texts = {
        CONFIG: _canonical(image.config),
        IMPORTER: VERSION,
        MANIFEST: _canonical(image.manifest),
        DIGEST: str(image.digest),
    }
    return GLib.Variant("a{sv}", {key: GLib.Variant("s", text) for key, text in texts.items()})


def of_layer(implied: Iterable[str]) -> GLib.Variant:
    """Of an ordinary layer's commit."""
    values = {IMPLIED: GLib.Variant("as", sorted(implied)), IMPORTER: GLib.Variant("s", VERSION)}
    return GLib.Variant("a{sv}", values)


def timestamp(image: Image) -> int:
    """Seconds since 1970 for the merge commit: when the manifest, or else the config, says it was created; or now."""
    annotations = _document(image.manifest).get("annotations")
    stated = annotations.get("org.opencontainers.image.created") if isinstance(annotations, dict) else None
    for text in (stated, _document(image.config).get("created")):
        moment = parse_time(text) if isinstance(text, str) else None
        if moment:
            return max(0, int(moment.timestamp()))
    return int(time.time())


def image_of(repo: OSTree.Repo, commit: str) -> ImportedImage | None:
    """The image that a commit was merged from; None for other commits and for ones that are not there."""
    try:
        values = repo.load_commit(commit)[1].get_child_value(0)
    except GLib.Error:
        return None
    digest, manifest = _text(values, DIGEST), _text(values, MANIFEST)
    if digest is None or manifest is None:
        return None
    config = _text(values, CONFIG)
    config = "{}" if config in (None, "null") else config
    return ImportedImage(Digest.parse(digest), manifest.encode(), (config or "{}").encode(), key=commit)


def implied_of(repo: OSTree.Repo, commit: str) -> frozenset[str]:
    """Directories that a layer commit only implies; none for commits that others wrote."""
    value = repo.load_commit(commit)[1].get_child_value(0).lookup_value(IMPLIED, GLib.VariantType("as"))
    return frozenset(value.unpack()) if value else frozenset()


def is_ordinary(repo: OSTree.Repo, commit: str) -> bool:
    """Whether a layer's commit was made from an ordinary layer, not from objects in ostree's own form."""
    return _text(repo.load_commit(commit)[1].get_child_value(0), IMPORTER) is not None


def _text(values: GLib.Variant, key: str) -> str | None:
    value = values.lookup_value(key, GLib.VariantType("s"))
    return value.get_string() if value else None


def _canonical(document: bytes) -> str:
    return canonical_json(_document(document))


def _document(document: bytes) -> dict[str, object]:
    try:
        value = json.loads(document or b"{}")
    except ValueError as error:
        raise StoreError("ostree repository", f"manifest or config is not JSON: {error}") from error
    return value if isinstance(value, dict) else {}
