"""Plugin `skopeo`: fetches images through skopeo's image proxy: slow, and good for every transport."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootc.fetcher import Fetcher
from bootc.hookspec import Capability, Context, FetcherPlugin, hookimpl
from bootc.image import TRANSPORTS
from bootc.machine import find_program
from bootc_skopeo.options import Options


def _open(context: Context, options: Options) -> Fetcher:
    from bootc_skopeo.fetcher import SkopeoFetcher

    return SkopeoFetcher(context, options)


def _unavailable() -> str | None:
    return None if find_program("skopeo") else "skopeo is not installed"


@hookimpl
def bootc_fetchers() -> Sequence[FetcherPlugin[Any]]:
    """One fetcher, for what no other one takes."""
    return (
        FetcherPlugin(
            name="skopeo",
            summary="every transport, through skopeo's image proxy",
            options=Options,
            open=_open,
            capabilities=frozenset({Capability.EXPLAIN}),
            unavailable=_unavailable,
            transports=frozenset(TRANSPORTS),
            priority=0,
        ),
    )
