"""The kept entries of a layer: what is written comes back, and nothing else does."""

from __future__ import annotations

import hashlib

import pytest
from bootc_composefs.failures import LayerFileError
from bootc_composefs.fsverity import Algorithm
from bootc_composefs.layer_file import digests_in, read_layer_file, write_layer
from bootc_composefs.tree import Content, Object
from hypothesis import given
from hypothesis import strategies as st

from bootc.layers import Entry, EntryKind

SHA256, SHA512 = Algorithm.SHA256, Algorithm.SHA512

NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: b"/" not in name and b"\0" not in name)
NUMBERS = st.integers(0, 2**32 - 1)
XATTRS = st.dictionaries(NAMES.filter(lambda name: b"=" not in name), st.binary(max_size=20), max_size=3)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, Content | None]:
    """Any entry that a layer may have."""
    kind = draw(st.sampled_from(EntryKind))
    content: Content | None = None
    size = 0
    if kind is EntryKind.FILE:
        digest = draw(st.none() | st.binary(min_size=32, max_size=32))
        content = draw(st.binary(max_size=64)) if digest is None else Object.of(digest)
        size = draw(st.integers(1, 2**53)) if isinstance(content, Object) else len(content)
    entry = Entry(
        draw(st.just(b"") | st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)),
        kind,
        draw(st.integers(0, 0o7777)),
        draw(NUMBERS),
        draw(NUMBERS),
        draw(st.integers(-(2**62), 2**62)),
        size,
        draw(NAMES) if kind in (EntryKind.SYMLINK, EntryKind.HARDLINK) else b"",
        (draw(st.integers(0, 4095)), draw(st.integers(0, 2**20 - 1))),
        draw(XATTRS),
        kind is EntryKind.DIRECTORY and draw(st.booleans()),
    )
    return entry, content


@given(st.lists(entries(), max_size=5))
def test_entries_come_back_as_they_were_written(found: list[tuple[Entry, Content | None]]) -> None:
    data = b"".join(write_layer(found, SHA256))
    assert read_layer_file(data, SHA256) == found
    assert digests_in(data, SHA256) == {content.digest for _, content in found if isinstance(content, Object)}


def small() -> bytes:
    return b"".join(write_layer([(Entry(b"a", EntryKind.FILE, 0o644, 0, 0, 0, 1), b"x")], SHA256))


def test_a_byte_that_was_altered_and_every_truncation_are_noticed() -> None:
    data = small()
    for number in range(len(data)):
        altered = data[:number] + bytes([data[number] ^ 1]) + data[number + 1 :]
        for damaged in (data[:number], altered):
            for read in (read_layer_file, digests_in):
                with pytest.raises(LayerFileError):
                    read(damaged, SHA256)


def signed(text: bytes) -> bytes:
    return text + b"end %s\n" % hashlib.sha256(text).hexdigest().encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"bootc-layer 2 sha256\n",
        b"bootc-layer 1 sha256\n0 a\n",
        b"bootc-layer 1 sha256\n9 a 644 0 0 0 0 - 0:0 - -\n",
        b"bootc-layer 1 sha256\n0 a 648 0 0 0 0 - 0:0 - -\n",
        b"bootc-layer 1 sha256\n0 a 644 0 0 0 0 - 0:0 - xy\n",
    ],
)
def test_what_is_in_no_known_form_is_refused(text: bytes) -> None:
    with pytest.raises(LayerFileError):
        read_layer_file(signed(text), SHA256)


@pytest.mark.parametrize("line", [b"0 a", b"0 a 644 0 0 0 0 - 0:0 - xy"])
def test_lines_without_a_digest_are_refused(line: bytes) -> None:
    with pytest.raises(LayerFileError):
        digests_in(signed(b"bootc-layer 1 sha256\n%s\n" % line), SHA256)


def test_entries_with_digests_of_another_kind_are_refused() -> None:
    with pytest.raises(LayerFileError, match="sha512"):
        read_layer_file(small(), SHA512)
