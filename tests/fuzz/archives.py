"""Archives as starting points for fuzzing the tar reader, and what must hold for whatever it is given."""

from __future__ import annotations

import io

from attrs import evolve

from bootc.errors import LayerError
from bootc.layers import Entry, EntryKind, Limits, padding, read_layer, write_entry
from tests.unit.layer_samples import END, OddStream, directory, file, header, long_name, pax

TIGHT = Limits(entries=200, names=100_000, file=1 << 20, total=1 << 22, records=1 << 14)

VALID = b"".join(
    [
        directory(b"./"),
        directory(b"usr/"),
        file(b"usr/a", b"x" * 700),
        pax({b"SCHILY.xattr.user.a": b"1", b"LIBARCHIVE.xattr.user.b": b"MQ", b"mtime": b"1.5", b"uid": b"3000000"})
        + file(b"usr/b"),
        long_name(b"usr/" + b"c" * 200) + file(b"c", b"y" * 512),
        header(b"usr/l", b"2", target=b"a"),
        header(b"usr/h", b"1", target=b"usr/a"),
        file(b"usr/.wh.old"),
        file(b"d/e/.wh..wh..opq"),
        header(b"dev", b"3", major=b"0000001\0"),
        pax({b"GNU.sparse.size": b"5000", b"GNU.sparse.numblocks": b"1", b"GNU.sparse.map": b"9,600"})
        + file(b"s", b"z" * 600),
        pax(
            {
                b"GNU.sparse.major": b"1",
                b"GNU.sparse.minor": b"0",
                b"GNU.sparse.name": b"t",
                b"GNU.sparse.realsize": b"900",
            }
        )
        + file(b"GNUSparseFile.0/t", b"1\n10\n4\n".ljust(512, b"\0") + b"data"),
        header(b"o", b"S", magic=b"ustar  \0", rest=bytes(138) + b"00000000777\0"),
        END,
    ]
)


def drain(archive: bytes) -> list[Entry]:
    """All entries, each checked for what a store relies on; a LayerError ends the list."""
    found: list[Entry] = []
    refused: LayerError | None = None
    try:
        for entry, content in read_layer(io.BytesIO(archive), TIGHT):
            check(entry)
            assert content.remaining == entry.size
            assert len(content.read()) == entry.size
            found.append(entry)
    except LayerError as error:
        refused = error
    assert refused is None or (refused.problem and refused.entry.isprintable())
    paths = [entry.path for entry in found if not entry.is_implied]
    assert len(paths) == len(set(paths))
    return found


def check(entry: Entry) -> None:
    parts = entry.path.split(b"/") if entry.path else []
    assert all(part not in (b"", b".", b"..") and b"\0" not in part and len(part) <= 255 for part in parts)
    assert parts or entry.kind is EntryKind.DIRECTORY
    assert 0 <= entry.mode <= 0o7777
    assert 0 <= entry.uid < 2**32 - 1
    assert 0 <= entry.gid < 2**32 - 1
    assert abs(entry.mtime) < 2**63
    assert entry.size == 0 or (entry.kind is EntryKind.FILE and entry.size <= TIGHT.file)
    assert b"\0" not in entry.target
    assert bool(entry.target) == (entry.kind in (EntryKind.SYMLINK, EntryKind.HARDLINK))
    assert not any(name.startswith((b"trusted.overlay.", b"user.overlay.")) for name in entry.xattrs)


def rewrite(archive: bytes) -> None:
    """What is accepted can be written, and reads the same: what other tools are given is what was checked."""
    try:
        members = [(entry, content.read()) for entry, content in read_layer(OddStream(archive), TIGHT)]
    except LayerError:
        return
    explicit = [(entry, data) for entry, data in members if not entry.is_implied]
    written = b"".join(write_entry(entry) + data + padding(entry.size) for entry, data in explicit) + END
    again = [(entry, content.read()) for entry, content in read_layer(io.BytesIO(written))]
    assert again == [(_as_written(entry), data) for entry, data in members]


def _as_written(entry: Entry) -> Entry:
    return evolve(entry, mode=0o777) if entry.kind is EntryKind.SYMLINK else entry
