"""The global options of a command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from bootc.session import Selection


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
    authfile: Path | None = None
    """an option of the installers only"""

    @property
    def selection(self) -> Selection:
        """What a session needs to know of them."""
        from bootc.session import Selection

        return Selection(self.sysroot, self.backend, self.fetcher, self.bootloader, self.config, self.authfile)
