"""What of a layer goes into its commit, and where to."""

from __future__ import annotations

import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from attrs import evolve

from bootc.errors import LayerError
from bootc.layers import Entry, EntryKind, printable

Label = Callable[[str, int], str | None]
"""the SELinux label for an absolute path of the image and its st_mode; None: the policy names none"""

REPOSITORY = b"sysroot/ostree/repo/"
_RUNTIME = frozenset((b"run", b"tmp", b"proc", b"sys", b"dev"))
_ALWAYS = frozenset((b"usr", b"etc", b"var"))
SELINUX = b"security.selinux"
_IN_MEMORY = 1 << 20
_TYPES = {EntryKind.FILE: stat.S_IFREG, EntryKind.SYMLINK: stat.S_IFLNK, EntryKind.DIRECTORY: stat.S_IFDIR}
_STORED = (*_TYPES, EntryKind.HARDLINK)


class Content(Protocol):
    """The bytes of one file, readable once."""

    def read(self, size: int, /) -> bytes:
        """The next ones, at most `size`; none only at the end."""


class Spooled:
    """Content that is kept until an entry asks for it; in memory as long as it is small."""

    def __init__(self, content: Content) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - lives as long as this object
        while data := content.read(_IN_MEMORY):
            self._file.write(data)
        self._file.seek(0)

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none only at the end."""
        return self._file.read(size)


class LayerFilter:
    """Rewrites the entries of one layer for its commit.

    `etc` moves to `usr/etc`; what lies below `run`, `tmp`, `proc`, `sys` and `dev` is dropped, and so is, with
    `keeps_toplevel` false, everything outside `usr`, `etc` and `var`. Device nodes, fifos and names that are not UTF-8
    cannot be stored: LayerError. Missing parents become entries of their own.
    """

    def __init__(self, *, keeps_toplevel: bool = True, label: Label | None = None) -> None:
        self._keeps_toplevel, self._label = keeps_toplevel, label
        self._directories = {b""}
        self._others: set[bytes] = set()
        self._aside: dict[bytes, tuple[Entry, Spooled]] = {}
        self._placed: dict[bytes, bytes] = {}
        self.implied: set[bytes] = {b""}
        """directories of the commit that no entry of the layer describes"""
        self.dropped: Counter[str] = Counter()
        """entries that an ostree system cannot have, by top-level name"""

    def rewrite(self, entry: Entry, content: Content) -> Iterator[tuple[Entry, Content]]:
        """The entries that take the place of this one, parents first."""
        if self._sets_aside(entry, content):
            return
        taken = self._from_aside(entry, content)
        path = self._place(entry.path)
        if taken is None or path is None:
            return
        entry, content = taken
        require_storable(entry)
        for parent in self._missing_parents(path):
            yield self._labelled(Entry(parent, EntryKind.DIRECTORY, 0o755, 0, 0, 0)), content
        if entry.is_implied and path in self._directories:
            return
        self._remember(entry, path)
        yield self._labelled(self._moved(entry, path)), content

    def _place(self, path: bytes) -> bytes | None:
        """Where a path of the image lies in the commit; None: dropped."""
        top, _, rest = path.partition(b"/")
        if top in (b"etc", b".wh.etc"):
            return b"usr/" + path
        if top in _RUNTIME:
            return None if rest else path
        if self._keeps_toplevel or not top or top.removeprefix(b".wh.") in _ALWAYS | _RUNTIME:
            return path
        self.dropped[printable(top)] += 1
        return None

    def _sets_aside(self, entry: Entry, content: Content) -> bool:
        """Keep a file that a build changed through a hard link to the base's object, until its real name comes."""
        if entry.kind is not EntryKind.FILE or entry.mtime <= 0 or not entry.path.startswith(REPOSITORY):
            return False
        self._aside[entry.path] = (entry, Spooled(content))
        return True

    def _from_aside(self, entry: Entry, content: Content) -> tuple[Entry, Content] | None:
        """A link to a file that was set aside becomes that file; later ones become links to the first."""
        if entry.kind is not EntryKind.HARDLINK or not entry.target.startswith(REPOSITORY) or entry.mtime <= 0:
            return entry, content
        if entry.target in self._aside:
            source, spooled = self._aside.pop(entry.target)
            self._placed[entry.target] = entry.path
            return evolve(source, path=entry.path), spooled
        first = self._placed.get(entry.target)
        return None if first is None else (evolve(entry, target=first), content)

    def _missing_parents(self, path: bytes) -> Iterator[bytes]:
        end = path.rfind(b"/")
        if end < 0 or path[:end] in self._directories:
            return
        parent = path[:end]
        yield from self._missing_parents(parent)
        self._directories.add(parent)
        self.implied.add(parent)
        yield parent

    def _remember(self, entry: Entry, path: bytes) -> None:
        if entry.kind is not EntryKind.DIRECTORY:
            self._others.add(path)
            return
        self._directories.add(path)
        if entry.is_implied:
            self.implied.add(path)
        else:
            self.implied.discard(path)

    def _moved(self, entry: Entry, path: bytes) -> Entry:
        if entry.kind is EntryKind.HARDLINK:
            target = self._place(entry.target)
            if target not in self._others:
                raise LayerError(printable(entry.path), f"hard link to {printable(entry.target)}, which is not stored")
            return evolve(entry, path=path, target=target)
        return entry if path == entry.path else evolve(entry, path=path)

    def _labelled(self, entry: Entry) -> Entry:
        """With the label of the policy; a label that the image itself brings never counts."""
        label = None
        if self._label and entry.kind is not EntryKind.HARDLINK:
            label = self._label(image_path(entry.path.decode()), entry.mode | _TYPES[entry.kind])
        if label is None and SELINUX not in entry.xattrs:
            return entry
        xattrs = {name: value for name, value in entry.xattrs.items() if name != SELINUX}
        return evolve(entry, xattrs=xattrs if label is None else xattrs | {SELINUX: label.encode() + b"\0"})


def image_path(path: str) -> str:
    """The absolute path that the image has for a path of the commit."""
    is_in_etc = path == "usr/etc" or path.startswith("usr/etc/")
    return f"/{path.removeprefix('usr/')}" if is_in_etc else f"/{path}"


def require_storable(entry: Entry) -> None:
    """Raise LayerError for what ostree has no object for."""
    if entry.kind not in _STORED:
        hint = "leave it out of the image; systemd-tmpfiles can make it at boot"
        raise LayerError(printable(entry.path), "ostree cannot store device nodes and fifos", hint)
    for name in (entry.path, entry.target if entry.kind is EntryKind.SYMLINK else b""):
        try:
            name.decode()
        except UnicodeDecodeError as error:
            raise LayerError(printable(entry.path), "ostree cannot store names that are not UTF-8") from error
