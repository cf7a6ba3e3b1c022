"""What the parts of the storage suite share: the machine, the backend, and a system of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

import pytest

from bootc.deployment import KernelArguments
from bootc.storage import Backend
from bootc.testing.fakes import EXT4, FakeMachine, mount_root
from bootc.testing.storage.system import System
from bootc.testing.suite import ConformanceSuite


class StorageSuite(ConformanceSuite):
    """Fixtures of a backend's class."""

    runs_in_child = True

    mkfs: ClassVar[Sequence[str]] = EXT4
    """the program that makes the sysroot's filesystem, and its options"""

    writes: ClassVar[str] = "recorded"
    """as the plugin's record says: `opaque` if changes do not go through volumes, so that they cannot be replayed"""

    @staticmethod
    def mount_root(physical: Path, arguments: KernelArguments, at: Path) -> None:
        """What the initramfs does for this backend: mount at `at` the root that its kernel arguments ask for."""
        mount_root(physical, arguments, at)

    @pytest.fixture
    def machine(self) -> FakeMachine:
        """An empty sysroot, nothing booted."""
        return FakeMachine(state=PurePosixPath("bootc-testing"), mkfs=self.mkfs, mount_root=self.mount_root)

    @pytest.fixture
    def open_backend(self, machine: FakeMachine) -> Callable[[], Backend]:
        """Opens the backend on the machine, again and again."""
        raise NotImplementedError(f"{type(self).__name__} must define the fixture open_backend")

    @pytest.fixture
    def system(self, machine: FakeMachine, open_backend: Callable[[], Backend]) -> System:
        """A system on which nothing is installed yet."""
        return System(machine, open_backend)
