"""The bootloader interface: make the machine offer a boot menu."""

from __future__ import annotations

from abc import ABC, abstractmethod

from attrs import frozen

from bootc.deployment import BootMenu, DeploymentId
from bootc.storage import MenuFormat, Tree


class Bootloader(ABC):
    """Writes the menu that it is given, and can read back what the machine will offer. Knows nothing of images."""

    menu_format: MenuFormat = MenuFormat.BLS
    """what it reads from a `BootMenu.directory`"""

    @abstractmethod
    def check(self, tree: Tree) -> None:
        """Before anything is written: raise UnsupportedPairError or BootloaderError if `install` could not succeed."""

    @abstractmethod
    def install(self, tree: Tree) -> None:
        """Put the bootloader itself on the machine, from the image's files. Repeating it changes nothing."""

    @abstractmethod
    def read(self) -> BootMenu:
        """The entries of ours that are offered, the default first."""

    @abstractmethod
    def write(self, menu: BootMenu, tries: int | None = None) -> None:
        """Make the machine offer this menu: files first, one atomic switch, removals last; then read back and compare.

        Idempotent; an entry that is there already keeps its counter. `tries` (capability `boot-counting`) is how often
        the default, if it is new, or else the prepared entry once it becomes the default, may fail to boot.
        `menu.prepared` gets its files but no entry. Raises BootloaderError, NoSpaceError.
        """


@frozen
class Count:
    """How often the boot of an entry may still fail, and how often it was tried."""

    left: int
    done: int
    problem: str | None = None
    """why it does not run, although tries are left: the bootloader chose it last, could not start it, and went on"""


class BootCounting(ABC):
    """Capability `boot-counting`: an entry that fails to boot a number of times is passed over."""

    @abstractmethod
    def mark_good(self, deployment: DeploymentId) -> None:
        """The deployment booted well: its entry is counted no more."""

    @abstractmethod
    def count(self, deployment: DeploymentId) -> Count | None:
        """How a deployment's entry is counted at the moment; None if it is not."""

    def uncounted(self) -> str | None:
        """Why boots cannot be counted on this machine, although the bootloader can do it; None if they can."""
        return None

    def new_mark(self) -> str | None:
        """A kernel argument `bootc.key=…` for a new deployment, by which the bootloader will know it when it starts it;
        None if it needs none."""
        return None
