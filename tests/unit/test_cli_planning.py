"""`bootc image plan`: what it predicts of images in files, which it takes as a registry would serve them."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from bootc.image import Image, Layer
from tests.chunked_images import CHANGED, SIZE, add_chunked, many_files
from tests.integration.sysroots import Layout
from tests.ostree_images import Tar
from tests.unit.cli_runs import Run, bootc

DOCS = Path(__file__).parents[2] / "docs/publishing.md"
BASE = Tar().directory("usr").add("usr/base", data=random.Random("base").randbytes(50_000)).data


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "os")


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
    layout.add("1", [BASE, many_files("1")], level=1)
    new = layout.add("2", [many_files("2"), BASE, BASE], level=9)
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
    add_chunked(layout, "1", [BASE, many_files("1")])
    base, changed = add_chunked(layout, "2", [BASE, many_files("2")]).layers
    found = plan(layout, "1", "2")
    parts = found["methods"]["parts"]
    assert costs(found) == {
        "image": (size_of(base) + size_of(changed), 2),
        "layers": (size_of(changed), 1),
        "parts": (parts["bytes"], 1),
    }
    assert parts["layersInParts"] == 1
    assert len(CHANGED) * SIZE < parts["bytes"] < len(CHANGED) * SIZE + 20_000
    assert parts["requests"] == 1 + len(CHANGED)
    (missing,) = found["missing"]
    assert (missing["method"], missing["size"], missing["bytes"]) == ("parts", size_of(changed), parts["bytes"])


def test_parts_need_the_form_on_both_sides(layout: Layout) -> None:
    layout.add("1", [BASE, many_files("1")])
    _, changed = add_chunked(layout, "2", [BASE, many_files("2")]).layers
    found = plan(layout, "1", "2")
    assert costs(found)["parts"] == (size_of(changed), 1)
    assert found["methods"]["parts"]["layersInParts"] == 0


def test_what_people_are_told(layout: Layout) -> None:
    add_chunked(layout, "1", [BASE, many_files("1")])
    add_chunked(layout, "2", [BASE, many_files("2")])
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
        "Parts (zstd:chunked): SIZE  (1 of 1 layer in parts; requests: 3)",
    ]


def test_a_broken_table_of_contents_means_whole_layers(layout: Layout) -> None:
    add_chunked(layout, "1", [many_files("1")])
    (layer,) = add_chunked(layout, "2", [many_files("2")]).layers
    blob = layout.blob(layer.descriptor.digest)
    blob.write_bytes(blob.read_bytes()[:-3000] + bytes(3000))
    assert plan(layout, "1", "2")["methods"]["parts"]["layersInParts"] == 0


@pytest.mark.parametrize("missing", ["1", "2"])
def test_an_image_that_is_not_there_is_told(layout: Layout, missing: str) -> None:
    layout.add("2" if missing == "1" else "1", [BASE])
    run = bootc("image", "plan", layout.reference("1"), layout.reference("2"))
    name = layout.reference(missing)
    there = "2" if missing == "1" else "1"
    assert run == Run(1, "", f"error: {name}: no image of this name (names in it: {there})\n")


def test_a_reference_needs_its_transport() -> None:
    run = bootc("image", "plan", "reg.example/os:1", "docker://reg.example/os:2")
    assert (run.code, run.out) == (1, "")
    assert run.err.startswith("error: invalid image reference 'reg.example/os:1': unknown transport 'reg.example/os'")


def test_every_key_is_documented(layout: Layout) -> None:
    layout.add("1", [BASE])
    layout.add("2", [many_files("2")])
    named = set(re.findall(r"`([\w-]+)`", DOCS.read_text()))
    assert keys(plan(layout, "1", "2")) <= named


def keys(value: object) -> set[str]:
    """The names of all fields."""
    if isinstance(value, list):
        return {key for item in value for key in keys(item)}
    if isinstance(value, dict):
        return {*value, *(key for item in value.values() for key in keys(item))}
    return set()
