"""The conformance suite of storage backends; docs/contracts/storage.md has the clauses.

class TestMine(StorageBackendSuite):
    capabilities = frozenset({Capability.PIN, Capability.SPARE})

    @pytest.fixture
    def open_backend(self, machine):
        return lambda: MINE.open(machine.context, MyOptions())
"""

from bootc.testing.storage.contents import Contents
from bootc.testing.storage.failures import Damage, Full, Killed
from bootc.testing.storage.importing import FreshSysroot, Importing
from bootc.testing.storage.keeping import Collecting, Lasting, Sparing
from bootc.testing.storage.local import Local
from bootc.testing.storage.ordering import Ordering
from bootc.testing.storage.power_cuts import PowerCuts
from bootc.testing.storage.staging import Finalizing, Staging
from bootc.testing.storage.system import System
from bootc.testing.storage.together import Together

__all__ = ["StorageBackendSuite", "System"]


class StorageBackendSuite(
    FreshSysroot,
    Importing,
    Contents,
    Staging,
    Finalizing,
    Ordering,
    Local,
    Lasting,
    Collecting,
    Sparing,
    Together,
    Full,
    Damage,
    Killed,
    PowerCuts,
):
    """Everything that the contract says; derive from it, and define the fixture `open_backend`."""
