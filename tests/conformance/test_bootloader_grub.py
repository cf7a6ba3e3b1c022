"""The bootloader `grub` against the contract of bootloaders."""

import pytest

from bootc.bootloaders.grub import Grub
from bootc.testing.bootloader import BootloaderSuite, MenuKind, OpenBootloader


class TestGrub(BootloaderSuite):
    menus = frozenset({MenuKind.DIRECTORY})

    @pytest.fixture
    def open_bootloader(self) -> OpenBootloader:
        return Grub
