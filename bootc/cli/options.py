"""The global options of a command line."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen
class GlobalOptions:
    """What stands before the command's name; each command finds it as `context.obj`."""

    sysroot: Path | None = None
    """None: the running system"""
    backend: str | None = None
    fetcher: str | None = None
    bootloader: str | None = None
    config: Path | None = None
    is_verbose: bool = False
