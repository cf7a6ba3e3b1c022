"""The fetcher `registry` against the contract of fetchers."""

import pytest
from bootc_registry import PLUGIN
from bootc_registry.fetcher import RegistryFetcher
from bootc_registry.options import RegistryOptions

from bootc.testing.fetcher import FetcherSuite, OpenFetcher


class TestRegistryFetcher(FetcherSuite):
    transports = PLUGIN.transports
    capabilities = PLUGIN.capabilities

    @pytest.fixture
    def open_fetcher(self) -> OpenFetcher:
        return lambda context, place: RegistryFetcher(
            context,
            RegistryOptions(
                insecure=place.insecure,
                authfile=str(place.authfile),
                connect_timeout=place.silence,
                read_timeout=place.silence,
                retries=2,
                backoff=0.01,
            ),
        )


class TestWithoutRegistries(TestRegistryFetcher):
    """As a fetcher for files only would be tested."""

    transports = frozenset({"oci"})
