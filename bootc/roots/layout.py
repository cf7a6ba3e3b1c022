"""What lies where, below the directory of a backend, and names that come once.

    NAME/
      state.json             boot order, pins, the last number that was given out
      deployments/ID/        `deployment.json`; `mounts`, the mount plan; `etc/`, its own /etc
      var/STATEROOT/         the /var that all deployments of a stateroot share

ID is `NUMBER-DIGEST`, with twelve digits of the image's manifest digest; numbers are never given out again. A name
with `.partial` is being built, one with `.removed` is on its way out: neither counts, `clean` removes both.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume, release_tree
from bootc.errors import FileSystemError
from bootc.image import Digest

DEPLOYMENT, MOUNTS, ETC = "deployment.json", "mounts", "etc"
PARTIAL, REMOVED = ".partial", ".removed"

_NAME = re.compile(r"([1-9]\d{0,17})-[0-9a-f]{12}")


@frozen
class Layout:
    """Paths of one backend, below the sysroot."""

    name: str
    """of the backend, and of its directory"""
    numbered: tuple[str, ...] = ()
    """its further directories in which names begin with numbers"""

    @property
    def base(self) -> PurePosixPath:
        """All that is the backend's."""
        return PurePosixPath(self.name)

    @property
    def state(self) -> PurePosixPath:
        """The one record that decides what is booted."""
        return self.base / "state.json"

    @property
    def deployments(self) -> PurePosixPath:
        """One directory for each."""
        return self.base / "deployments"

    @property
    def var(self) -> PurePosixPath:
        """One directory for each stateroot."""
        return self.base / "var"


def name_of(number: int, digest: Digest) -> str:
    """The name of a deployment, or of another thing that is made once."""
    return f"{number}-{digest.short}"


def number_of(name: str) -> int | None:
    """The number in such a name; None for all other names."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def whole(volume: DirectoryVolume, directory: PurePosixPath) -> tuple[str, ...]:
    """The names of finished things in a directory, the newest first."""
    names = [(number_of(name) or 0, name) for name in volume.names(directory)]
    return tuple(name for number, name in sorted(names, reverse=True) if number)


def build_at(path: PurePosixPath) -> PurePosixPath:
    """Where a directory is built before it is renamed to `path`."""
    return path.with_name(path.name + PARTIAL)


def discard(volume: DirectoryVolume, path: PurePosixPath) -> None:
    """Remove a directory; from the first step on nobody takes it for whole."""
    if path.name.endswith((PARTIAL, REMOVED)):
        _remove(volume, path)
    elif volume.exists(path):
        removed = path.with_name(path.name + REMOVED)
        _remove(volume, removed)
        volume.rename(path, removed)
        _remove(volume, removed)


def _remove(volume: DirectoryVolume, path: PurePosixPath) -> None:
    """Also where somebody made files of an /etc immutable: they protected what ran, not what is thrown away."""
    try:
        volume.remove(path)
    except FileSystemError:
        if not release_tree(volume.path(path)):
            raise
        volume.remove(path)
