"""Which layers of an image are ordinary tar archives, and which hold ostree's own objects."""

from __future__ import annotations

from attrs import frozen

from bootc.errors import ImageError
from bootc.image import Image, Layer

FINAL_LABEL = "ostree.final-diffid"
"""label of the config: diffID of the last layer in ostree's form"""


@frozen
class Layout:
    """Which layers of an image are in ostree's form; without `commit`, none."""

    commit: Layer | None
    chunks: tuple[Layer, ...]
    ordinary: tuple[Layer, ...]

    @classmethod
    def of(cls, image: Image) -> Layout:
        """By the image's label. Raises ImageError if that names no layer."""
        final = image.labels.get(FINAL_LABEL)
        if final is None:
            return cls(None, (), image.layers)
        for index, layer in enumerate(image.layers):
            if str(layer.diff_id) == final:
                return cls(image.layers[0], image.layers[1 : index + 1], image.layers[index + 1 :])
        raise ImageError(str(image.reference), f"label {FINAL_LABEL} names no layer: {final[:150]}")

    @property
    def in_order(self) -> tuple[Layer, ...]:
        """The layers in the order of their import: the commit follows the contents that it needs."""
        return (*self.chunks, *((self.commit,) if self.commit else ()), *self.ordinary)
