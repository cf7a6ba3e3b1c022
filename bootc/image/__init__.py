"""Images as values: references in their spellings, digests, descriptors, and what manifest and config say."""

from bootc.image.digest import Digest
from bootc.image.images import Descriptor, Image, ImageSummary, ImportedImage, Layer
from bootc.image.reference import TRANSPORTS, ImageReference
from bootc.image.spelling import canonical_json, parse_time

__all__ = [
    "TRANSPORTS",
    "Descriptor",
    "Digest",
    "Image",
    "ImageReference",
    "ImageSummary",
    "ImportedImage",
    "Layer",
    "canonical_json",
    "parse_time",
]
