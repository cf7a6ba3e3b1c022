"""The composefs backend proves itself, with both of its algorithms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bootc_composefs import bootc_storage_backends
from bootc_composefs.options import ComposefsOptions

from bootc.storage import Backend
from bootc.testing.fakes import FakeMachine
from bootc.testing.storage import StorageBackendSuite

pytestmark = pytest.mark.root

(PLUGIN,) = bootc_storage_backends()


class TestComposefs(StorageBackendSuite):
    capabilities = PLUGIN.capabilities

    @pytest.fixture
    def open_backend(self, machine: FakeMachine) -> Callable[[], Backend]:
        return lambda: PLUGIN.open(machine.context, ComposefsOptions())


class TestComposefsWithSha512(TestComposefs):
    @pytest.fixture
    def open_backend(self, machine: FakeMachine) -> Callable[[], Backend]:
        return lambda: PLUGIN.open(machine.context, ComposefsOptions(algorithm="sha512"))
