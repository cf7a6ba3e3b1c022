"""A filesystem does not stay frozen when we are killed.

To bring boot entries to the disk, libostree freezes the filesystem of /boot and thaws it at once. It forks a watchdog
for the case that it dies in between, but that one takes its parent's end for success (2022.7 and its successors so
far). A process that is killed then, by who runs out of memory or patience, leaves a machine on which every write waits
for ever. So a child of our own looks after it. It is loaded before, for on a frozen filesystem no program should have
to be started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bootc.machine import Command, end

_PATIENCE = 10.0
_FITHAW = 0xC0045878
_SCRIPT = f"""
import fcntl, os, sys
boot = os.open(sys.argv[1], os.O_RDONLY)
if not os.read(0, 1):
    fcntl.ioctl(boot, {_FITHAW})
"""


@contextmanager
def thawed_after_death(boot: Path) -> Iterator[None]:
    """If this process dies in here, or what it does here fails, the filesystem that holds `boot` is thawed."""
    reader, writer = os.pipe()
    try:
        argv = (sys.executable, "-I", "-S", "-B", "-c", _SCRIPT, str(boot))
        child = Command(argv, "thaw a filesystem that libostree left frozen").start(stdin=reader)
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    try:
        yield
        with suppress(OSError):
            os.write(writer, b"!")
    finally:
        os.close(writer)
        end(child, _PATIENCE)
