"""Boot links of our own: `ostree=/ostree/boot-0/<stateroot>/<commit>/<serial>`.

libostree's links below `/ostree/boot.N` are replaced at every change, in the same breath as its own boot entries. A
menu that another bootloader holds would then name what is gone. These links stay for as long as their deployments, and
have the form that ostree-prepare-root(8) wants.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from bootc.durable import DirectoryVolume
from bootc_ostree.glib import OSTree
from bootc_ostree.sysroot import relative_directory

_LINKS = PurePosixPath("ostree/boot-0")


def path_of(deployment: OSTree.Deployment) -> PurePosixPath:
    """Where the link of a deployment lies, below the sysroot."""
    return _LINKS.joinpath(deployment.get_osname(), deployment.get_csum(), str(deployment.get_deployserial()))


def exists(sysroot: DirectoryVolume, deployment: OSTree.Deployment) -> bool:
    """Whether the link of a deployment is there."""
    return sysroot.read_link(path_of(deployment)) == _target(deployment)


def make(sysroot: DirectoryVolume, deployment: OSTree.Deployment) -> None:
    """Make the link of a deployment, unless it is there."""
    if not exists(sysroot, deployment):
        sysroot.make_directories(path_of(deployment).parent)
        sysroot.link(_target(deployment), path_of(deployment))


def prune(sysroot: DirectoryVolume, deployments: Collection[OSTree.Deployment]) -> None:
    """Remove all links but those of these deployments. No menu may name the others any more."""
    needed = {path_of(deployment) for deployment in deployments}
    _prune(sysroot, _LINKS, needed | {parent for path in needed for parent in path.parents})


def _prune(sysroot: DirectoryVolume, directory: PurePosixPath, needed: Collection[PurePosixPath]) -> None:
    for name in sysroot.names(directory):
        path = directory / name
        if path not in needed:
            sysroot.remove(path)
        elif sysroot.is_directory(path):
            _prune(sysroot, path, needed)


def _target(deployment: OSTree.Deployment) -> str:
    return str(PurePosixPath("../../..") / relative_directory(deployment).relative_to("ostree"))
