"""Directory objects: our parser and writer against GLib's own."""

from __future__ import annotations

import pytest
from bootc_ostree import dirtree
from bootc_ostree.dirtree import Directory, DirTree
from bootc_ostree.glib import GLib
from hypothesis import given
from hypothesis import strategies as st

from bootc.errors import StoreError

NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=300
).filter(lambda name: name not in (".", ".."))
CHECKSUMS = st.binary(min_size=32, max_size=32).map(bytes.hex)
TREES = st.builds(
    DirTree,
    st.dictionaries(NAMES, CHECKSUMS, max_size=12),
    st.dictionaries(NAMES, st.builds(Directory, CHECKSUMS, CHECKSUMS), max_size=12),
)


def by_glib(tree: DirTree) -> bytes:
    files = sorted(tree.files.items(), key=lambda item: item[0].encode())
    directories = sorted(tree.directories.items(), key=lambda item: item[0].encode())
    rows = (
        [(name, bytes.fromhex(checksum)) for name, checksum in files],
        [(name, bytes.fromhex(child.contents), bytes.fromhex(child.metadata)) for name, child in directories],
    )
    return bytes(GLib.Variant(dirtree.TYPE, rows).get_data_as_bytes().get_data())


@given(TREES)
def test_a_directory_is_written_as_glib_writes_it_and_read_back(tree: DirTree) -> None:
    data = dirtree.serialize(tree)
    assert data == by_glib(tree)
    assert dirtree.parse(data) == tree


def test_a_large_directory_needs_wider_offsets() -> None:
    tree = DirTree({f"file-{number:05}": f"{number:064x}" for number in range(3000)}, {})
    assert dirtree.serialize(tree) == by_glib(tree)
    assert dirtree.parse(dirtree.serialize(tree)) == tree


@given(TREES, st.data())
def test_a_damaged_object_is_an_error_or_another_directory_but_never_a_crash(
    tree: DirTree, data: st.DataObject
) -> None:
    raw = bytearray(dirtree.serialize(tree))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    try:
        found = dirtree.parse(bytes(raw))
    except StoreError:
        return
    assert all("/" not in name and name not in (".", "..", "") for name in (*found.files, *found.directories))


@pytest.mark.parametrize("name", ["..", ".", "a/b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(StoreError):
        dirtree.parse(dirtree.serialize(DirTree({name: "00" * 32}, {})))
