"""The fetcher `skopeo` against the contract of fetchers."""

import pytest
from bootc_skopeo import bootc_fetchers
from bootc_skopeo.fetcher import SkopeoFetcher
from bootc_skopeo.options import Options

from bootc.testing.fetcher import FetcherSuite, OpenFetcher

(PLUGIN,) = bootc_fetchers()


class TestSkopeoFetcher(FetcherSuite):
    transports = PLUGIN.transports
    capabilities = PLUGIN.capabilities

    @pytest.fixture
    def open_fetcher(self) -> OpenFetcher:
        return lambda context, place: SkopeoFetcher(
            context, Options(insecure=place.insecure, authfile=str(place.authfile)), retries=(0.01, 0.01)
        )
