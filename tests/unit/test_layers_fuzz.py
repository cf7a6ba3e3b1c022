"""Archives that nobody thought of: whatever comes in, out come clean entries or a LayerError, and soon."""

from __future__ import annotations

import io

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootc.layers import read_layer
from tests.fuzz.archives import TIGHT, VALID, drain
from tests.unit.layer_samples import file, pax, with_checksum

BLOCKS = len(VALID) // 512


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
