"""What the writer of layers writes is what our reader, the standard library, GNU tar and libarchive read."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from bootc.layers import END_OF_ARCHIVE, Entry, EntryKind, padding, read_layer, write_entry
from tests.unit.layer_samples import entries, entry

FILE, DIRECTORY, SYMLINK, HARDLINK = EntryKind.FILE, EntryKind.DIRECTORY, EntryKind.SYMLINK, EntryKind.HARDLINK
SECOND = 10**9

TREE = [
    entry(b"", DIRECTORY, 0o755),
    entry(b"dir", DIRECTORY, 0o1777, xattrs={b"user.b": b"\0\xff=\n", b"user.a": b"1"}),
    entry(b"dir/file", mode=0o6755, uid=2**32 - 2, gid=1 << 21, mtime=1_700_000_000_123_456_789, size=3),
    entry(b"dir/" + b"n" * 99),
    entry(b"/".join([b"dir", b"d" * 100, b"e" * 49, b"f" * 99])),
    entry(b"/".join([b"dir", b"d" * 100, b"e" * 49, b"f" * 100])),
    entry(b"/".join([b"dir", b"d" * 100, b"e" * 49, b"f" * 101])),
    entry(b"dir/" + b"n" * 200, mtime=-SECOND),
    entry(b"dir/" + "ä".encode() * 100, mtime=0),
    entry(b"dir/" + b"m" * 150, DIRECTORY, 0o700),
    entry(b"dir/short", SYMLINK, 0o777, target=b"../x"),
    entry(b"dir/long", SYMLINK, 0o777, target="ö/".encode() * 200, xattrs={b"user.link": b""}),
    entry(b"dir/hard", HARDLINK, target=b"dir/file"),
    entry(b"dir/hard too", HARDLINK, target=b"dir/" + b"n" * 200),
    entry(b"dir/null", EntryKind.CHARACTER, device=(1, 3)),
    entry(b"dir/disk", EntryKind.BLOCK, device=(4095, 1048575)),
    entry(b"dir/pipe", EntryKind.FIFO),
    entry(b"dir/.wh.gone", mode=0),
    entry(b"dir/.wh..wh..opq"),
]


def write(items: list[Entry]) -> bytes:
    blocks = [write_entry(item) + b"x" * item.size + padding(item.size) for item in items]
    return b"".join(blocks) + END_OF_ARCHIVE


def explicit(archive: bytes) -> list[Entry]:
    return [item for item in entries(archive) if not item.is_implied]


def test_our_reader_reads_it_back() -> None:
    assert explicit(write(TREE)) == TREE


names = st.binary(min_size=1, max_size=140).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))
paths = st.lists(
    names.filter(lambda name: name not in (b".", b"..") and not name.startswith(b".wh.")), min_size=1, max_size=4
).map(b"/".join)


@st.composite
def any_entry(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from([FILE, DIRECTORY, SYMLINK, EntryKind.CHARACTER, EntryKind.BLOCK, EntryKind.FIFO]))
    is_device = kind in (EntryKind.CHARACTER, EntryKind.BLOCK)
    xattr_names = names.filter(lambda name: b"=" not in name).map(lambda name: b"user." + name)
    return Entry(
        path=draw(paths),
        kind=kind,
        mode=0o777 if kind is SYMLINK else draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, 2**32 - 2)),
        gid=draw(st.integers(0, 2**32 - 2)),
        mtime=draw(st.integers(1 - 2**63, 2**63 - 1)),
        size=draw(st.integers(0, 3000)) if kind is FILE else 0,
        target=draw(paths) if kind is SYMLINK else b"",
        device=(draw(st.integers(1, 4095)), draw(st.integers(0, 1048575))) if is_device else (0, 0),
        xattrs=draw(st.dictionaries(xattr_names, st.binary(max_size=40), max_size=3)),
    )


@settings(max_examples=300, deadline=None)
@given(any_entry())
def test_any_entry_comes_back(item: Entry) -> None:
    archive = write([item])
    assert explicit(archive) == [item]
    assert len(archive) % 512 == 0


def test_one_block_suffices_for_a_plain_entry() -> None:
    assert [len(write_entry(item)) for item in TREE[:1] + TREE[3:6] + TREE[10:11] + TREE[12:13]] == [512] * 6


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511), (1 << 40, 0)])
def test_padding_fills_a_block(size: int, expected: int) -> None:
    assert padding(size) == bytes(expected)


def test_a_size_beyond_octal_goes_into_a_record() -> None:
    archive = io.BytesIO(write_entry(entry(b"f", size=1 << 33)))
    with tarfile.open(fileobj=archive, mode="r|") as tar:
        assert next(iter(tar)).size == 1 << 33
    archive.seek(0)
    assert next(read_layer(archive))[0].size == 1 << 33


def test_extended_attributes_come_in_descending_order() -> None:
    block = write_entry(entry(b"f", xattrs={b"user.a": b"1", b"user.c": b"2", b"user.b": b"3"}))
    assert block.index(b"xattr.user.c=2") < block.index(b"xattr.user.b=3") < block.index(b"xattr.user.a=1")


def test_a_symbolic_link_has_all_permissions() -> None:
    assert entries(write([entry(b"l", SYMLINK, 0o644, target=b"x")])) == [entry(b"l", SYMLINK, 0o777, target=b"x")]


def test_nothing_of_the_original_spelling_survives() -> None:
    block = write_entry(entry(b"usr/etc/passwd", mtime=5 * SECOND))
    assert block[:100].rstrip(b"\0") == b"usr/etc/passwd"
    assert block[257:512].strip(b"\0") == b"ustar\x0000" + bytes(64) + b"0000000\x000000000"


def tarfile_entries(archive: bytes) -> list[Entry]:
    """What the standard library reads, with times in whole seconds and without extended attributes."""
    kinds = {kind.value: kind for kind in EntryKind}
    found = []
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as tar:
        for member in tar:
            name, target = (text.encode("utf-8", "surrogateescape") for text in (member.name, member.linkname))
            item = Entry(b"" if name == b"." else name, kinds[member.type], member.mode, member.uid, member.gid, 0)
            time = int(member.mtime // 1) * SECOND
            device = (member.devmajor, member.devminor)
            found.append(evolve(item, mtime=time, size=member.size, target=target, device=device))
    return found


def test_tarfile_reads_the_same() -> None:
    expected = [evolve(item, mtime=item.mtime // SECOND * SECOND, xattrs={}) for item in TREE]
    assert tarfile_entries(write(TREE)) == expected


def run(command: list[str], archive: bytes, locale: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"LC_ALL": locale, "PATH": os.environ["PATH"]}
    return subprocess.run(command, input=archive, capture_output=True, env=environment, check=True)


def test_libarchive_reads_the_same_and_we_read_what_it_writes() -> None:
    done = run(["bsdtar", "-cf", "-", "--format=pax", "@-"], write(TREE), "C.UTF-8")
    assert done.stderr == b""
    assert explicit(done.stdout) == TREE


def test_libarchive_reads_names_beyond_ascii_in_the_c_locale() -> None:
    done = run(["bsdtar", "-tvf", "-"], write(TREE), "C")
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == len(TREE)


def test_gnu_tar_reads_the_same() -> None:
    command = ["tar", "-tvf", "-", "--numeric-owner", "--full-time", "--quoting-style=literal", "--utc"]
    done = run(command, write(TREE), "C")
    assert set(done.stderr.splitlines()) == {b"tar: Ignoring unknown extended header keyword 'hdrcharset'"}
    lines = done.stdout.splitlines()
    assert len(lines) == len(TREE)
    assert lines[2].split() == b"-rwsr-sr-x 4294967294/2097152 3 2023-11-14 22:13:20.123456789 dir/file".split()
    assert [line.split(None, 5)[5] for line in lines[3:9]] == [item.path for item in TREE[3:9]]
    assert lines[11].endswith(b" dir/long -> " + TREE[11].target)
    assert lines[13].endswith(b" dir/hard too link to " + TREE[13].target)
    assert lines[14].split()[2] == b"1,3"
