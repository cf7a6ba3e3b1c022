"""`bootc image plan`: what it predicts of images in files, which it takes as a registry would serve them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from bootc.image import Image, Layer
from bootc.manifest import OCI_MANIFEST
from tests.chunked import chunked_layer
from tests.integration.sysroots import Layout
from tests.ostree_images import Tar, digest_of, make_image
from tests.unit.cli_runs import Run, bootc

DOCS = Path(__file__).parents[2] / "docs/publishing.md"
FILES, SIZE, CHANGED = 60, 30_000, (7, 41)


def tree(version: int) -> bytes:
    """A layer of incompressible files, of which some differ from version to version."""
    tar = Tar().directory("usr").directory("usr/share")
    for number in range(FILES):
        seed = f"{number} {version if number in CHANGED else 0}"
        tar.add(f"usr/share/{number:03}", data=random.Random(seed).randbytes(SIZE))
    return tar.data


BASE = Tar().directory("usr").add("usr/base", data=random.Random("base").randbytes(50_000)).data


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "os")


def add_chunked(layout: Layout, tag: str, tars: Sequence[bytes]) -> tuple[Layer, ...]:
    """An image whose layers are in the form zstd:chunked."""
    layers = tuple(chunked(layout, data) for data in tars)
    plain = make_image(tars, f"{layout.folder}:{tag}", labels={"version": tag})
    document = json.loads(plain.manifest)
    document["layers"] = [
        {
            "mediaType": layer.descriptor.media_type,
            "digest": str(layer.descriptor.digest),
            "size": layer.descriptor.size,
            "annotations": dict(layer.descriptor.annotations),
        }
        for layer in layers
    ]
    manifest = json.dumps({**document, "mediaType": OCI_MANIFEST}).encode()
    layout.add_documents(tag, evolve(plain, manifest=manifest, digest=digest_of(manifest)))
    return layers


def chunked(layout: Layout, data: bytes) -> Layer:
    tar, blob = layout.folder / "tar", layout.folder / "blob"
    tar.write_bytes(data)
    layer = chunked_layer(tar, blob)
    blob.rename(layout.blob(layer.descriptor.digest))
    return layer


def plan(layout: Layout, old: str, new: str) -> dict[str, Any]:
    run = bootc("image", "plan", layout.reference(old), layout.reference(new), "--json")
    assert (run.code, run.err) == (0, "")
    found: dict[str, Any] = json.loads(run.out)
    return found


def costs(found: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Bytes and layers by method."""
    return {name: (cost["bytes"], cost["layers"]) for name, cost in found["methods"].items()}


def size_of(image: Image | Layer) -> int:
    blobs = image.layers if isinstance(image, Image) else (image,)
    return sum(layer.blob.size or 0 for layer in blobs)


def test_layers_that_the_old_image_has_cost_nothing_whatever_their_compression(layout: Layout) -> None:
    layout.add("1", [BASE, tree(1)], level=1)
    new = layout.add("2", [tree(2), BASE, BASE], level=9)
    found = plan(layout, "1", "2")
    base, changed = size_of(new.layers[1]), size_of(new.layers[0])
    assert costs(found) == {"image": (base + changed, 2), "layers": (changed, 1), "parts": (changed, 1)}
    assert found["methods"]["parts"]["layersInParts"] == 0
    digest = str(new.layers[0].descriptor.digest)
    assert found["missing"] == [{"digest": digest, "size": changed, "method": "whole", "bytes": changed, "requests": 1}]
    assert found["metadataBytes"] == len(new.manifest) + len(new.config)
    assert (found["new"]["digest"], found["new"]["version"]) == (str(new.digest), "2")


def test_the_same_image_costs_nothing(layout: Layout) -> None:
    image = layout.add("1", [BASE])
    assert costs(plan(layout, "1", "1")) == {"image": (size_of(image), 1), "layers": (0, 0), "parts": (0, 0)}


def test_parts_of_layers_are_told(layout: Layout) -> None:
    add_chunked(layout, "1", [BASE, tree(1)])
    base, changed = add_chunked(layout, "2", [BASE, tree(2)])
    found = plan(layout, "1", "2")
    parts = found["methods"]["parts"]
    assert costs(found) == {
        "image": (size_of(base) + size_of(changed), 2),
        "layers": (size_of(changed), 1),
        "parts": (parts["bytes"], 1),
    }
    assert parts["layersInParts"] == 1
    assert len(CHANGED) * SIZE < parts["bytes"] < len(CHANGED) * SIZE + 20_000
    assert parts["requests"] == len(CHANGED) + len(("the table", "the end"))
    (missing,) = found["missing"]
    assert (missing["method"], missing["size"], missing["bytes"]) == ("parts", size_of(changed), parts["bytes"])


def test_parts_need_the_form_on_both_sides(layout: Layout) -> None:
    layout.add("1", [BASE, tree(1)])
    _, changed = add_chunked(layout, "2", [BASE, tree(2)])
    found = plan(layout, "1", "2")
    assert costs(found)["parts"] == (size_of(changed), 1)
    assert found["methods"]["parts"]["layersInParts"] == 0


def test_what_people_are_told(layout: Layout) -> None:
    add_chunked(layout, "1", [BASE, tree(1)])
    add_chunked(layout, "2", [BASE, tree(2)])
    run = bootc("image", "plan", layout.reference("1"), layout.reference("2"))
    text = re.sub(r"[0-9a-f]{64}", "HEX", re.sub(r" +[\d.]+ [kM]B", " SIZE", run.out))
    assert (run.code, run.err) == (0, "")
    assert text.splitlines() == [
        f"From: {layout.reference('1')}",
        "      sha256:HEX (1)",
        f"To:   {layout.reference('2')}",
        "      sha256:HEX (2)",
        "Whole image: SIZE  (2 layers)",
        "Whole layers: SIZE  (1 layer; the old image has 1)",
        "Parts (zstd:chunked): SIZE  (1 of 1 layer in parts; requests: 4)",
    ]


def test_a_broken_table_of_contents_means_whole_layers(layout: Layout) -> None:
    add_chunked(layout, "1", [tree(1)])
    (layer,) = add_chunked(layout, "2", [tree(2)])
    blob = layout.blob(layer.descriptor.digest)
    blob.write_bytes(blob.read_bytes()[:-3000] + bytes(3000))
    assert plan(layout, "1", "2")["methods"]["parts"]["layersInParts"] == 0


@pytest.mark.parametrize("missing", ["1", "2"])
def test_an_image_that_is_not_there_is_told(layout: Layout, missing: str) -> None:
    layout.add("2" if missing == "1" else "1", [BASE])
    run = bootc("image", "plan", layout.reference("1"), layout.reference("2"))
    name = f"ostree-unverified-image:{layout.reference(missing)}"
    there = "2" if missing == "1" else "1"
    assert run == Run(1, "", f"error: {name}: no image of this name (names in it: {there})\n")


def test_a_reference_needs_its_transport() -> None:
    run = bootc("image", "plan", "reg.example/os:1", "docker://reg.example/os:2")
    assert (run.code, run.out) == (1, "")
    assert run.err.startswith("error: invalid image reference 'reg.example/os:1': unknown transport 'reg.example/os'")


def test_every_key_is_documented(layout: Layout) -> None:
    layout.add("1", [BASE])
    layout.add("2", [tree(2)])
    named = set(re.findall(r"`([\w-]+)`", DOCS.read_text()))
    assert keys(plan(layout, "1", "2")) <= named


def keys(value: object) -> set[str]:
    """The names of all fields."""
    if isinstance(value, list):
        return {key for item in value for key in keys(item)}
    if isinstance(value, dict):
        return {*value, *(key for item in value.values() for key in keys(item))}
    return set()
