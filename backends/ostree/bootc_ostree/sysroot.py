"""Opening libostree's view of the machine, and its lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bootc.durable import DirectoryVolume
from bootc.errors import LockedError
from bootc.machine import Machine
from bootc_ostree.glib import GLib, OSTree, explain, file, translated

REPOSITORY = "ostree/repo"
_BAD_ORIGIN = "move a damaged ostree/deploy/*/deploy/*.origin away; `bootc switch IMAGE` then says what to follow"
_BAD_ENTRY = (
    "correct the damaged file in boot/loader/entries (/proc/cmdline has the options of what runs); "
    "if it is another deployment's, it can be removed, and that one is forgotten"
)


def load(machine: Machine) -> OSTree.Sysroot:
    """The deployments as they are now. Takes no lock and waits for nobody."""
    sysroot = opened(machine)
    try:
        sysroot.load(None)
    except GLib.Error as error:
        hint = _BAD_ENTRY if "ostree=" in error.message else _BAD_ORIGIN
        raise explain(error, str(machine.root), hint) from error
    return sysroot


def opened(machine: Machine) -> OSTree.Sysroot:
    """The sysroot, not loaded yet. A booted one is `/`: only that way does libostree find what is booted.

    The core has made a mount namespace of its own before anything is written; libostree is told so, and may
    remount what is read-only in it.
    """
    sysroot = OSTree.Sysroot.new(file(Path("/") if machine.is_booted else machine.root))
    if machine.is_booted:
        sysroot.set_mount_namespace_in_use()
    return sysroot


@contextmanager
def locked(sysroot: OSTree.Sysroot, where: Path) -> Iterator[None]:
    """Hold libostree's own lock, which other tools take too. Raises LockedError instead of waiting."""
    with translated(str(where)):
        if not sysroot.try_lock()[1]:
            raise LockedError(f"libostree's lock on {where} is taken")
    try:
        yield
    finally:
        sysroot.unlock()


def repository(machine: Machine) -> OSTree.Repo:
    """The repository, opened."""
    repo = OSTree.Repo.new(file(machine.root / REPOSITORY))
    with translated(str(machine.root / REPOSITORY)):
        repo.open(None)
    return repo


def directory(machine: Machine, deployment: OSTree.Deployment) -> Path:
    """Where a deployment's tree lies."""
    return machine.root / relative_directory(deployment)


def relative_directory(deployment: OSTree.Deployment) -> PurePosixPath:
    """The same, below the sysroot."""
    name = f"{deployment.get_csum()}.{deployment.get_deployserial()}"
    return PurePosixPath("ostree/deploy", deployment.get_osname(), "deploy", name)


def boot_volume(machine: Machine) -> DirectoryVolume:
    """The /boot of the sysroot. On a booted system a separate one is mounted at /boot, not below the sysroot."""
    if machine.is_booted and machine.boot_filesystem:
        return DirectoryVolume(Path("/boot"), "boot")
    return DirectoryVolume(machine.root / "boot", "boot")


def file_size(machine: Machine, path: PurePosixPath) -> int | None:
    """Size of a file below the sysroot, or in its /boot; None if there is none."""
    if path.parts[:1] == ("boot",):
        return boot_volume(machine).size(path.relative_to("boot"))
    return machine.sysroot.size(path)
