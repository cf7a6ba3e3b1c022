"""The container that an installation runs in: which image it is, and whether it may install itself."""

from __future__ import annotations

import os
import re
from pathlib import Path

from attrs import frozen

from bootc.errors import HostError
from bootc.image import ImageReference

ENVIRONMENT = Path("run/.containerenv")

_LINE = re.compile(r'(\w+)="?([^"]*)"?')


@frozen
class Container:
    """What podman says of the container in which we run."""

    image: str
    """name with tag, as it was given to `podman run`"""
    image_id: str

    @property
    def source(self) -> ImageReference:
        """The image in the host's storage, exactly this one."""
        return ImageReference.of(self.image_id, "containers-storage")


def running_container(root: Path = Path("/")) -> Container:
    """The privileged podman container in which this runs. Raises HostError if it is none or may not install."""
    try:
        text = (root / ENVIRONMENT).read_text()
    except OSError as error:
        raise HostError(
            "Either --source-imgref must be defined or this command must be executed inside a podman container."
        ) from error
    lines = map(_LINE.fullmatch, text.splitlines())
    found = {match[1]: match[2] for match in lines if match}
    if found.get("rootless") == "1":
        raise HostError("Cannot install from rootless podman; this command must be run as root")
    if not found.get("engine", "").startswith("podman"):
        hint = "an empty /run/.containerenv means that the container is not --privileged"
        raise HostError("Currently this command only supports being executed via podman", hint)
    if os.getpid() == 1:
        raise HostError("This command must be run with the podman --pid=host flag")
    if not re.fullmatch(r"[0-9a-f]{64}", found.get("imageid", "")):
        raise HostError("Invalid empty imageid", "run the container from an image, not from a root directory")
    return Container(found.get("image") or found["imageid"], found["imageid"])
