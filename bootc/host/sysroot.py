"""Where the system lies: the running one, or the one below a directory."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from attrs import frozen

from bootc.deployment import KernelArguments
from bootc.durable import DirectoryVolume, Observer
from bootc.errors import HostError, TargetError
from bootc.machine import Machine

KERNEL_ARGUMENT = "bootc.deployment"
"""`bootc.deployment=ID` on the kernel command line marks a system that we booted without ostree"""

UNKNOWN_STATE = PurePosixPath("bootc")
"""stands for the state directory until the backend is known; nothing is written there"""


@frozen
class Location:
    """A physical root, and whether it is the running system's."""

    volume: DirectoryVolume
    run: Path | None

    @property
    def root(self) -> Path:
        """Its path on this system."""
        return self.volume.root

    @property
    def is_booted(self) -> bool:
        """Whether it is the running system."""
        return self.run is not None

    def machine(self, state: PurePosixPath) -> Machine:
        """The machine, with the core's records at `state`; disk, filesystems and ESP are not known yet."""
        return Machine(sysroot=self.volume, state=state, run=self.run)


def locate(sysroot: Path | None = None, root: Path = Path("/"), observer: Observer | None = None) -> Location:
    """Find the physical root: the given directory, or that of the running system, whose files are below `root`.

    A directory that is the running system's own counts as the running system. TargetError if it is no directory,
    HostError if none is given and the running system is not ours.
    """
    running = root / "sysroot"
    is_ours = is_booted(root)
    if sysroot is None:
        if not is_ours:
            raise HostError("System not booted via bootc", "use --sysroot PATH for a system that is mounted elsewhere")
        return Location(DirectoryVolume(running, observer=observer), root / "run")
    if not sysroot.is_dir():
        raise TargetError(str(sysroot), "not a directory" if sysroot.exists() else "no such directory")
    if is_ours and (_is_same(sysroot, running) or _is_same(sysroot, root)):
        return Location(DirectoryVolume(running, observer=observer), root / "run")
    return Location(DirectoryVolume(sysroot.absolute(), observer=observer), None)


def open_machine(
    sysroot: Path | None = None,
    state: PurePosixPath = UNKNOWN_STATE,
    root: Path = Path("/"),
    observer: Observer | None = None,
) -> Machine | None:
    """The machine at `locate`; None if no sysroot is given and the running system is not ours. Raises TargetError.

    Where the records are depends on the backend, which is read from the sysroot: `state` may be given later.
    """
    if sysroot is None and not is_booted(root):
        return None
    return locate(sysroot, root, observer).machine(state)


def is_booted(root: Path = Path("/")) -> bool:
    """Whether the running system is a deployment."""
    if (root / "run/ostree-booted").exists():
        return True
    try:
        arguments = (root / "proc/cmdline").read_text(errors="replace")
    except OSError:
        return False
    return KernelArguments.parse(arguments).value(KERNEL_ARGUMENT) is not None


def _is_same(first: Path, second: Path) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False
