"""No bootloader: someone else starts the machine, by the entries that the backend keeps or by a kernel of their own."""

from __future__ import annotations

from bootc.bootloader import Bootloader
from bootc.deployment import BootMenu
from bootc.storage import Tree


class NoBootloader(Bootloader):
    """Installs and writes nothing, and knows of no entries: what the machine will start is not ours to say."""

    def check(self, tree: Tree) -> None:
        """Always fits."""

    def install(self, tree: Tree) -> None:
        """Nothing is installed."""

    def read(self) -> BootMenu:
        """An empty menu: nothing is known of what the machine offers."""
        return BootMenu()

    def write(self, menu: BootMenu, tries: int | None = None) -> None:
        """Nothing is written, so nothing is read back."""
