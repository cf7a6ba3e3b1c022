"""The one door to GObject introspection, and how its errors become ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gi

from bootc.errors import BootcError, NoSpaceError, StoreError

gi.require_version("OSTree", "1.0")
from gi.repository import Gio, GLib, OSTree  # noqa: E402

__all__ = ["GLib", "Gio", "OSTree", "check_out", "explain", "is_not_found", "translated"]

_FULL = ("No space left on device", "Disk quota exceeded", "would be exceeded, at least")
"""the last one is ostree's own reserve, `min-free-space-*`"""


@contextmanager
def translated(where: str, hint: str | None = None) -> Iterator[None]:
    """Turn what libostree reports into StoreError (with the hint) or NoSpaceError; `where` says what was worked on."""
    try:
        yield
    except GLib.Error as error:
        raise explain(error, where, hint) from error


def explain(error: GLib.Error, where: str, hint: str | None = None) -> BootcError:
    """The typed error for one of libostree's."""
    message = str(error.message)
    is_full = error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.NO_SPACE)
    if is_full or any(phrase in message for phrase in _FULL):
        return NoSpaceError("ostree objects", where)
    return StoreError(where, message, hint)


def check_out(repo: OSTree.Repo, options: OSTree.RepoCheckoutAtOptions, commit: str, root: Path) -> None:
    """Write a commit's tree to `root`, which is not there yet and has a name in ASCII; its parent may have any name.

    Raises StoreError, NoSpaceError.
    """
    parent = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with translated(str(root)):
            repo.checkout_at(options, parent, root.name, commit, None)
    finally:
        os.close(parent)


def is_not_found(error: GLib.Error) -> bool:
    """Whether an error says that something is not there."""
    return bool(error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.NOT_FOUND))


def file(path: Path) -> Gio.File:
    """A path as GIO names it."""
    return Gio.File.new_for_path(os.fspath(path))
