"""What a fetcher meets in a case: an image whose parts were tampered with, in a registry that may misbehave."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from attrs import define, field

from bootc.image import ImageReference
from bootc.manifest import OCI_MANIFEST
from bootc.testing.fetcher_images import Sample, make_sample
from bootc.testing.fetcher_place import Place
from bootc.testing.registry import CONFIG_TYPE, REPOSITORY, Action, FakeRegistry, basic, digest_of

USER, PASSWORD = "somebody", "c0rrect-h0rse"
IDENTITY = "1dentity-t0ken"
SIGNATURE = "s1gned-query"
"""in addresses of storage"""

MANIFEST, INSTANCE, CONFIG, LAYER, BLOBS, TOKEN, ALL = (
    "manifest",
    "instance",
    "config",
    "layer",
    "blobs",
    "token",
    "all",
)
"""what is asked for: the document that the tag names, one that an index names, the config, the first layer, …"""

_SAMPLE = make_sample("hostile", layers=2)


def _same(data: bytes) -> bytes:
    return data


@define
class Scene:
    """An image in the making: knobs change its parts, `publish` puts it together."""

    registry: FakeRegistry
    elsewhere: FakeRegistry
    """another host, for which there are no credentials; it stores the same blobs"""
    place: Place
    blobs: list[bytes] = field(factory=lambda: list(_SAMPLE.blobs))
    """of the layers, as they are served"""
    contents: list[str] = field(factory=lambda: [str(content) for content in _SAMPLE.contents])
    """diffIDs: what right layers hold"""
    config: dict[str, Any] = field(factory=lambda: _parts(_SAMPLE)[1])
    change_config: Callable[[bytes], bytes] = _same
    config_descriptor: dict[str, Any] = field(factory=dict)
    """keys that the manifest says otherwise of it"""
    manifest: dict[str, Any] = field(factory=lambda: _parts(_SAMPLE)[0])
    change_layers: Callable[[list[dict[str, Any]]], object] = list
    """changes the list of descriptors"""
    change_manifest: Callable[[bytes], bytes] = _same
    index: Callable[[Scene, dict[str, Any]], bytes] | None = None
    """what the tag names instead; it gets the manifest's descriptor"""
    media_type: str | None = None
    """of the document that the tag names, if it is another than the manifest's"""
    is_by_digest: bool = False
    digest: str = ""
    """of the manifest, once it is published"""

    def publish(self) -> ImageReference:
        """Serve all of it; returns the image's name."""
        for blob in self.blobs:
            self.registry.keep(blob)
        self.elsewhere.blobs = self.registry.blobs
        config = self.change_config(json.dumps(self.config).encode())
        named = {"mediaType": CONFIG_TYPE, "digest": self.registry.keep(config), "size": len(config)}
        layers = [{"mediaType": _LAYER, "digest": digest_of(blob), "size": len(blob)} for blob in self.blobs]
        self.change_layers(layers)
        document = {"config": {**named, **self.config_descriptor}, "layers": layers, **self.manifest}
        data = self.change_manifest(json.dumps({k: v for k, v in document.items() if v is not GONE}).encode())
        self.digest = digest_of(data)
        own_type = OCI_MANIFEST if self.index or not self.media_type else self.media_type
        described = self.registry.add_document("os", own_type, data)
        if self.index is not None:
            top = self.index(self, described)
            self.registry.add_document("os", self.media_type or str(json.loads(top).get("mediaType", "")), top)
        name = f"{self.registry.address}/{REPOSITORY}"
        return ImageReference("registry", f"{name}@{self.digest}" if self.is_by_digest else f"{name}:os")

    def log_in(self, **entry: str) -> None:
        """Put an entry for the registry into the file of credentials; nothing: user and password."""
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.place.authfile.write_text(json.dumps({"auths": {self.registry.address: entry or {"auth": login}}}))

    def disturb(self, what: str, *actions: Action, is_forever: bool = False) -> None:
        """Spoil answers to what is asked for."""
        self.registry.disturb(self._path(what), *actions, is_forever=is_forever)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody else may learn."""
        tokens = self.registry.bearer.given if self.registry.bearer else ()
        return (PASSWORD, IDENTITY, basic(USER, PASSWORD).removeprefix("Basic "), *tokens)

    def _path(self, what: str) -> str:
        _, data = self.registry.documents.get("os", ("", b"{}"))
        config = self.registry.documents.get(self.digest, ("", data))[1]
        paths = {
            MANIFEST: f"manifests/({self.digest}|os)$" if self.is_by_digest else "manifests/os$",
            INSTANCE: "manifests/sha256:",
            LAYER: f"blobs/{digest_of(self.blobs[0])}$",
            BLOBS: "blobs/",
            TOKEN: "^/token",
            ALL: "",
        }
        return f"blobs/{json.loads(config)['config']['digest']}$" if what == CONFIG else paths[what]


GONE = object()
"""a key that is left out"""
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def _parts(sample: Sample) -> tuple[dict[str, Any], dict[str, Any]]:
    manifest, config = json.loads(sample.manifest), json.loads(sample.config)
    return {key: value for key, value in manifest.items() if key not in ("config", "layers")}, config
