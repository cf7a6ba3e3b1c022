"""Conformance of installed plugins by their names.

    pytest -p bootc.testing.plugin --pyargs bootc.testing.conformance --bootc-backend NAME

A plugin is opened with the default values of its options (a fetcher: with the suite's registry and credentials, and
little patience, if it has options of the names in `Place.options`), and held to the capabilities that its record
declares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from bootc.bootloader import Bootloader
from bootc.fetcher import Fetcher
from bootc.hookspec import Context
from bootc.machine import Machine
from bootc.plugins import Plugins
from bootc.storage import Backend
from bootc.testing.bootloader import BootloaderSuite, MenuKind, OpenBootloader
from bootc.testing.fakes import EXT4, MKFS, FakeMachine
from bootc.testing.fetcher import FetcherSuite, OpenFetcher, Place
from bootc.testing.selection import selected
from bootc.testing.storage import StorageBackendSuite

if selected.backend is not None:
    BACKEND = Plugins.load().backend(selected.backend)

    class TestBackend(StorageBackendSuite):
        """The backend that `--bootc-backend` names."""

        capabilities = BACKEND.capabilities_with(BACKEND.options())
        writes = BACKEND.writes
        deviations = selected.deviations
        mkfs = MKFS[BACKEND.filesystems[0]] if BACKEND.filesystems else EXT4

        @pytest.fixture
        def open_backend(self, machine: FakeMachine) -> Callable[[], Backend]:
            """As the core opens it."""
            return lambda: BACKEND.open(machine.context, BACKEND.options())


if selected.fetcher is not None:
    FETCHER = Plugins.load().fetcher(selected.fetcher)

    class TestFetcher(FetcherSuite):
        """The fetcher that `--bootc-fetcher` names."""

        capabilities = FETCHER.capabilities_with(FETCHER.options())
        transports = FETCHER.transports
        deviations = selected.deviations

        @pytest.fixture
        def open_fetcher(self) -> OpenFetcher:
            """As the core opens it, with what the suite's place needs."""

            def open_at(context: Context, place: Place) -> Fetcher:
                known = {field.name for field in attrs.fields(FETCHER.options)}
                given: dict[str, Any] = {key: value for key, value in place.options.items() if key in known}
                return FETCHER.open(context, FETCHER.options(**given))

            return open_at


if selected.bootloader is not None:
    BOOTLOADER = Plugins.load().bootloader(selected.bootloader)

    class TestBootloader(BootloaderSuite):
        """The bootloader that `--bootc-bootloader` names; its boot counting needs a class with a fixture `start`."""

        capabilities = BOOTLOADER.capabilities_with(BOOTLOADER.options())
        menus = frozenset(map(MenuKind, BOOTLOADER.menus))
        deviations = selected.deviations

        @pytest.fixture
        def open_bootloader(self) -> OpenBootloader:
            """As the core opens it."""

            def open_on(machine: Machine) -> Bootloader:
                return BOOTLOADER.open(Context(machine, lambda event: None, lambda: None), BOOTLOADER.options())

            return open_on
