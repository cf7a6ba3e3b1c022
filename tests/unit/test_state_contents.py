"""The index of contents: what was written is found, and nothing of a damaged file is believed."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import tracemalloc
from pathlib import Path, PurePosixPath

import pytest

from bootc.durable import DirectoryVolume
from bootc.errors import StateError
from bootc.image import Digest
from bootc.state.contents import Contents, ContentsWriter, Place

LAYER = Digest("sha256", "a" * 64)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    return Contents(DirectoryVolume(tmp_path), PurePosixPath("contents"), lambda: None)


def _fill(contents: Contents, count: int) -> None:
    writer = ContentsWriter()
    for number in range(count):
        path = f"usr/é/{number // 3}"
        writer.add_content(path, number % 3 * 100, number, _digest(str(number)))
        writer.add_gap(_digest(f"gap {number}")[:16], str(number).encode())
    contents.write(LAYER, writer)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5000])
def test_what_was_written_is_found(contents: Contents, count: int) -> None:
    _fill(contents, count)
    layer = contents.open(LAYER)
    assert layer
    for number in range(count):
        assert layer.place(_digest(str(number)), number) == Place(f"usr/é/{number // 3}", number % 3 * 100)
        assert layer.has_content(_digest(str(number)), number)
        assert layer.place(_digest(str(number)), number + 1) is None
        assert layer.gap(_digest(f"gap {number}")[:16]) == str(number).encode()
    assert layer.place(_digest("other"), 1) is None
    assert layer.gap(_digest("other")[:16]) is None
    assert not layer.has_gap(_digest("other")[:16])
    layer.close()


def test_keys_that_begin_alike_are_told_apart(contents: Contents) -> None:
    writer = ContentsWriter()
    digests = [number.to_bytes(32, "big") for number in range(20_000)]
    for number, digest in enumerate(digests):
        writer.add_content(str(number), 0, 1, digest)
    contents.write(LAYER, writer)
    layer = contents.open(LAYER)
    assert layer
    found = [layer.place(digest, 1) for digest in digests]
    assert found == [Place(str(number), 0) for number in range(len(digests))]
    assert layer.place(len(digests).to_bytes(32, "big"), 1) is None
    layer.close()


def test_a_layer_that_was_never_imported_is_unknown(contents: Contents) -> None:
    assert contents.open(LAYER) is None


def test_what_is_no_index_is_unknown(contents: Contents) -> None:
    _fill(contents, 10)
    path = contents.volume.path(contents.directory) / str(LAYER).replace(":", "-")
    whole = path.read_bytes()
    for spoiled in (b"", whole[:20], whole[:-1], whole + b"x", b"X" + whole[1:]):
        path.write_bytes(spoiled)
        assert contents.open(LAYER) is None
    path.unlink()
    path.symlink_to(os.devnull)
    assert contents.open(LAYER) is None


def test_damage_within_gives_other_answers_and_no_errors(contents: Contents) -> None:
    _fill(contents, 50)
    path = contents.volume.path(contents.directory) / str(LAYER).replace(":", "-")
    whole, generator = path.read_bytes(), random.Random(2)
    for _ in range(200):
        spoiled = bytearray(whole)
        for _ in range(30):
            spoiled[generator.randrange(57, len(spoiled))] = generator.randrange(256)
        path.write_bytes(spoiled)
        layer = contents.open(LAYER)
        assert layer
        for number in range(50):
            found = layer.place(_digest(str(number)), number)
            assert found is None or isinstance(found.path, str)
            layer.gap(_digest(f"gap {number}")[:16])
        layer.close()


def test_a_disk_that_fails_gives_nothing_and_no_errors(contents: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ContentsWriter()
    writer.add_content("path", 0, 1, _digest("content"))
    writer.add_gap(_digest("gap")[:16], b"frame")
    contents.write(LAYER, writer)
    layer = contents.open(LAYER)
    assert layer

    def pread(*arguments: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", pread)
    assert layer.place(_digest("content"), 1) is None
    assert layer.gap(_digest("gap")[:16]) is None
    layer.close()
    assert contents.open(LAYER) is None


def test_only_what_is_retained_stays(contents: Contents) -> None:
    other = Digest("sha256", "b" * 64)
    for layer in (LAYER, other):
        contents.write(layer, ContentsWriter())
    contents.retain([other])
    assert contents.volume.names(contents.directory) == (str(other).replace(":", "-"),)
    contents.retain([])
    assert contents.volume.names(contents.directory) == ()


def test_nothing_is_written_where_a_newer_version_wrote(tmp_path: Path) -> None:
    def refuse() -> None:
        raise StateError("system.json", "written by a newer version")

    contents = Contents(DirectoryVolume(tmp_path), PurePosixPath("contents"), refuse)
    with pytest.raises(StateError):
        contents.write(LAYER, ContentsWriter())
    assert not any(tmp_path.iterdir())


def test_a_layer_beyond_measure_is_known_in_part(contents: Contents) -> None:
    writer = ContentsWriter()
    frame = bytes(200_000)
    tracemalloc.start()
    try:
        for number in range(2000):
            writer.add_gap(number.to_bytes(16, "big"), frame)
            writer.add_content(f"{number}/" + "a" * 4000 * 20, 0, 1, number.to_bytes(32, "big"))
        contents.write(LAYER, writer)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    layer = contents.open(LAYER)
    assert layer
    assert layer.gap(bytes(16)) == frame
    assert layer.gap((1999).to_bytes(16, "big")) is None
    layer.close()
