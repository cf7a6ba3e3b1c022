"""Which plugins the command line of pytest named, for the conformance of plugins by their names."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field


@define
class Selection:
    """Names of plugins; None: no suite is run for that kind."""

    backend: str | None = None
    fetcher: str | None = None
    bootloader: str | None = None
    deviations: Mapping[str, str] = field(factory=dict)
    """name of a test to the reason, from the file that was named"""


selected = Selection()
"""set by `bootc.testing.plugin` before tests are collected"""
