"""From a tar stream to the entries of a layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bootc.layers import sparse
from bootc.layers.content import BLOCK, Content, Readable, Source
from bootc.layers.entry import NO_XATTRS, Entry, EntryKind, printable, refusal
from bootc.layers.header import Header, parse_device
from bootc.layers.limits import Limits
from bootc.layers.members import read_members
from bootc.layers.names import Names
from bootc.layers.pax import Records, read_xattrs

_KINDS = {kind.value: kind for kind in EntryKind} | {b"\0": EntryKind.FILE, b"S": EntryKind.FILE}
_FILE, _DIRECTORY = EntryKind.FILE, EntryKind.DIRECTORY
_MAX_MAJOR, _MAX_MINOR = 2**12 - 1, 2**20 - 1

DEFAULT_LIMITS = Limits()


def read_layer(stream: Readable, limits: Limits = DEFAULT_LIMITS) -> Iterator[tuple[Entry, Content]]:
    """The entries of a decompressed layer in the order of the archive, each with its content.

    A content is valid until the next entry is asked for; what was not read of it is skipped. Entries that are not
    files have an empty one. The stream is read to its end, as the digest of the layer needs it.

    Raises LayerError, naming the entry, for all that the package documentation refuses.
    """
    source = Source(stream)
    layer = _Layer(source, limits)
    for header, block, records in read_members(source, limits):
        entry, content, implied = layer.take(header, block, records)
        for directory in implied:
            yield Entry(directory, _DIRECTORY, 0o755, 0, 0, 0, is_implied=True), layer.nothing
        yield entry, content
        if content is not layer.nothing:
            content.close()


class _Layer:
    """Turns members into entries and holds what must be known of those before."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.nothing = Content(source, 0, 0)
        self._source = source
        self._limits = limits
        self._names = Names(limits)
        self._total = 0

    def take(self, header: Header, block: bytes, records: Records) -> tuple[Entry, Content, Sequence[bytes]]:
        """The entry of a member, its content, and the directories to put in before it."""
        raw, mode, uid, gid, size, mtime, flag, target = header
        kind = _KINDS.get(flag)
        if kind is None:
            raise refusal(raw, f"unknown type of entry: {printable(flag)}")
        if flag == b"\0" and raw[-1:] == b"/":
            kind = _DIRECTORY
        spans = None
        has_holes = flag == b"S" or (records and sparse.is_sparse(records))
        if kind is _FILE:
            if has_holes:
                size, spans = self._fill_holes(header, block, records)
            self._count(raw, size)
        elif size or has_holes:
            raise refusal(raw, "only a file can have content")
        path, implied = self._names.enter(raw, is_directory=kind is _DIRECTORY, is_file=kind is _FILE and not size)
        target = b"" if kind is _FILE else self._target(path, kind, target)
        device = (0, 0) if kind is _FILE else _device(block, raw, kind)
        xattrs = read_xattrs(records, raw, self._limits) if records else NO_XATTRS
        entry = Entry(path, kind, mode, uid, gid, mtime, size, target, device, xattrs)
        return entry, Content(self._source, size, -header.size % BLOCK, spans) if size else self.nothing, implied

    def _fill_holes(self, header: Header, block: bytes, records: Records) -> tuple[int, Iterator[tuple[int, int]]]:
        """The size of a sparse file, and its holes and data."""
        old_form = block if header.flag == b"S" else None
        plan = sparse.read_map(old_form, records, header.size, self._source, self._limits)
        return plan.size, plan.spans()

    def _count(self, subject: bytes, size: int) -> None:
        self._total += size
        if size > self._limits.file or self._total > self._limits.total:
            raise refusal(subject, f"over {self._limits.file} bytes, or {self._limits.total} with those before it")

    def _target(self, path: bytes, kind: EntryKind, target: bytes) -> bytes:
        if kind is EntryKind.HARDLINK:
            target = self._names.clean(target, path)
            self._names.check_target(path, target)
            return target
        if kind is not EntryKind.SYMLINK:
            return b""
        if not target or len(target) > self._limits.path:
            raise refusal(path, "symbolic link without a target that Linux could store")
        return target


def _device(block: bytes, subject: bytes, kind: EntryKind) -> tuple[int, int]:
    """The numbers of a device; as a character device, 0:0 would be a whiteout of overlayfs."""
    if kind is not EntryKind.CHARACTER and kind is not EntryKind.BLOCK:
        return 0, 0
    major, minor = parse_device(block, subject)
    if major > _MAX_MAJOR or minor > _MAX_MINOR:
        raise refusal(subject, "its device number is out of the range that Linux knows")
    if kind is EntryKind.CHARACTER and (major, minor) == (0, 0):
        raise refusal(subject, "character device 0:0 would be a whiteout to overlayfs")
    return major, minor
