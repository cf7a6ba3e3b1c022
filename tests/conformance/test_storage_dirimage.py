"""The dirimage backend proves itself: with two slots that take turns, and with a third that spares the rollback."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bootc_dirimage import bootc_storage_backends
from bootc_dirimage.options import DirimageOptions

from bootc.storage import Backend
from bootc.testing.fakes import FakeMachine
from bootc.testing.storage import StorageBackendSuite

pytestmark = pytest.mark.root

(PLUGIN,) = bootc_storage_backends()
THREE = DirimageOptions(slots=3)


class TestDirimage(StorageBackendSuite):
    @pytest.fixture
    def open_backend(self, machine: FakeMachine) -> Callable[[], Backend]:
        return lambda: PLUGIN.open(machine.context, DirimageOptions())


class TestDirimageWithThreeSlots(StorageBackendSuite):
    capabilities = PLUGIN.capabilities_with(THREE)

    @pytest.fixture
    def open_backend(self, machine: FakeMachine) -> Callable[[], Backend]:
        return lambda: PLUGIN.open(machine.context, THREE)
