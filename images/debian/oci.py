"""OCI image layouts: names images that are made of layers.

Format: OCI image-spec 1.1, "Image Layout", with image manifests of version 2.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layer import MEDIA_TYPE, Layer, pack

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
TAG = "org.opencontainers.image.ref.name"

Descriptor = dict[str, Any]


class Layout:
    """An OCI image layout in a folder; made when it does not exist. Blobs come first, index.json last and at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs" / "sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)
        (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))

    def write_image(self, tag: str, layers: Sequence[Layer], labels: Mapping[str, str], created: int) -> Descriptor:
        """Write an image of these layers under a tag and return its manifest's descriptor; `created` is in seconds."""
        moment = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        config = {
            "created": moment,
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/sbin/init"], "Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": moment, "created_by": layer.comment} for layer in layers],
        }
        for layer in layers:
            self._add_file(layer)
        return self._finish(tag, config, [_descriptor(layer) for layer in layers])

    def derive(self, base: str, tag: str, tree: Path, labels: Mapping[str, str]) -> Descriptor:
        """Tag the image `base` with one more layer, the files of `tree`, and with more labels.

        A file `.wh.NAME` in `tree` removes NAME; the owner and the mode of every file are taken as they are.
        """
        manifest = self._read(self.tags()[base])
        config = self._read(manifest["config"])
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            seconds = datetime.fromisoformat(config["created"].replace("Z", "+00:00")).timestamp()
            layer = pack(tree, {}, Path(scratch), f"derive {tag}", int(seconds))
            self._add_file(layer)
        config["config"].setdefault("Labels", {}).update(labels)
        config["rootfs"]["diff_ids"].append(layer.diff_id)
        config["history"].append({"created": config["created"], "created_by": layer.comment})
        return self._finish(tag, config, [*manifest["layers"], _descriptor(layer)])

    def tags(self) -> dict[str, Descriptor]:
        """The manifests' descriptors by tag."""
        return {entry["annotations"][TAG]: entry for entry in self._index()["manifests"]}

    def _finish(self, tag: str, config: Mapping[str, Any], layers: Sequence[Descriptor]) -> Descriptor:
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._add(config, CONFIG),
            "layers": list(layers),
        }
        entry = {**self._add(manifest, MANIFEST), "annotations": {TAG: tag}}
        index = self._index()
        index["manifests"] = [old for old in index["manifests"] if old["annotations"][TAG] != tag] + [entry]
        (self.folder / "index.json.new").write_text(json.dumps(index, indent=2))
        os.replace(self.folder / "index.json.new", self.folder / "index.json")
        return entry

    def _index(self) -> dict[str, Any]:
        path = self.folder / "index.json"
        if not path.exists():
            return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        return dict(json.loads(path.read_bytes()))

    def _read(self, descriptor: Descriptor) -> dict[str, Any]:
        return dict(json.loads((self.blobs / descriptor["digest"].removeprefix("sha256:")).read_bytes()))

    def _add(self, document: Mapping[str, Any], media_type: str) -> Descriptor:
        data = json.dumps(document, sort_keys=True).encode()
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def _add_file(self, layer: Layer) -> None:
        target = self.blobs / layer.digest.removeprefix("sha256:")
        if not target.exists() or target.stat().st_size != layer.size:
            shutil.copyfile(layer.blob, target)


def _descriptor(layer: Layer) -> Descriptor:
    return {"mediaType": MEDIA_TYPE, "digest": layer.digest, "size": layer.size}
