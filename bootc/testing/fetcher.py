"""The conformance suite of fetchers; docs/contracts/fetcher.md is its text."""

from __future__ import annotations

from bootc.testing.fetcher_blobs import BlobClauses
from bootc.testing.fetcher_failures import FailureClauses, LifeClauses
from bootc.testing.fetcher_hostile import HostileClauses
from bootc.testing.fetcher_place import OpenFetcher, Place
from bootc.testing.fetcher_resolving import ResolvingClauses

__all__ = ["FetcherSuite", "OpenFetcher", "Place"]


class FetcherSuite(ResolvingClauses, BlobClauses, FailureClauses, LifeClauses, HostileClauses):
    """All clauses. A subclass brings `transports`, `capabilities`, and the fixture `open_fetcher`."""
