"""Which plugins the command line of pytest named, for the conformance of plugins by their names."""

from __future__ import annotations

from attrs import define


@define
class Selection:
    """Names of plugins; None: no suite is run for that kind."""

    backend: str | None = None
    fetcher: str | None = None
    bootloader: str | None = None


selected = Selection()
"""set by `bootc.testing.plugin` before tests are collected"""
