"""Empty sysroots as libostree makes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootc_ostree.glib import OSTree, file

from tests.ostree_images import mutable_afterwards


@contextmanager
def new_sysroot(folder: Path) -> Iterator[Path]:
    """One in this folder, of which everything can be removed afterwards."""
    root = folder / "sysroot"
    root.mkdir()
    OSTree.Sysroot.new(file(root)).ensure_initialized(None)
    with mutable_afterwards(root):
        yield root
