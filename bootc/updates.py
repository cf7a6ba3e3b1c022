"""What came of an upgrade, a switch or a check."""

from __future__ import annotations

import enum

from attrs import frozen

from bootc.deployment import Deployment
from bootc.image import Image, ImageReference, ImportedImage
from bootc.partial.prediction import Prediction
from bootc.state import Failure


class Change(enum.Enum):
    """What an upgrade or a switch did."""

    NONE = "none"
    """the booted (or default) deployment is this image already"""
    STAGED_BEFORE = "staged-before"
    """the staged deployment is this image already"""
    LOCKED = "locked"
    UNLOCKED = "unlocked"
    FAILED_BEFORE = "failed-before"
    """this image failed to boot here, and is not staged again unless told so"""
    UNCHANGED_REFERENCE = "unchanged-reference"
    """switch: the system follows this reference already"""
    STAGED = "staged"
    DEPLOYED = "deployed"
    """on a sysroot that is not booted: it is the default now"""


@frozen
class Update:
    """The outcome of an upgrade or a switch."""

    change: Change
    reference: ImageReference
    deployment: Deployment | None = None
    """the new one, or the one that is this image already"""
    previous: ImportedImage | None = None
    """what runs now, to compare with"""
    failure: Failure | None = None
    """how the image failed before"""


@frozen
class Check:
    """The outcome of `upgrade --check`: the newer image, if there is one."""

    reference: ImageReference
    image: Image | None
    previous: ImportedImage | None
    failure: Failure | None = None
    """the image failed to boot here, and an upgrade would not stage it"""
    prediction: Prediction | None = None
    """what an upgrade would fetch; None if there is nothing new"""
