"""The ostree backend proves itself; each test runs as if booted, in namespaces of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bootc_ostree import bootc_storage_backends
from bootc_ostree.options import OstreeOptions

from bootc.storage import Backend
from bootc.testing.fakes import FakeMachine
from bootc.testing.storage import StorageBackendSuite

pytestmark = pytest.mark.root

(PLUGIN,) = bootc_storage_backends()


class TestOstree(StorageBackendSuite):
    capabilities = PLUGIN.capabilities

    @pytest.fixture
    def open_backend(self, machine: FakeMachine) -> Callable[[], Backend]:
        return lambda: PLUGIN.open(machine.context, OstreeOptions())
