"""What a boot mounts: the root as the initramfs puts it together, and the surroundings of a process that runs in it."""

from __future__ import annotations

import os
from importlib.resources import as_file, files
from pathlib import Path

from bootc.deployment import KernelArguments
from bootc.errors import HostError
from bootc.machine import Command
from bootc.system.initramfs import PLAN_ARGUMENT
from bootc.testing.fakes.images import python_directories

_OSTREE_ARGUMENT = "ostree"


def mount_root(physical: Path, arguments: KernelArguments, at: Path) -> None:
    """Mount at `at` the root that the kernel command line asks for, as an initramfs does.

    `bootc.plan=` is carried out by the script that is in real initramfs, `ostree=` as ostree-prepare-root(1) says.
    """
    at.mkdir(exist_ok=True)
    if arguments.value(PLAN_ARGUMENT) is not None:
        bind(physical, at)
        with as_file(files("bootc.system.initramfs").joinpath("mount-root")) as script:
            Command(("sh", str(script), str(at)), "mount the root by its plan").run()
    elif looks_at_root(arguments):
        _mount_ostree(physical, str(arguments.value(_OSTREE_ARGUMENT)), at)
    else:
        raise HostError(f"no initramfs knows what to mount: {arguments}", "override `mount_root` of the suite")


def looks_at_root(arguments: KernelArguments) -> bool:
    """Whether what is booted is told by what `/` is (libostree), so that commands must run in there."""
    return arguments.value(_OSTREE_ARGUMENT) is not None


def mount_surroundings(root: Path, at: Path) -> None:
    """Mount at `at` a root in which this machine's programs run: its /usr, /proc, /dev, /tmp and what Python needs."""
    at.mkdir(exist_ok=True)
    bind(root, at)
    for path in (Path("/usr"), Path("/proc"), Path("/dev"), Path("/run"), Path("/tmp"), *python_directories()):  # noqa: S108
        bind(path, Path(f"{at}{path}"))


def bind(source: Path, at: Path, *, with_mounts: bool = True) -> None:
    """Show a directory or file in another place, with or without what is mounted below it."""
    Command(
        ("mount", "--rbind" if with_mounts else "--bind", str(source), str(at)), "mount the fake machine's directories"
    ).run()


def unmount(at: Path) -> None:
    """Take away a mount and all below it, used or not."""
    Command(("umount", "--recursive", "--lazy", str(at)), "unmount").run()


def _mount_ostree(physical: Path, link: str, at: Path) -> None:
    deployment = Path(os.path.realpath(physical / link.lstrip("/")))
    bind(deployment, at)
    bind(deployment.parents[1] / "var", at / "var")
    bind(physical, at / "sysroot")
    bind(physical / "boot", at / "boot")
