"""What an update from one image to another would fetch, by each method; told without fetching a layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

from attrs import define, evolve, frozen

from bootc.cli.summary import prediction_document
from bootc.fetcher import Ranges, Readable, Source
from bootc.image import Descriptor, Image, Layer
from bootc.partial.known import Nothing
from bootc.partial.predicting import contents_of, predict
from bootc.partial.prediction import LayerPrediction, Method, Prediction
from bootc.partial.rule import Rule
from bootc.status import size_text

Document: TypeAlias = dict[str, Any]

_LABELS = {"image": "Whole image", "layers": "Whole layers", "parts": "Parts (zstd:chunked)"}


@frozen
class UpdatePlan:
    """Both images, and what fetching costs of the new one's layers. A layer that an image has twice counts once."""

    old: Image
    new: Image
    distinct: tuple[Layer, ...]
    """layers of the new image"""
    missing: tuple[Layer, ...]
    """those of them that the old one lacks, whichever compression it has them in"""
    prediction: Prediction
    """of a fetch of the missing layers, in parts where that means fewer bytes"""

    @property
    def metadata(self) -> int:
        """Bytes of the new image's manifest and config."""
        return len(self.new.manifest) + len(self.new.config)

    @property
    def in_parts(self) -> int:
        """How many layers would be fetched in parts."""
        return sum(layer.method is Method.PARTS for layer in self.prediction.layers)


def plan_update(old: Source, new: Source) -> UpdatePlan:
    """Compare two images. Reads the tables of contents of layers that have one. Raises FetchError."""
    present = {layer.diff_id for layer in old.image.layers}
    distinct = {layer.diff_id: layer for layer in new.image.layers}
    missing = tuple(layer for diff_id, layer in distinct.items() if diff_id not in present)
    known = contents_of(_served(old), old.image.layers) if missing else Nothing()
    predicted = predict(_served(new), missing, known, Rule("always"))
    prediction = Prediction(tuple(map(_cheaper, predicted.layers)))
    return UpdatePlan(old.image, new.image, tuple(distinct.values()), missing, prediction)


def _cheaper(layer: LayerPrediction) -> LayerPrediction:
    """Nobody would fetch parts that are more than the whole."""
    if layer.fetched < layer.size:
        return layer
    return evolve(layer, method=Method.WHOLE, fetched=layer.size, requests=1)


@frozen(slots=False)
class _AsIfRemote(Source, Ranges):
    """An image in files, as a registry would serve it: asked for parts, too."""

    image: Image
    _inner: Source
    is_local = False

    def open_blob(self, blob: Descriptor, start: int = 0) -> AbstractContextManager[Readable]:
        return self._inner.open_blob(blob, start)

    @contextmanager
    def open_range(self, blob: Descriptor, start: int, size: int) -> Iterator[Readable]:
        with self._inner.open_blob(blob, start) as stream:
            yield _Limited(stream, size)


@define
class _Limited:
    _stream: Readable
    _left: int

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _served(source: Source) -> Source:
    return _AsIfRemote(source.image, source) if source.is_local else source


def plan_lines(plan: UpdatePlan) -> list[str]:
    """For people."""
    layers, missing = len(plan.distinct), len(plan.missing)
    notes = {
        "image": _counted(layers),
        "layers": f"{_counted(missing)}; the old image has {layers - missing}",
        "parts": f"{plan.in_parts} of {_counted(missing)} in parts; requests: {plan.prediction.requests}",
    }
    width = max(map(len, _LABELS.values()))
    costs = ((name, size_text(cost["bytes"])) for name, cost in _methods(plan).items())
    return [
        f"From: {plan.old.reference}",
        f"      {_described(plan.old)}",
        f"To:   {plan.new.reference}",
        f"      {_described(plan.new)}",
        *(f"{_LABELS[name] + ':':<{width + 1}} {size:>10}  ({notes[name]})" for name, size in costs),
    ]


def plan_document(plan: UpdatePlan) -> Document:
    """For programs; docs/publishing.md has the format."""
    return {
        "old": _image(plan.old),
        "new": _image(plan.new),
        "metadataBytes": plan.metadata,
        "methods": _methods(plan),
        "missing": prediction_document(plan.prediction)["layers"],
    }


def _methods(plan: UpdatePlan) -> dict[str, dict[str, int]]:
    whole = {"image": plan.distinct, "layers": plan.missing}
    costs = {
        name: {"bytes": sum(layer.expected_size for layer in layers), "layers": len(layers), "requests": len(layers)}
        for name, layers in whole.items()
    }
    found = plan.prediction
    parts = {"bytes": found.fetched, "layers": len(found.layers), "requests": found.requests}
    return {**costs, "parts": {**parts, "layersInParts": plan.in_parts}}


def _image(image: Image) -> Document:
    return {
        "reference": str(image.reference),
        "digest": str(image.digest),
        "version": image.version,
        "layers": [{"digest": str(layer.descriptor.digest), "size": layer.expected_size} for layer in image.layers],
    }


def _described(image: Image) -> str:
    return f"{image.digest}" + (f" ({image.version})" if image.version else "")


def _counted(layers: int) -> str:
    return "1 layer" if layers == 1 else f"{layers} layers"
