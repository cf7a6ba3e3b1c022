"""The core's directory on a sysroot, and what is in it."""

from __future__ import annotations

from pathlib import PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.machine import Machine
from bootc.state import system as systems
from bootc.state.acceptances import Acceptances
from bootc.state.boots import Boots
from bootc.state.contents import DIRECTORY as CONTENTS
from bootc.state.contents import Contents
from bootc.state.references import References
from bootc.state.system import System


@frozen
class State:
    """The core's records of one sysroot."""

    sysroot: DirectoryVolume
    directory: PurePosixPath

    @classmethod
    def of(cls, machine: Machine) -> State:
        """Where the machine says it is."""
        return cls(machine.sysroot, machine.state)

    def system(self) -> System | None:
        """How this sysroot was installed; None if not by us. Raises StateError."""
        return systems.read_system(self.sysroot, self.directory)

    def write_system(self, system: System) -> None:
        """Record an installation. Raises StateError on a sysroot that only newer versions may change."""
        self.check_writable()
        systems.write_system(self.sysroot, self.directory, system)

    def check_writable(self) -> None:
        """Raise StateError if only a newer version of this tool may change the sysroot."""
        found = self.system()
        if found is not None:
            systems.check_writable(found, self.directory)

    @property
    def references(self) -> References:
        """What was seen of image references."""
        return References(self.sysroot, self.directory, self.check_writable)

    @property
    def acceptances(self) -> Acceptances:
        """Which images were accepted, and why."""
        return Acceptances(self.sysroot, self.directory, self.check_writable)

    @property
    def boots(self) -> Boots:
        """What has yet to prove that it boots, and what failed to."""
        return Boots(self.sysroot, self.directory, self.check_writable)

    @property
    def contents(self) -> Contents:
        """Where contents of layers lie in the trees of images."""
        return Contents(self.sysroot, self.directory / CONTENTS, self.check_writable)

    @property
    def spool(self) -> PurePosixPath:
        """Directory of blobs that are being fetched, below the sysroot."""
        return self.directory / "spool"

    def touch(self) -> None:
        """Set the time of the directory to now: `bootc-status-updated.path` watches it."""
        self.sysroot.touch(self.directory)
