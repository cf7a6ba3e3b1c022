"""The conformance suite of bootloaders; docs/contracts/bootloader.md is its text."""

from __future__ import annotations

from bootc.testing.bootloader_bench import MenuKind
from bootc.testing.bootloader_counting import CountingClauses
from bootc.testing.bootloader_fixtures import OpenBootloader, Start
from bootc.testing.bootloader_menu import InstallClauses, MenuClauses
from bootc.testing.bootloader_power import PowerClauses, RoomClauses

__all__ = ["BootloaderSuite", "MenuKind", "OpenBootloader", "Start"]


class BootloaderSuite(InstallClauses, MenuClauses, PowerClauses, RoomClauses, CountingClauses):
    """All clauses. A subclass brings `menus`, `capabilities`, the fixture `open_bootloader`; if it counts, `start`."""
