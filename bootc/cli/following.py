"""Which image reference an upgrade follows, and as what a new one is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import evolve

from bootc.deployment import Deployment, Slots
from bootc.errors import DeploymentError, ReferenceError
from bootc.image import ImageReference

_IN_FILES = ("oci", "oci-archive", "docker-archive", "dir")


def anchored(reference: ImageReference) -> ImageReference:
    """A reference to files by their absolute path: upgrades run in other directories than the command that names it."""
    if reference.transport not in _IN_FILES:
        return reference
    path, colon, rest = (reference.name, "", "") if reference.transport == "dir" else reference.name.partition(":")
    return evolve(reference, name=f"{Path(path).absolute()}{colon}{rest}")


def named(name: str, transport: str, option: str, signature: str | None = None) -> ImageReference:
    """The reference that an argument and the option for its transport name together.

    Whoever writes a transport into the argument, too, would follow what no registry can have. Raises ReferenceError.
    """
    host, slash, _ = name.partition("@")[0].partition("/")
    before, colon, after = host.partition(":")
    if transport == "registry" and slash and colon and not after.isdigit() and not host.startswith("["):
        rest = name.partition(":")[2]
        plain = before == "docker" and rest.startswith("//")
        hint = f"write {rest[2:]}" if plain else f"write HOST/PATH:TAG, or use {option} for another transport"
        raise ReferenceError(name, "not the name of an image in a registry", hint)
    return anchored(ImageReference.of(name, transport, signature).canonical)


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
