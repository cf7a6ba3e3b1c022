"""Bringing data to the disk while more of it is made, so that the sync in the end has less to wait for."""

from __future__ import annotations

import threading
from types import TracebackType

from bootc.durable.directory import DirectoryVolume
from bootc.errors import BootcError

_STEP = 64 << 20
"""bytes after which a sync is begun: less than that is left to the one in the end, which troubles the host's other
programs, whose data lies on the same filesystem, only once"""


class Writeback:
    """A context manager; leaving it waits for a sync that goes on. It replaces no sync, and counts as none.

    A volume that is observed is left alone: its steps have an order.
    """

    def __init__(self, volume: DirectoryVolume) -> None:
        self._volume = volume
        self._made = 0
        self._thread: threading.Thread | None = None
        self._error: BootcError | None = None

    def __enter__(self) -> Writeback:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._thread:
            self._thread.join()
        if self._error and kind is None:
            raise self._error

    def made(self, size: int) -> None:
        """Count bytes that were just written. Raises what an earlier sync failed with: the kernel tells that once."""
        self._made += size
        if self._made < _STEP or self._volume.is_observed or (self._thread and self._thread.is_alive()):
            return
        if self._error:
            raise self._error
        self._made = 0
        self._thread = threading.Thread(target=self._run, name="writeback")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._volume.sync()
        except BootcError as error:
            self._error = error
