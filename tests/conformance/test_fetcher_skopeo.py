"""The fetcher `skopeo` against the contract of fetchers."""

from collections.abc import Mapping
from typing import ClassVar

import pytest
from bootc_skopeo import bootc_fetchers
from bootc_skopeo.fetcher import SkopeoFetcher
from bootc_skopeo.options import Options

from bootc.testing.fetcher import FetcherSuite, OpenFetcher

(PLUGIN,) = bootc_fetchers()


class TestSkopeoFetcher(FetcherSuite):
    transports = PLUGIN.transports
    capabilities = PLUGIN.capabilities
    deviations: ClassVar[Mapping[str, str]] = {
        "test_token_servers_that_nobody_vouches_for": "skopeo sends a login to any token server that is named",
    }

    @pytest.fixture
    def open_fetcher(self) -> OpenFetcher:
        return lambda context, place: SkopeoFetcher(
            context,
            Options(insecure=place.insecure, authfile=str(place.authfile), read_timeout=place.silence),
            retries=(0.01, 0.01),
        )
