"""Where files of the boot menu lie on this system."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from bootc.machine import Machine


def boot_directory(machine: Machine) -> Path:
    """/boot of the sysroot. On a booted system a separate /boot is mounted there, not below the sysroot."""
    if machine.is_booted and machine.boot_filesystem:
        return Path("/boot")
    return machine.root / "boot"


def on_machine(machine: Machine, path: PurePosixPath) -> Path:
    """A path below the sysroot, as a path of this system."""
    if path.parts[:1] == ("boot",):
        return boot_directory(machine).joinpath(*path.parts[1:])
    return machine.root / path


def boot_root(machine: Machine) -> Path:
    """The top directory of the filesystem that holds /boot: where a bootloader's absolute paths begin."""
    return boot_directory(machine) if machine.boot_filesystem else machine.root
