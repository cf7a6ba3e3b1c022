"""Fetcher plugin `registry`: the OCI distribution protocol, OCI layouts and archives, and skopeo's `dir:`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from bootc.fetcher import Fetcher
from bootc.hookspec import Capability, Context, FetcherPlugin, hookimpl
from bootc_registry.options import RegistryOptions


def _unavailable() -> str | None:
    return None if find_spec("requests") else "the Python library `requests` is not installed"


def _open(context: Context, options: RegistryOptions) -> Fetcher:
    from bootc_registry.fetcher import RegistryFetcher

    return RegistryFetcher(context, options)


PLUGIN = FetcherPlugin(
    name="registry",
    summary="images from registries, OCI layouts and archives, in this process",
    options=RegistryOptions,
    open=_open,
    capabilities=frozenset({Capability.PEEK, Capability.EXPLAIN, Capability.RANGES}),
    unavailable=_unavailable,
    transports=frozenset({"registry", "oci", "oci-archive", "dir"}),
    priority=10,
)


@hookimpl
def bootc_fetchers() -> Sequence[FetcherPlugin[RegistryOptions]]:
    """Offer the fetcher that needs no other program."""
    return [PLUGIN]
