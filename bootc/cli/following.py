"""Which image reference an upgrade follows, and as what a new one is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import evolve

from bootc.deployment import Deployment, Slots
from bootc.errors import DeploymentError
from bootc.image import ImageReference

_IN_FILES = ("oci", "oci-archive", "docker-archive", "dir")


def anchored(reference: ImageReference) -> ImageReference:
    """A reference to files by their absolute path: upgrades run in other directories than the command that names it."""
    if reference.transport not in _IN_FILES:
        return reference
    path, colon, rest = (reference.name, "", "") if reference.transport == "dir" else reference.name.partition(":")
    return evolve(reference, name=f"{Path(path).absolute()}{colon}{rest}")


def followed(deployments: Sequence[Deployment], tag: str | None = None) -> ImageReference:
    """The reference of the staged deployment, else of the booted one, or of the default one of a sysroot at rest.

    `tag` replaces its tag. Raises DeploymentError if it has none.
    """
    slots = Slots.of(deployments)
    current = slots.staged or slots.booted or next(iter(deployments), None)
    if current and current.reference and not current.is_incompatible:
        return current.reference if tag is None else current.reference.with_tag(tag)
    if current and current.is_incompatible:
        raise DeploymentError(
            "Deployment contains local rpm-ostree modifications; cannot upgrade via bootc."
            " You can run `rpm-ostree reset` to undo the modifications."
        )
    if tag is not None:
        raise DeploymentError("--tag requires a booted image with a specified source")
    raise DeploymentError("No image source specified", "`bootc switch IMAGE` sets one")
