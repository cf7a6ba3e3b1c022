"""The bootloaders that come with the tool: records only; each is imported when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

from attrs import frozen

from bootc.bootloader import Bootloader
from bootc.hookspec import BootloaderPlugin, Capability, Context, NoOptions, hookimpl
from bootc.machine import Machine


@frozen
class MenuOptions:
    """`[bootloaders.systemd-boot]`, `[bootloaders.grub]`."""

    timeout: int = 3
    """seconds that the menu is shown; written at install"""


def _open_systemd_boot(context: Context, options: MenuOptions) -> Bootloader:
    from bootc.bootloaders.systemd_boot import SystemdBoot

    return SystemdBoot(context.machine, options.timeout)


def _open_grub(context: Context, options: MenuOptions) -> Bootloader:
    from bootc.bootloaders.grub import Grub

    return Grub(context.machine, options.timeout)


def _open_none(context: Context, options: NoOptions) -> Bootloader:
    from bootc.bootloaders.none import NoBootloader

    return NoBootloader()


def _starts_by_systemd_boot(machine: Machine) -> bool:
    names = machine.esp.names(PurePosixPath("EFI/systemd")) if machine.esp else ()
    return any(name.lower().startswith("systemd-boot") for name in names)


def _require(name: str) -> Callable[[Machine], None]:
    def require(machine: Machine) -> None:
        from bootc.bootloaders import support

        support.require(name, machine.firmware, machine.boot_filesystem or machine.filesystem)

    return require


def _starts_by_grub(machine: Machine) -> bool:
    return machine.esp is not None and machine.esp.size(PurePosixPath("EFI/bootc/grub.cfg")) is not None


@hookimpl
def bootc_bootloaders() -> Sequence[BootloaderPlugin[Any]]:
    """systemd-boot, GRUB, and none."""
    return (
        BootloaderPlugin(
            name="systemd-boot",
            summary="entries and kernels on the EFI system partition, with boot counting",
            options=MenuOptions,
            open=_open_systemd_boot,
            capabilities=frozenset({Capability.BOOT_COUNTING}),
            probe=_starts_by_systemd_boot,
            require=_require("systemd-boot"),
        ),
        BootloaderPlugin(
            name="grub",
            summary="GRUB, UEFI and BIOS, following the boot directory that the backend keeps, with boot counting",
            options=MenuOptions,
            open=_open_grub,
            capabilities=frozenset({Capability.BOOT_COUNTING}),
            menus=frozenset({"directory"}),
            probe=_starts_by_grub,
            require=_require("grub"),
        ),
        BootloaderPlugin(
            name="none",
            summary="nothing is installed: someone else starts the machine",
            options=NoOptions,
            open=_open_none,
            probe=lambda machine: False,
        ),
    )
