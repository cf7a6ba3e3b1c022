"""An image that a proxy has opened: its manifest, its config, and under which names its layers can be asked for."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve, frozen

from bootc.errors import BootcError, ProtocolError
from bootc.image import Descriptor, Digest
from bootc.manifest import LAYER_LIMIT, MANIFEST_LIMIT, Manifest
from bootc_skopeo.pipes import RAW_LEVEL, Pipe, open_pipe
from bootc_skopeo.proxy import Proxy

PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
_INFO_LEVEL, _PIPED_INFO_LEVEL = 5, 7
_INFO_LIMIT = LAYER_LIMIT * 512


@frozen
class Connection:
    """One proxy with the image open in it."""

    proxy: Proxy
    image: int

    @classmethod
    def open(cls, proxy: Proxy, name: str) -> Connection:
        """Open the image `TRANSPORT:NAME`. Raises FetchError; the proxy stays the caller's."""
        image = proxy.call("OpenImage", name).value
        if not isinstance(image, int) or image < 1:
            raise ProtocolError(proxy.reference, "skopeo: OpenImage brought no image")
        return cls(proxy, image)

    @property
    def is_shared(self) -> bool:
        """Whether several blobs can be read through it side by side, and given up without harm to the others."""
        return self.proxy.level >= RAW_LEVEL

    def manifest(self) -> tuple[Digest, bytes]:
        """Digest of the manifest at its source, and the manifest; converted to OCI if it was a docker schema 2 one."""
        value, data = self.proxy.read_pipe("GetManifest", self.image, limit=MANIFEST_LIMIT)
        return self._digest(value), data

    def config(self, descriptor: Descriptor, is_converted: bool) -> bytes:
        """The config. That of a converted manifest is skopeo's own work and lies nowhere as a blob."""
        if is_converted:
            return self.proxy.read_pipe("GetFullConfig", self.image, limit=MANIFEST_LIMIT)[1]
        blob = str(descriptor.digest)
        return self.proxy.read_pipe("GetBlob", self.image, blob, descriptor.size, limit=MANIFEST_LIMIT)[1]

    def blobs(self, manifest: Manifest, diff_ids: tuple[Digest, ...]) -> tuple[Descriptor, ...]:
        """What a store of uncompressed layers serves, one for each layer of the manifest."""
        if self.proxy.level < _INFO_LEVEL:
            pairs = zip(manifest.layers, diff_ids, strict=True)
            return tuple(_plain(layer, diff_id) for layer, diff_id in pairs)
        found = self._layer_infos()
        if len(found) != len(manifest.layers):
            problem = f"skopeo: {len(found)} layers stored, but the manifest names {len(manifest.layers)}"
            raise ProtocolError(self.proxy.reference, problem)
        pairs_found = zip(found, diff_ids, strict=True)
        return tuple(self._served(info, diff_id) for info, diff_id in pairs_found)

    def pipe(self, blob: Descriptor) -> Pipe:
        """Begin to read a blob."""
        return open_pipe(self.proxy, self.image, blob)

    def _layer_infos(self) -> list[Any]:
        if self.proxy.level < _PIPED_INFO_LEVEL:
            value = self.proxy.call("GetLayerInfo", self.image).value
        else:
            value = self._parsed(self.proxy.read_pipe("GetLayerInfoPiped", self.image, limit=_INFO_LIMIT)[1])
        if not isinstance(value, list):
            raise ProtocolError(self.proxy.reference, "skopeo: GetLayerInfo brought no list")
        return value

    def _served(self, info: Any, diff_id: Digest) -> Descriptor:
        if not isinstance(info, dict):
            raise ProtocolError(self.proxy.reference, "skopeo: GetLayerInfo brought something that is no layer")
        digest, size = self._digest(info.get("digest")), info.get("size")
        # What is stored by its diffID is no compressed layer, whatever docker's daemon says of it.
        kind = PLAIN_LAYER if digest == diff_id else str(info.get("media_type"))
        return Descriptor(kind, digest, size if isinstance(size, int) and size >= 0 else None)

    def _parsed(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(self.proxy.reference, "skopeo: layer information is not valid JSON") from error

    def _digest(self, text: object) -> Digest:
        try:
            return Digest.parse(text if isinstance(text, str) else "")
        except BootcError as error:
            raise ProtocolError(self.proxy.reference, f"skopeo: bad digest {text!r}"[:200]) from error


def _plain(layer: Descriptor, diff_id: Digest) -> Descriptor:
    """Without GetLayerInfo: stores answer to the diffID; the size is known only if the manifest names the same."""
    if layer.digest == diff_id:
        return evolve(layer, media_type=PLAIN_LAYER)
    return Descriptor(PLAIN_LAYER, diff_id, None)
