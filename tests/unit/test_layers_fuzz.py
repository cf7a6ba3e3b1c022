"""Archives that nobody thought of: whatever comes in, out come clean entries or a LayerError, and soon."""

from __future__ import annotations

import io

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootc.errors import LayerError
from bootc.layers import Entry, EntryKind, Limits, read_layer
from tests.unit.layer_samples import END, directory, file, header, long_name, pax, with_checksum

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
BLOCKS = len(VALID) // 512


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


def test_the_sample_is_valid() -> None:
    assert len(list(read_layer(io.BytesIO(VALID), TIGHT))) == 15
    assert len(drain(VALID)) == 15


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=4096))
def test_random_bytes(data: bytes) -> None:
    drain(data)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=16)), min_size=1, max_size=5))
def test_changed_bytes(changes: list[tuple[int, bytes]]) -> None:
    archive = bytearray(VALID)
    for position, data in changes:
        archive[position : position + len(data)] = data
    drain(bytes(archive))


FIELDS = [
    (0, 100),
    (100, 8),
    (108, 8),
    (116, 8),
    (124, 12),
    (136, 12),
    (156, 1),
    (157, 100),
    (257, 8),
    (329, 8),
    (345, 155),
]
WORDS = st.sampled_from(
    [b"0", b"5", b"x", b"g", b"L", b"K", b"S", b"1", b"\xff" * 12, b"\x80" + b"\0" * 10 + b"\1", b"../", b"/", b".wh.a"]
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.integers(0, BLOCKS - 1),
            st.sampled_from(FIELDS),
            st.binary(max_size=12) | WORDS | st.integers(0, 4000).map(lambda number: b"%011o" % number),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_changed_fields_under_a_right_checksum(changes: list[tuple[int, tuple[int, int], bytes]]) -> None:
    blocks = [VALID[start : start + 512] for start in range(0, len(VALID), 512)]
    for number, (start, length), data in changes:
        block = blocks[number]
        changed = block[:start] + data[:length].ljust(length, b"\0") + block[start + length :]
        blocks[number] = with_checksum(changed)
    drain(b"".join(blocks))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, BLOCKS - 1), max_size=2 * BLOCKS))
def test_blocks_in_another_order(order: list[int]) -> None:
    drain(b"".join(VALID[number * 512 : number * 512 + 512] for number in order))


KEYS = [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"SCHILY.xattr.user.a", b"LIBARCHIVE.xattr.user.a"]
KEYS += [b"GNU.sparse." + key for key in (b"map", b"size", b"numblocks", b"major", b"minor", b"name", b"realsize")]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(KEYS),
        st.binary(max_size=8)
        | st.integers(-2, 2000).map(lambda number: b"%d" % number)
        | st.lists(st.integers(0, 700), max_size=6).map(lambda numbers: b",".join(b"%d" % n for n in numbers)),
    ),
    st.sampled_from([b"x", b"g"]),
    st.binary(max_size=700),
)
def test_records_of_all_kinds(records: dict[bytes, bytes], flag: bytes, data: bytes) -> None:
    drain(pax(records, flag) + file(b"f", data) + file(b"g"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_records_that_are_no_records(data: bytes) -> None:
    drain(pax(data) + file(b"f"))
