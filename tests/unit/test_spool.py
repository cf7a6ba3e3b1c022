"""What the spool holds is not fetched again: after a failure, a kill, a power cut, on a disk that went bad."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from bootc import spool
from bootc.errors import CancelledError, FileSystemError, IntegrityError
from bootc.events import Event, LayerFetched
from bootc.fetcher import Readable
from bootc.image import Descriptor, Digest, Layer
from bootc.spoolfile import AHEAD, PIECE, SpoolFile
from tests.blobs import BytesSource, image_of

MIB = 1 << 20
BLOB = os.urandom(5 * MIB + 12_345)
LOST = AHEAD + 2 * PIECE
"""bytes that a power cut may cost"""


def _descriptor(data: bytes = BLOB, algorithm: str = "sha256") -> Descriptor:
    return Descriptor("x/y", Digest(algorithm, hashlib.new(algorithm, data).hexdigest()), len(data))


class Watched(BytesSource):
    """Tells how many bytes it has given, before each read."""

    at: Callable[[int], None]

    @contextmanager
    def open_blob(self, blob: Descriptor, start: int = 0) -> Iterator[Readable]:
        with super().open_blob(blob, start) as stream:
            yield _Watching(stream, self.at)


class _Watching:
    def __init__(self, stream: Readable, at: Callable[[int], None]) -> None:
        self._stream, self._at, self._given = stream, at, 0

    def read(self, size: int = -1, /) -> bytes:
        self._at(self._given)
        data = self._stream.read(size)
        self._given += len(data)
        return data


def _source(blob: Descriptor, data: bytes = BLOB, at: Callable[[int], None] = lambda given: None) -> Watched:
    source = Watched(image_of([Layer(blob, blob.digest, blob)]), {blob.digest: data}, chunk=100_000)
    source.at = at
    return source


def _download(source: BytesSource, blob: Descriptor, directory: Path) -> list[Event]:
    """One run; raises what ended it."""
    events: list[Event] = []
    spool.prepare(directory, [blob])
    download = spool.Download(source, blob, directory, events.append, threading.Event())
    download.run()
    assert download.wait_beyond(len(BLOB), lambda: None) == len(BLOB)
    return events


def _continued(blob: Descriptor, directory: Path) -> int:
    """Go on with what lies in the spool; returns the offset from which it was fetched. The bytes must be right."""
    source = _source(blob)
    events = _download(source, blob, directory)
    assert (directory / blob.digest.hex).read_bytes()[: len(BLOB)] == BLOB
    (start,) = {start for _, start in source.served} or {len(BLOB)}
    (told,) = [event for event in events if isinstance(event, LayerFetched)]
    assert (told.size, told.fetched, told.reused) == (len(BLOB), len(BLOB) - start, start)
    return start


MOMENTS = [0, 90_000, MIB, 3 * MIB + 77, len(BLOB) - 1]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_kill_costs_half_a_mib(tmp_path: Path, moment: int, algorithm: str) -> None:
    """The spool as it is at that moment, to the byte, is what a kill leaves."""
    blob, left, fetched = _descriptor(algorithm=algorithm), tmp_path / "left", 0

    def at(given: int) -> None:
        nonlocal fetched
        if given >= moment and not left.exists():
            fetched = given
            shutil.copytree(tmp_path / "spool", left)

    _download(_source(blob, at=at), blob, tmp_path / "spool")
    assert fetched >= moment
    assert _continued(blob, left) >= fetched - 2 * PIECE


def _nothing(disk: bytes, memory: bytes) -> bytes:
    return disk


def _zeros(disk: bytes, memory: bytes) -> bytes:
    return disk + bytes(len(memory) - len(disk))


def _marks_first(disk: bytes, memory: bytes) -> bytes:
    size = -(-len(BLOB) // 4096) * 4096
    return (disk + bytes(size))[:size] + memory[size:]


def _bytes_first(disk: bytes, memory: bytes) -> bytes:
    size = -(-len(BLOB) // 4096) * 4096
    return (memory + bytes(size))[:size] + disk[size:]


def _every_other_page(disk: bytes, memory: bytes) -> bytes:
    known = disk + bytes(len(memory) - len(disk))
    pages = range(0, len(memory), 4096)
    return b"".join((known if page % 8192 else memory)[page : page + 4096] for page in pages)


LOSSES = [_nothing, _zeros, _marks_first, _bytes_first, _every_other_page]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_a_power_cut_costs_two_mib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: Callable[[bytes, bytes], bytes], moment: int
) -> None:
    """What was synced is on the disk; of all else nothing, the length, or any part may be."""
    blob, left = _descriptor(), tmp_path / "left"
    partial = f"{blob.digest.hex}.partial"
    disk, fetched, really = b"", 0, os.fdatasync

    def fdatasync(descriptor: int) -> None:
        nonlocal disk
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        really(descriptor)
        disk = content

    def at(given: int) -> None:
        nonlocal fetched
        if given >= moment and not left.exists():
            fetched = given
            left.mkdir()
            (left / partial).write_bytes(loss(disk, (tmp_path / "spool" / partial).read_bytes()))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    _download(_source(blob, at=at), blob, tmp_path / "spool")
    assert fetched >= moment
    assert _continued(blob, left) >= fetched - LOST


def test_small_parts_are_gathered_and_none_is_lost_by_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they come through a slow line: each write, and each waking of the reader, costs more than such a part."""
    blob, writes, append = _descriptor(), list[int](), SpoolFile.append

    def counted(file: SpoolFile, data: bytes, position: int) -> int:
        writes.append(len(data))
        return append(file, data, position)

    def at(given: int) -> None:
        if given >= MIB + 10_000:
            raise FileSystemError("/", "the line went dead")

    monkeypatch.setattr(SpoolFile, "append", counted)
    source = _source(blob, at=at)
    source.chunk = 700
    with pytest.raises(FileSystemError):
        _download(source, blob, tmp_path)
    assert len(writes) <= 2 * MIB // (64 << 10)
    given = -(-(MIB + 10_000) // 700) * 700
    assert sum(writes) == given
    assert _continued(blob, tmp_path) == given


def test_a_blob_is_on_the_disk_before_it_counts_as_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = _descriptor()
    steps: list[str] = []

    def noted(name: str) -> Callable[..., None]:
        really = getattr(os, name)

        def step(*args: object) -> None:
            really(*args)
            steps.append(name)

        return step

    for name in ("fdatasync", "replace"):
        monkeypatch.setattr(os, name, noted(name))
    _download(_source(blob), blob, tmp_path)
    assert steps[-2:] == ["fdatasync", "replace"]
    assert _continued(blob, tmp_path) == len(BLOB)


@pytest.mark.parametrize("place", [0, 2 * MIB + 5, 4 * MIB])
def test_a_byte_that_went_bad_costs_what_comes_after_it(tmp_path: Path, place: int) -> None:
    blob = _descriptor()

    def at(given: int) -> None:
        if given > 4 * MIB + 500_000:
            raise CancelledError

    with pytest.raises(CancelledError):
        _download(_source(blob, at=at), blob, tmp_path)
    with (tmp_path / f"{blob.digest.hex}.partial").open("r+b") as file:
        file.seek(place)
        bad = bytes([BLOB[place] ^ 1])
        file.write(bad)
    assert place - 2 * PIECE < _continued(blob, tmp_path) <= place


@pytest.mark.parametrize(
    "left",
    [b"garbage" * 1000, BLOB + os.urandom(2 * MIB), BLOB[:MIB] + os.urandom(6 * MIB), bytes(20 * MIB)],
    ids=["garbage", "wrong marks", "wrong bytes and marks", "too long"],
)
def test_whatever_stands_in_the_file_is_compared_and_not_believed(tmp_path: Path, left: bytes) -> None:
    blob = _descriptor()
    (tmp_path / f"{blob.digest.hex}.partial").write_bytes(left)
    assert _continued(blob, tmp_path) == (len(BLOB) if left.startswith(BLOB) else 0)


def test_a_beginning_that_was_served_wrong_is_fetched_anew_without_an_error(tmp_path: Path) -> None:
    """The marks vouch for what came, not for what should have come; only the whole tells."""
    blob = _descriptor()

    def at(given: int) -> None:
        if given > 3 * MIB:
            raise CancelledError

    with pytest.raises(CancelledError):
        _download(_source(blob, b"?" + BLOB[1:], at), blob, tmp_path)
    source = _source(blob)
    events = _download(source, blob, tmp_path)
    (first, second) = [start for _, start in source.served]
    assert first > 2 * MIB
    assert second == 0
    assert (tmp_path / blob.digest.hex).read_bytes()[: len(BLOB)] == BLOB
    (told,) = [event for event in events if isinstance(event, LayerFetched)]
    assert told.fetched == 2 * len(BLOB) - first
    assert _continued(blob, tmp_path) == len(BLOB)


def test_a_blob_of_unknown_size_leaves_nothing_that_counts(tmp_path: Path) -> None:
    blob = evolve(_descriptor(), size=None)
    source = _source(blob)
    for _ in range(2):
        _download(source, blob, tmp_path)
        assert (tmp_path / blob.digest.hex).read_bytes() == BLOB
    assert [start for _, start in source.served] == [0, 0]


def test_a_size_beyond_all_files_is_a_typed_error(tmp_path: Path) -> None:
    blob = evolve(_descriptor(), size=1 << 60)
    download = spool.Download(_source(blob), blob, tmp_path, lambda event: None, threading.Event())
    download.run()
    with pytest.raises(FileSystemError):
        download.wait_beyond(len(BLOB), lambda: None)


def test_a_disk_that_fails_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fdatasync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    blob = _descriptor()
    with pytest.raises(FileSystemError, match=r"\.partial: Input/output error"):
        _download(_source(blob), blob, tmp_path)


def test_a_download_that_is_stopped_while_it_looks_at_what_it_has_ends(tmp_path: Path) -> None:
    blob, stop = _descriptor(), threading.Event()
    (tmp_path / f"{blob.digest.hex}.partial").write_bytes(BLOB)
    stop.set()
    download = spool.Download(_source(blob), blob, tmp_path, lambda event: None, stop)
    download.run()
    with pytest.raises(CancelledError):
        download.wait_beyond(0, lambda: None)


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    blob, target = _descriptor(), tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / f"{blob.digest.hex}.partial").symlink_to(target)
    with pytest.raises(FileSystemError):
        _download(_source(blob), blob, tmp_path)
    assert target.read_bytes() == b"precious"


def test_a_wrong_blob_leaves_nothing(tmp_path: Path) -> None:
    blob = _descriptor()
    with pytest.raises(IntegrityError):
        _download(_source(blob, BLOB[:-1] + bytes([BLOB[-1] ^ 1])), blob, tmp_path)
    assert list(tmp_path.iterdir()) == []
