"""The conformance suite of storage backends; docs/contracts/storage.md has the clauses.

class TestMine(StorageBackendSuite):
    capabilities = frozenset({Capability.PIN, Capability.SPARE})

    @pytest.fixture
    def open_backend(self, machine):
        return lambda: MINE.open(machine.context, MyOptions())
"""

from bootc.testing.storage.contents import Contents
from bootc.testing.storage.importing import FreshSysroot, Importing
from bootc.testing.storage.staging import Finalizing, Staging
from bootc.testing.storage.system import System

__all__ = ["StorageBackendSuite", "System"]


class StorageBackendSuite(FreshSysroot, Importing, Contents, Staging, Finalizing):
    """Everything that the contract says; derive from it, and define the fixture `open_backend`."""
