"""Tables of contents from outside: read as they are meant, or refused, and never more than a layer is worth."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import zstandard
from attrs import evolve

from bootc.image import Descriptor, Digest, Layer
from bootc.partial.annotations import PREFIXES, TABLE_LIMIT, Extent, TableLocation, locate
from bootc.partial.entries import Unusable, entries
from bootc.partial.known import Nothing
from bootc.partial.plan import Plan, Span, plan
from bootc.partial.rule import Rule
from bootc.partial.table import Content, Gap, pieces
from bootc.partial.tables import Table

END = 10_000
CONTENT = hashlib.sha256(b"content").digest()
DIGEST = f"sha256:{CONTENT.hex()}"
LOCATION = TableLocation(END + 8, 100, 1000, Digest("sha256", "0" * 64), END)

FILE = {"type": "reg", "name": "a", "size": 5, "digest": DIGEST, "offset": 100, "endOffset": 120}
FIRST = {**FILE, "name": "b", "size": 9, "offset": 150, "endOffset": 300, "chunkSize": 4, "chunkDigest": DIGEST}
SECOND = {"type": "chunk", "name": "b", "offset": 200, "chunkOffset": 4, "chunkSize": 5, "chunkDigest": DIGEST}
DIRECTORY = {"type": "dir", "name": "d/", "mode": 493}


def _read(listed: list[Any], location: TableLocation = LOCATION) -> list[Gap | Content]:
    return list(pieces(entries(io.BytesIO(json.dumps({"version": 1, "entries": listed}).encode())), location))


def test_pieces_are_all_that_the_tar_consists_of() -> None:
    found = _read([DIRECTORY, FILE, {"type": "reg", "name": "empty", "size": 0}, FIRST, SECOND])
    assert [(type(piece).__name__, piece.start, piece.end) for piece in found] == [
        ("Gap", 0, 100),
        ("Content", 100, 120),
        ("Gap", 120, 150),
        ("Content", 150, 200),
        ("Content", 200, 300),
        ("Gap", 300, END),
    ]
    assert [(c.path, c.offset, c.size, c.file_size) for c in found if isinstance(c, Content)] == [
        ("a", 0, 5, 5),
        ("b", 0, 4, 9),
        ("b", 4, 5, 9),
    ]
    keys = [piece.key for piece in found if isinstance(piece, Gap)]
    assert len(set(keys)) == 3
    assert keys[-1] is None


@pytest.mark.parametrize("change", [{"mode": 420}, {"name": "c"}, {"size": 6}, {"xattrs": {"user.a": "eA=="}}], ids=str)
def test_other_metadata_means_other_headers(change: dict[str, Any]) -> None:
    plain, changed = (_read([entry, {**FIRST, "chunkSize": 9}]) for entry in (FILE, {**FILE, **change}))
    gaps = [[piece.key for piece in found if isinstance(piece, Gap)] for found in (plain, changed)]
    assert gaps[0][0] != gaps[1][0]
    assert (gaps[0][1] == gaps[1][1]) == ("size" not in change)


def test_where_it_lies_in_the_blob_does_not_change_a_gap() -> None:
    moved = {**FILE, "offset": 101, "endOffset": 122}
    first, other = _read([FILE])[0], _read([moved])[0]
    assert isinstance(first, Gap)
    assert isinstance(other, Gap)
    assert first.key == other.key


_WRONG: dict[str, list[Any]] = {
    "overlap": [FILE, {**FILE, "offset": 110}],
    "adjacent, without a header": [FILE, {**FILE, "offset": 120, "endOffset": 130}],
    "descending": [FIRST | {"chunkSize": 9}, FILE],
    "beyond the end": [{**FILE, "endOffset": END + 1}],
    "up to the end, without a trailer": [{**FILE, "endOffset": END}],
    "ends before it begins": [{**FILE, "endOffset": 99}],
    "empty frame": [{**FILE, "endOffset": 100}],
    "at the very start": [{**FILE, "offset": 0}],
    "no offset": [{key: value for key, value in FILE.items() if key != "offset"}],
    "no end": [{key: value for key, value in FILE.items() if key != "endOffset"}],
    "no digest": [{key: value for key, value in FILE.items() if key != "digest"}],
    "no name": [{key: value for key, value in FILE.items() if key != "name"}],
    "a name that is a list": [{**FILE, "name": ["a"]}],
    "an endless name": [{**FILE, "name": "a" * 5000}],
    "negative offset": [{**FILE, "offset": -1}],
    "offset that is a text": [{**FILE, "offset": "100"}],
    "offset that is a truth": [{**FILE, "offset": True}],
    "offset that is a fraction": [{**FILE, "offset": 100.5}],
    "huge offset": [{**FILE, "offset": 1 << 70}],
    "huge size": [{**FILE, "size": 1 << 50}],
    "sizes too large together": [
        {**FILE, "size": 30 << 30, "offset": 100 + 50 * n, "endOffset": 120 + 50 * n} for n in range(3)
    ],
    "another digest": [{**FILE, "digest": "sha512:" + "0" * 128}],
    "a digest that is none": [{**FILE, "digest": "sha256:" + " " * 64}],
    "a digest that is too short": [{**FILE, "digest": DIGEST[:-2]}],
    "a digest that is a number": [{**FILE, "digest": 7}],
    "chunk without a file": [SECOND],
    "chunk after a directory": [DIRECTORY, SECOND],
    "chunk of another file": [FIRST, {**SECOND, "name": "a"}],
    "chunk that is missing": [FIRST],
    "chunk that is missing, and another file": [FIRST, {**FILE, "offset": 400, "endOffset": 500}],
    "chunk with a hole before it": [FIRST, {**SECOND, "chunkOffset": 5, "chunkSize": 4}],
    "chunk over the first": [FIRST, {**SECOND, "chunkOffset": 3, "chunkSize": 6}],
    "chunk that is too long": [FIRST, {**SECOND, "chunkSize": 6}],
    "chunk beyond its file": [FIRST, {**SECOND, "offset": 301}],
    "chunk before its file": [FIRST, {**SECOND, "offset": 149}],
    "chunk without a digest": [FIRST, {**SECOND, "chunkDigest": None}],
    "chunk of an unknown kind": [FIRST, {**SECOND, "chunkType": "ones"}],
    "first chunk at an offset": [{**FILE, "chunkOffset": 1}],
    "first chunk longer than the file": [{**FILE, "chunkSize": 6}],
    "an entry that is a number": [5],
    "an entry that is a list": [[]],
}


@pytest.mark.parametrize("listed", _WRONG.values(), ids=_WRONG.keys())
def test_contradictions_are_refused(listed: list[Any]) -> None:
    with pytest.raises(Unusable):
        _read(listed)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"version":1}',
        b'{"version":2,"entries":[]}',
        b'{"version":1,"entries":{}}',
        b'{"version":1,"entries":[}',
        b'{"version":1,"entries":[{}',
        b'{"version":1,"entries":[{}]',
        b'{"version":1,"entries":[{},]}',
        b'{"version":1,"entries":[{} {}]}',
        b'{"version":1,"entries":[]}{}',
        b'{"version":1,"entries":[],"entries":[]}',
        b'{"version":1,"entries":[{"size":NaN}]}',
        b'{"version":1,"entries":[{"name":"\xff"}]}',
        b'{"version":1,"entries":[' + b"[" * 100_000,
        b'{"version":1,"entries":[{"size":' + b"1" * 10_000 + b"}]}",
        b'{"version":1,"entries":[{"name":"' + b"a" * 3_000_000 + b'"}]}',
        b'{"version":1,"more":"' + b"a" * 3_000_000 + b'","entries":[]}',
        b'{"version":1' + b" " * 300_000,
    ],
    ids=lambda text: repr(text[:50]),
)
def test_what_is_no_table_is_refused(text: bytes) -> None:
    with pytest.raises(Unusable):
        list(entries(io.BytesIO(text)))


def test_entries_are_found_wherever_pieces_end() -> None:
    listed = [{**FILE, "name": "é" * 50 + str(number)} for number in range(50)]
    text = json.dumps(
        {"tarSplitDigest": DIGEST, "entries": listed, "version": 1}, ensure_ascii=False, indent=1
    ).encode()

    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(random.Random(self.tell()).randrange(1, 60))

    assert list(entries(Dripping(text))) == listed


def test_a_large_table_is_read_in_little_memory() -> None:
    listed = [
        {**FILE, "name": f"usr/share/file-{n}", "offset": 10 * n + 5, "endOffset": 10 * n + 9} for n in range(30_000)
    ]
    packed = zstandard.compress(json.dumps({"version": 1, "entries": listed}).encode())
    del listed
    blob = bytes(300_010) + packed
    checksum = Digest("sha256", hashlib.sha256(packed).hexdigest())
    table = Table(
        TableLocation(300_010, len(packed), 1 << 30, checksum, 300_002),
        lambda offset, size: blob[offset : offset + size],
    )
    table.require()
    tracemalloc.start()
    try:
        assert plan(table.pieces(), Nothing(), Rule()) == Plan((Span(0, 300_002),))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def _table(raw: bytes, **changes: Any) -> Table:
    packed = zstandard.compress(raw)
    location = TableLocation(0, len(packed), len(raw), Digest("sha256", hashlib.sha256(packed).hexdigest()), END)
    return Table(evolve(location, **changes), lambda offset, size: packed[offset : offset + size])


def test_a_table_with_another_digest_is_refused() -> None:
    with pytest.raises(Unusable, match="digest"):
        _table(b"{}", checksum=Digest("sha256", "0" * 64)).require()


def test_a_table_that_unpacks_to_more_than_it_should_is_refused() -> None:
    bomb = b'{"version":1,"entries":[' + b" " * 200_000_000
    with pytest.raises(Unusable, match="more than it should"):
        list(_table(bomb, raw_length=1000).pieces())


# ---------------------------------------------------------------- annotations


def _layer(annotations: Mapping[str, str | None], prefix: str = PREFIXES[0]) -> Layer:
    named = {"manifest-checksum": DIGEST, "manifest-position": "10000:500:3000:1", **annotations}
    found = {f"{prefix}{key}": value for key, value in named.items() if value is not None}
    blob = Descriptor("application/vnd.oci.image.layer.v1.tar+zstd", Digest("sha256", "1" * 64), 20_000, found)
    return Layer(blob, Digest("sha256", "2" * 64), blob)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("split", "end"), [(None, 9992), ("8000:1000:5000", 7992), ("11000:1000:5000", 9992)])
def test_a_table_is_located_by_annotations(prefix: str, split: str | None, end: int) -> None:
    layer = _layer({"tarsplit-position": split}, prefix)
    extent = Extent(*map(int, split.split(":"))) if split and end else None
    assert locate(layer) == TableLocation(10_000, 500, 3000, Digest.parse(DIGEST), end, extent)


_STARGZ = {"containerd.io/snapshot/stargz/toc.digest": DIGEST}
_DOUBTFUL: dict[str, Callable[[Layer], Layer]] = {
    "both prefixes": lambda layer: _with(layer, {f"{PREFIXES[1]}manifest-position": "1:2:3:1"}),
    "a table of eStargz, too": lambda layer: _with(layer, _STARGZ),
    "another blob is served": lambda layer: evolve(layer, blob=evolve(layer.blob, digest=layer.diff_id)),
    "unknown size": lambda layer: evolve(layer, blob=evolve(layer.blob, size=None)),
    "no table": lambda layer: _with(layer, {}, keep=False),
}


def _with(layer: Layer, more: dict[str, str], *, keep: bool = True) -> Layer:
    blob = evolve(layer.blob, annotations={**(layer.blob.annotations if keep else {}), **more})
    return evolve(layer, blob=blob, descriptor=blob)


@pytest.mark.parametrize("change", _DOUBTFUL.values(), ids=_DOUBTFUL.keys())
def test_a_layer_in_doubt_has_no_table(change: Callable[[Layer], Layer]) -> None:
    assert locate(change(_layer({}))) is None


@pytest.mark.parametrize(
    "position",
    [
        "",
        "10000:500:3000",
        "10000:500:3000:2",
        "10000:500:3000:1:1",
        "-1:500:3000:1",
        "0x10:500:3000:1",
        "10000:0:3000:1",
        "10000:500:0:1",
        "19900:500:3000:1",
        f"0:{TABLE_LIMIT + 1}:3000:1",
        f"10000:500:{1 << 40}:1",
        "7:500:3000:1",
        "1" * 5000 + ":1:1:1",
    ],
)
def test_an_impossible_place_is_none(position: str) -> None:
    assert locate(_layer({"manifest-position": position})) is None


@pytest.mark.parametrize(
    "split", ["", "rubbish", "19500:1000:5000", "11000:0:5000", f"11000:1000:{1 << 40}", "1:2:3:4"]
)
def test_without_usable_data_for_rebuilding_the_table_is_enough(split: str) -> None:
    found = locate(_layer({"tarsplit-position": split}))
    assert found is not None
    assert found.split is None


@pytest.mark.parametrize("checksum", [None, "", "sha256:0", "sha512:" + "0" * 128])
def test_a_table_without_a_digest_is_none(checksum: str | None) -> None:
    assert locate(_layer({"manifest-checksum": checksum})) is None


# ---------------------------------------------------------------- plans


class _Even(Nothing):
    """Contents of even size are here, and no headers."""

    def has_content(self, digest: bytes, size: int) -> bool:
        return size % 2 == 0


def test_spans_with_little_between_them_are_one() -> None:
    listed = [
        {**FILE, "name": str(n), "size": size, "offset": start, "endOffset": start + length}
        for n, (start, length, size) in enumerate([(10, 90, 2), (110, 3000, 2), (3200, 100, 1)])
    ]
    spans = plan(_read(listed), _Even(), Rule(request_time=0.0)).spans
    assert spans == (Span(0, 110), Span(3110, END))


def test_headers_come_together_where_that_takes_less_time() -> None:
    listed = [{**FILE, "name": str(n), "offset": 900 * n + 450, "endOffset": 900 * n + 900} for n in range(10)]
    split = Extent(END + 2000, 100, 1000)
    rule = Rule(request_time=0.0, connections=1)
    known = [piece.key for piece in _read(listed) if isinstance(piece, Gap)][1:-1]
    few = plan(_read(listed), _Odd(known), rule, Extent(END + 2000, 5000, 1000))
    many = plan(_read(listed), _Odd([]), rule, split)
    assert few == Plan((Span(0, 450), Span(9000, END)))
    assert many == Plan((Span(split.offset, split.end),), uses_split=True)


class _Odd(Nothing):
    """Contents of odd size are here, and these headers."""

    def __init__(self, keys: list[bytes | None]) -> None:
        self._keys = keys

    def has_gap(self, key: bytes) -> bool:
        return key in self._keys

    def has_content(self, digest: bytes, size: int) -> bool:
        return size % 2 == 1


@pytest.mark.parametrize(
    ("mode", "size", "requests", "expected"),
    [
        ("never", 0, 0, False),
        ("always", 999_999, 10_000, True),
        ("always", 1_000_000, 1, False),
        ("auto", 10_000, 2, True),
        ("auto", 10_000, 1000, False),
        ("auto", 990_000, 3, False),
    ],
)
def test_the_cheaper_way_is_taken(mode: Any, size: int, requests: int, expected: bool) -> None:
    assert Rule(mode, request_time=0.05, speed=1e6, connections=4).pays(size, requests, 1_000_000) is expected
