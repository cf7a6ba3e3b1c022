"""The ostree backend proves itself; each test runs as if booted, in namespaces of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

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
    writes = PLUGIN.writes
    deviations: ClassVar[Mapping[str, str]] = {
        "test_names_that_are_not_utf_8": "ostree's directory objects hold names as UTF-8 text; the import is refused",
        "test_devices_and_pipes": "ostree has objects for files, links and directories only; the import is refused",
        "test_what_an_interrupted_import_left_is_not_trusted": "libostree takes an object for right by its name; "
        "`check` reads what objects hold",
        "test_an_order_says_nothing_of_what_is_staged": "libostree keeps the old order while a deployment is staged; "
        "the core drops what is staged before a rollback",
        "test_times_of_modification": "ostree's objects have no times: all files are of the first second of 1970",
    }

    @pytest.fixture
    def open_backend(self, machine: FakeMachine) -> Callable[[], Backend]:
        return lambda: PLUGIN.open(machine.context, OstreeOptions())
