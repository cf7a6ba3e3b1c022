"""What an update will cost, as it is told."""

from __future__ import annotations

import enum

from attrs import frozen

from bootc.image import Digest


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
