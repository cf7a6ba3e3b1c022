"""What the reader of layers makes of archives that are well formed, in every form of tar."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from bootc.errors import LayerError
from bootc.layers import Entry, EntryKind, printable, read_layer
from tests.unit.layer_samples import END, directory, entries, entry, file, fill, header, long_name, pax, read, record

FILE, DIRECTORY, SYMLINK, HARDLINK = EntryKind.FILE, EntryKind.DIRECTORY, EntryKind.SYMLINK, EntryKind.HARDLINK
SECOND = 10**9


def implied(path: bytes) -> Entry:
    return Entry(path, DIRECTORY, 0o755, 0, 0, 0, is_implied=True)


WELL_FORMED = {
    "empty stream": (b"", []),
    "only the end": (END, []),
    "file": (file(b"f", b"data"), [entry(b"f", size=4)]),
    "root": (directory(b"./"), [entry(b"", DIRECTORY, 0o755)]),
    "dot": (directory(b"."), [entry(b"", DIRECTORY, 0o755)]),
    "slash": (directory(b"/"), [entry(b"", DIRECTORY, 0o755)]),
    "leading dot": (file(b"./f"), [entry(b"f")]),
    "absolute": (file(b"/f"), [entry(b"f")]),
    "untidy": (directory(b"a") + file(b".//a/.//f"), [entry(b"a", DIRECTORY, 0o755), entry(b"a/f")]),
    "v7": (file(b"f", magic=bytes(8), flag=b"\0"), [entry(b"f")]),
    "v7 directory": (header(b"d/", b"\0", magic=bytes(8)), [entry(b"d", DIRECTORY)]),
    "ustar prefix": (
        file(b"f", rest=b"usr/lib") + file(b"g", rest=b"usr/lib"),
        [implied(b"usr"), implied(b"usr/lib"), entry(b"usr/lib/f"), entry(b"usr/lib/g")],
    ),
    "gnu times are no prefix": (file(b"f", magic=b"ustar  \0", rest=b"13000000000\0"), [entry(b"f")]),
    "gnu long name": (long_name(b"n" * 150) + file(b"n"), [entry(b"n" * 150)]),
    "gnu long target": (
        long_name(b"t" * 150, b"K") + header(b"l", b"2", target=b"t"),
        [entry(b"l", SYMLINK, target=b"t" * 150)],
    ),
    "both gnu long names": (
        long_name(b"t" * 150, b"K") + long_name(b"n" * 150) + header(b"l", b"2", target=b"t"),
        [entry(b"n" * 150, SYMLINK, target=b"t" * 150)],
    ),
    "base-256": (
        file(b"f", uid=b"\x80\0\0\0\x01\0\0\0", mtime=b"\xff" * 11 + b"\xfe"),
        [entry(b"f", uid=1 << 24, mtime=-2 * SECOND)],
    ),
    "spaces in numbers": (file(b"f", uid=b"   12 \0\0", gid=b"13      "), [entry(b"f", uid=10, gid=11)]),
    "type bits in the mode": (file(b"f", mode=b"0104755\0"), [entry(b"f", mode=0o4755)]),
    "pax": (
        pax({b"path": b"p" * 250, b"uid": b"4294967294", b"gid": b"7", b"mtime": b"-1.25", b"comment": b"x"})
        + file(b"f"),
        [entry(b"p" * 250, uid=2**32 - 2, gid=7, mtime=-1_250_000_000)],
    ),
    "pax size": (pax({b"size": b"3"}) + header(b"f") + fill(b"abc"), [entry(b"f", size=3)]),
    "pax size, saturated header": (
        pax({b"size": b"3"}) + header(b"f", size=0o77777777777) + fill(b"abc"),
        [entry(b"f", size=3)],
    ),
    "pax name beside the same gnu name": (pax({b"path": b"n"}) + long_name(b"n") + file(b"f"), [entry(b"n")]),
    "pax ends with its entry": (pax({b"uid": b"7"}) + file(b"f") + file(b"g"), [entry(b"f", uid=7), entry(b"g")]),
    "finer than nanoseconds": (pax({b"mtime": b"1.0000000019"}) + file(b"f"), [entry(b"f", mtime=SECOND + 1)]),
    "global comment": (pax({b"comment": b"0123abcd"}, b"g") + file(b"f"), [entry(b"f")]),
    "xattrs": (
        pax({b"SCHILY.xattr.user.b": b"\0=\n", b"SCHILY.xattr.user.a": b""}) + file(b"f"),
        [entry(b"f", xattrs={b"user.a": b"", b"user.b": b"\0=\n"})],
    ),
    "xattrs of libarchive": (
        pax({b"LIBARCHIVE.xattr.user.%C3%A4": b"AAE", b"SCHILY.xattr.user.b": b"1", b"LIBARCHIVE.xattr.user.b": b"MQ"})
        + file(b"f"),
        [entry(b"f", xattrs={"user.ä".encode(): b"\0\1", b"user.b": b"1"})],
    ),
    "symbolic link anywhere": (
        header(b"l", b"2", target=b"../../../etc//./passwd/"),
        [entry(b"l", SYMLINK, target=b"../../../etc//./passwd/")],
    ),
    "hard link": (
        file(b"f") + header(b"g", b"1", target=b"/./f"),
        [entry(b"f"), entry(b"g", HARDLINK, target=b"f")],
    ),
    "hard link to a symbolic one": (
        header(b"l", b"2", target=b"x") + header(b"g", b"1", target=b"l"),
        [entry(b"l", SYMLINK, target=b"x"), entry(b"g", HARDLINK, target=b"l")],
    ),
    "devices": (
        header(b"c", b"3", major=b"0000001\0", minor=b"0000003\0") + header(b"b", b"4") + header(b"p", b"6"),
        [
            entry(b"c", EntryKind.CHARACTER, device=(1, 3)),
            entry(b"b", EntryKind.BLOCK),
            entry(b"p", EntryKind.FIFO),
        ],
    ),
    "not utf-8": (file(b"\xff\n\x1b"), [entry(b"\xff\n\x1b")]),
    "missing parents": (file(b"a/b/c"), [implied(b"a"), implied(b"a/b"), entry(b"a/b/c")]),
    "parent after its child": (
        file(b"a/f") + directory(b"a/"),
        [implied(b"a"), entry(b"a/f"), entry(b"a", DIRECTORY, 0o755)],
    ),
    "whiteout, then its path again": (file(b".wh.a") + file(b"a"), [entry(b".wh.a"), entry(b"a")]),
    "opaque after others": (
        directory(b"d") + file(b"d/f") + file(b"d/.wh..wh..opq"),
        [entry(b"d", DIRECTORY, 0o755), entry(b"d/f"), entry(b"d/.wh..wh..opq")],
    ),
    "no end": (file(b"f", b"x"), [entry(b"f", size=1)]),
    "half an end": (file(b"f", b"x") + bytes(512), [entry(b"f", size=1)]),
    "much padding": (file(b"f", b"x") + bytes(100_001), [entry(b"f", size=1)]),
}


@pytest.mark.parametrize(("archive", "expected"), WELL_FORMED.values(), ids=WELL_FORMED.keys())
def test_entries_come_out_checked_and_in_order(archive: bytes, expected: list[Entry]) -> None:
    assert entries(archive) == expected


@pytest.mark.parametrize(
    ("path", "whiteout", "is_opaque"),
    [
        (b"f", None, False),
        (b".wh.f", b"f", False),
        (b"a/b/.wh.f", b"a/b/f", False),
        (b"a/.wh..f", b"a/.f", False),
        (b"a/.wh..wh..opq", None, True),
        (b".wh..wh..opq", None, True),
    ],
)
def test_markers_say_what_they_hide(path: bytes, whiteout: bytes | None, is_opaque: bool) -> None:
    marker = entry(path)
    assert (marker.whiteout, marker.is_opaque) == (whiteout, is_opaque)


def test_an_entry_knows_its_parent_and_name_and_can_be_a_key() -> None:
    link = entry(b"a/b/c", xattrs={b"user.a": b"1"})
    assert (link.parent, link.name, len({link, link})) == (b"a/b", b"c", 1)
    assert (entry(b"").parent, entry(b"").name) == (b"", b"")


def test_content_is_read_in_any_way_or_left_alone() -> None:
    data = os.urandom(1_500_000)
    archive = b"".join(file(name, data) for name in (b"a", b"b", b"c", b"d")) + file(b"e", b"last") + END
    seen: list[bytes] = []
    for item, content in read_layer(io.BytesIO(archive)):
        match item.path:
            case b"a":
                seen.append(content.read(10) + content.read())
                assert content.read(5) == b""
            case b"b":
                pieces: list[memoryview] = []
                assert content.copy_to(pieces.append) == len(data)
                seen.append(b"".join(pieces))
            case b"c":
                assert content.read(100_000) == data[:100_000]
                assert content.remaining == len(data) - 100_000
            case b"d":
                pass
            case _:
                seen.append(content.read())
    assert seen == [data, data, b"last"]


def test_content_is_gone_when_the_next_entry_is_asked_for() -> None:
    reader = read_layer(io.BytesIO(file(b"a", b"data") + file(b"b", b"data") + END))
    _, first = next(reader)
    next(reader)
    with pytest.raises(ValueError, match="only until the next entry"):
        first.read()


def test_the_whole_stream_is_read_for_its_digest() -> None:
    stream = io.BytesIO(file(b"a", b"data") + END + bytes(1_000_000))
    assert len(list(read_layer(stream))) == 1
    assert stream.read() == b""


SPARSE = {
    "old gnu": ["--format=gnu"],
    "oldgnu": ["--format=oldgnu"],
    "0.0": ["--format=pax", "--sparse-version=0.0"],
    "0.1": ["--format=pax", "--sparse-version=0.1"],
    "1.0": ["--format=pax", "--sparse-version=1.0"],
}


def holes(path: Path, count: int, size: int) -> bytes:
    """A file with this many pieces of data between holes."""
    with path.open("wb") as target:
        for number in range(count):
            target.seek(number * 65536 + 8192)
            target.write(b"%08d" % number * 512)
        target.truncate(size)
    return path.read_bytes()


@pytest.mark.parametrize("options", SPARSE.values(), ids=SPARSE.keys())
@pytest.mark.parametrize(("count", "size"), [(0, 1 << 20), (1, 65536), (3, 1 << 20), (60, 5_000_001), (300, 20 << 20)])
def test_sparse_files_of_gnu_tar_are_whole(tmp_path: Path, options: list[str], count: int, size: int) -> None:
    name = "f" * 120
    data = holes(tmp_path / name, count, size)
    (tmp_path / "z").write_bytes(b"after")
    command = ["tar", "-C", str(tmp_path), "-cSf", "-", "--hole-detection=raw", *options, name, "z"]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    assert len(archive) < len(data)
    found = read(archive)
    assert [(item.path, item.size) for item, _ in found] == [(name.encode(), size), (b"z", 5)]
    assert found[0][1] == data
    assert found[1][1] == b"after"


@pytest.mark.parametrize("options", SPARSE.values(), ids=SPARSE.keys())
def test_sparse_files_that_are_not_read_are_skipped(tmp_path: Path, options: list[str]) -> None:
    holes(tmp_path / "f", 60, 5_000_001)
    (tmp_path / "z").write_bytes(b"after")
    command = ["tar", "-C", str(tmp_path), "-cSf", "-", "--hole-detection=raw", *options, "f", "z"]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    for taken in (0, 1, 8192, 100_000):
        tails = [content.read(taken)[:0] + content.read(5) for item, content in read_layer(io.BytesIO(archive))]
        assert taken or tails[1] == b"after"
        assert len(tails) == 2


def make_tree(root: Path) -> None:
    (root / "dir/sub").mkdir(parents=True)
    (root / "dir/sub" / ("long-" * 30 + "ä")).write_bytes(b"long")
    (root / "dir/file").write_bytes(b"data" * 1000)
    (root / "dir/file").chmod(0o4750)
    (root / "dir/link").symlink_to("../" * 40 + "target")
    (root / "dir/same").hardlink_to(root / "dir/file")
    os.mkfifo(root / "pipe")
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, (1_700_000_000 + number) * SECOND + SECOND // 8), follow_symlinks=False)


def described(root: Path, precision: int) -> dict[bytes, tuple[object, ...]]:
    """What lstat says of a tree; hard links show as what they are."""
    found: dict[bytes, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        stat = path.lstat()
        target = os.readlink(path).encode() if path.is_symlink() else b""
        size = stat.st_size if path.is_file() and not path.is_symlink() else 0
        name = os.fsencode(path.relative_to(root))
        found[name] = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, stat.st_mtime_ns // precision, size, target)
    return found


def summary(items: list[Entry], precision: int) -> dict[bytes, tuple[object, ...]]:
    found: dict[bytes, tuple[object, ...]] = {}
    for item in items:
        if item.kind is HARDLINK:
            found[item.path] = found[item.target]
        elif item.path:
            time = item.mtime // precision
            found[item.path] = (item.mode, item.uid, item.gid, time, item.size, item.target)
    return found


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "posix"])
def test_archives_of_gnu_tar_show_the_tree(tmp_path: Path, form: str) -> None:
    make_tree(tmp_path)
    command = ["tar", "-C", str(tmp_path), "-cf", "-", f"--format={form}", "."]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    precision = 1 if form == "posix" else SECOND
    assert summary(entries(archive), precision) == described(tmp_path, precision)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_archives_of_tarfile_show_the_tree(tmp_path: Path, form: int) -> None:
    make_tree(tmp_path)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        tar.add(tmp_path, arcname="")
    precision = 1 if form == tarfile.PAX_FORMAT else SECOND
    assert summary(entries(buffer.getvalue()), precision) == described(tmp_path, precision)


class Endless:
    """A header and then zeros, made when they are asked for."""

    def __init__(self, front: bytes, zeros: int) -> None:
        self._front = front
        self._zeros = zeros

    def read(self, size: int, /) -> bytes:
        if self._front:
            front, self._front = self._front[:size], self._front[size:]
            return front
        count = min(size, self._zeros)
        self._zeros -= count
        return bytes(count)


SPARSE_RECORDS = {b"GNU.sparse.size": b"%d" % (1 << 30), b"GNU.sparse.numblocks": b"1", b"GNU.sparse.map": b"5,1"}


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (Endless(header(b"big", size=1 << 30), (1 << 30) + 1024), 1 << 30),
        (Endless(pax(SPARSE_RECORDS) + file(b"big", b"x"), 1024), 1 << 30),
        (Endless(file(b"small", b"x"), 1 << 30), 1),
    ],
    ids=["file", "sparse", "padding"],
)
def test_large_content_is_never_held_in_memory(stream: Endless, size: int) -> None:
    tracemalloc.start()
    try:
        copied = [content.copy_to(len) for _, content in read_layer(stream)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert copied == [size]
    assert peak < 3_000_000


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"usr/lib", "usr/lib"),
        ("usr/ä".encode(), "usr/ä"),
        (b"a\x1b[31m\n\xff", "a\\x1b[31m\\n\\xff"),
        ("a\u202eb".encode(), "a\\u202eb"),
        (b"", "''"),
        (b" a", "' a'"),
        (b"n" * 4000, "n" * 200 + "…"),
    ],
)
def test_names_are_safe_to_show(name: bytes, shown: str) -> None:
    assert printable(name) == shown


def test_an_error_names_the_entry_safely() -> None:
    with pytest.raises(LayerError) as caught:
        entries(file(b"evil\x1b]0;\x07/../x"))
    assert caught.value.entry == "evil\\x1b]0;\\x07/../x"
    assert "\x1b" not in str(caught.value)
    assert caught.value.hint is not None


def test_records_count_their_own_length() -> None:
    for length in range(1, 120):
        value = b"v" * length
        assert entries(pax(record(b"SCHILY.xattr.user.a", value)) + file(b"f"))[0].xattrs == {b"user.a": value}
