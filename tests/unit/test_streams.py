"""Layers as stores get them: every byte verified, fetched once, continued after a cut."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bootc import spool
from bootc.errors import (
    BootcError,
    CancelledError,
    FileSystemError,
    IntegrityError,
    NetworkError,
    NoSpaceError,
    UnsupportedError,
)
from bootc.events import Event, LayerFetched, LayerProgress
from bootc.image import Descriptor, Layer
from bootc.streams import FetchedLayers
from tests.blobs import BytesSource, digest_of, image_of, layer_of

CONTENT = os.urandom(300_000) + bytes(700_000)


def _no_cancel() -> None:
    return None


def _read(
    source: BytesSource, layers: list[Layer], directory: Path, report: Callable[[Event], None] = lambda e: None
) -> list[bytes]:
    found = []
    with FetchedLayers(source, layers, directory, report, _no_cancel) as streams:
        for layer in layers:
            with streams.open(layer) as stream:
                data = b""
                while more := stream.read(50_000):
                    data += more
                found.append(data)
    return found


@pytest.mark.parametrize("is_local", [False, True], ids=["spooled", "local"])
@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        zstandard.compress,
        lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]) + bytes(512),
        lambda data: (
            zstandard.compress(data[:1000]) + b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.compress(data[1000:])
        ),
        lambda data: data,
    ],
    ids=["gzip", "zstd", "gzip members and padding", "zstd frames and a skippable one", "plain"],
)
def test_every_form_of_compression_gives_the_content(
    tmp_path: Path, compress: Callable[[bytes], bytes], is_local: bool
) -> None:
    layer, blob = layer_of(CONTENT, compress)
    source = BytesSource(image_of([layer]), {layer.blob.digest: blob}, is_local)
    assert _read(source, [layer], tmp_path / "spool") == [CONTENT]
    assert not any((tmp_path / "spool").glob("*"))


def test_a_layer_that_an_image_has_twice_can_be_read_twice(tmp_path: Path) -> None:
    (first, first_blob), (second, second_blob) = layer_of(b"one"), layer_of(b"two")
    layers = [first, second, first]
    source = BytesSource(image_of(layers), {first.blob.digest: first_blob, second.blob.digest: second_blob})
    assert _read(source, layers, tmp_path / "spool") == [b"one", b"two", b"one"]
    assert not any((tmp_path / "spool").glob("*"))


def _truncated(blob: bytes) -> bytes:
    return blob[:-20]


def _altered(blob: bytes) -> bytes:
    return blob[:5000] + bytes([blob[5000] ^ 1]) + blob[5001:]


@pytest.mark.parametrize("is_local", [False, True], ids=["spooled", "local"])
@pytest.mark.parametrize("spoil", [_truncated, _altered, lambda blob: blob + b"x"], ids=["short", "altered", "long"])
def test_a_blob_that_is_not_what_it_is_named_is_refused(
    tmp_path: Path, spoil: Callable[[bytes], bytes], is_local: bool
) -> None:
    layer, blob = layer_of(CONTENT)
    source = BytesSource(image_of([layer]), {layer.blob.digest: spoil(blob)}, is_local)
    with pytest.raises(IntegrityError):
        _read(source, [layer], tmp_path)
    assert not any(tmp_path.glob("*"))


def test_a_blob_that_proved_wrong_before_anybody_read_it_is_told_as_wrong(tmp_path: Path) -> None:
    layer, blob = layer_of(CONTENT)
    source = BytesSource(image_of([layer]), {layer.blob.digest: blob[:-1] + b"?"})
    download = spool.Download(source, layer.blob, tmp_path, lambda event: None, threading.Event())
    download.run()
    with pytest.raises(IntegrityError, match="digest"), download.reader(_no_cancel):
        pytest.fail("nothing of it may be read")


@pytest.mark.parametrize("is_local", [False, True], ids=["spooled", "local"])
def test_content_with_another_diff_id_is_refused_although_its_blob_is_right(tmp_path: Path, is_local: bool) -> None:
    layer, blob = layer_of(CONTENT)
    lying = Layer(layer.descriptor, digest_of(b"something else"), layer.blob)
    source = BytesSource(image_of([lying]), {layer.blob.digest: blob}, is_local)
    with pytest.raises(IntegrityError, match="diffID"):
        _read(source, [lying], tmp_path)


@pytest.mark.parametrize(
    ("head", "word"),
    [(b"\xfd7zXZ\x00", "xz"), (b"BZh9", "bzip2"), (b"\x04\x22\x4d\x18", "lz4")],
    ids=["xz", "bz2", "lz4"],
)
def test_other_compressions_are_refused_by_name(tmp_path: Path, head: bytes, word: str) -> None:
    layer, blob = layer_of(head + bytes(100), lambda data: data)
    with pytest.raises(UnsupportedError, match=word):
        _read(BytesSource(image_of([layer]), {layer.blob.digest: blob}), [layer], tmp_path)


def test_gzip_with_garbage_behind_it_is_refused(tmp_path: Path) -> None:
    layer, blob = layer_of(CONTENT, lambda data: gzip.compress(data) + b"garbage")
    with pytest.raises(IntegrityError, match="gzip"):
        _read(BytesSource(image_of([layer]), {layer.blob.digest: blob}), [layer], tmp_path)


def test_what_the_reader_leaves_is_verified_too(tmp_path: Path) -> None:
    layer, blob = layer_of(CONTENT)
    spoiled = Layer(layer.descriptor, digest_of(b"no"), layer.blob)
    for wanted in (layer, spoiled):
        source = BytesSource(image_of([layer]), {layer.blob.digest: blob})
        with ExitStack() as stack:
            streams = stack.enter_context(FetchedLayers(source, [wanted], tmp_path, lambda e: None, _no_cancel))
            if wanted is spoiled:
                stack.enter_context(pytest.raises(IntegrityError))
            with streams.open(wanted) as stream:
                assert stream.read(10) == CONTENT[:10]


class _Cut(BytesSource):
    """The connection ends after so many bytes, once."""

    cut_at = 0

    @contextmanager
    def open_blob(self, blob: Descriptor, start: int = 0) -> Any:
        with super().open_blob(blob, start) as stream:
            yield _Cutting(stream, self.cut_at)


class _Cutting:
    def __init__(self, stream: Any, left: int) -> None:
        self._stream, self._left = stream, left

    def read(self, size: int = -1, /) -> bytes:
        if self._left <= 0:
            raise NetworkError("docker://host.example/os", "connection reset")
        data: bytes = self._stream.read(size)
        self._left -= len(data)
        return data


def test_a_cut_download_is_continued_where_it_ended(tmp_path: Path) -> None:
    layer, blob = layer_of(CONTENT)
    cut = _Cut(image_of([layer]), {layer.blob.digest: blob})
    cut.cut_at = 100_000
    with pytest.raises(NetworkError):
        _read(cut, [layer], tmp_path)
    kept = 105_000
    source = BytesSource(image_of([layer]), {layer.blob.digest: blob})
    events: list[Event] = []
    assert _read(source, [layer], tmp_path, events.append) == [CONTENT]
    assert source.served == [(layer.blob.digest, kept)]
    assert {event.resumed for event in events if isinstance(event, LayerProgress)} == {kept}
    fetched = [event for event in events if isinstance(event, LayerFetched)]
    seconds = fetched[-1].seconds
    assert fetched == [LayerFetched(str(layer.blob.digest), len(blob), len(blob) - kept, kept, seconds)]
    assert seconds >= 0


@pytest.mark.parametrize("left", [b"garbage" * 1000, bytes(10_000_000)], ids=["wrong bytes", "too long"])
def test_a_spool_file_that_went_bad_is_fetched_anew_without_an_error(tmp_path: Path, left: bytes) -> None:
    layer, blob = layer_of(CONTENT)
    (tmp_path / f"{layer.blob.digest.hex}.partial").write_bytes(left)
    source = BytesSource(image_of([layer]), {layer.blob.digest: blob})
    assert _read(source, [layer], tmp_path) == [CONTENT]
    assert source.served[-1] == (layer.blob.digest, 0)


def test_a_whole_blob_in_the_spool_is_not_fetched(tmp_path: Path) -> None:
    layer, blob = layer_of(CONTENT)
    (tmp_path / layer.blob.digest.hex).write_bytes(blob)
    source = BytesSource(image_of([layer]), {layer.blob.digest: blob})
    assert _read(source, [layer], tmp_path) == [CONTENT]
    assert source.served == []


def test_a_layer_stays_in_the_spool_until_the_store_asks_for_the_next(tmp_path: Path) -> None:
    pairs = [layer_of(CONTENT), layer_of(CONTENT + b"2")]
    source = BytesSource(image_of([pair[0] for pair in pairs]), {pair[0].blob.digest: pair[1] for pair in pairs})
    first, second = (pair[0] for pair in pairs)
    with FetchedLayers(source, [first, second], tmp_path, lambda e: None, _no_cancel) as streams:
        with streams.open(first):
            pass
        assert (tmp_path / first.blob.digest.hex).exists()
        with streams.open(second):
            assert not (tmp_path / first.blob.digest.hex).exists()
    assert not any(tmp_path.glob("*"))


def test_cancelling_ends_the_reading_and_the_fetching(tmp_path: Path) -> None:
    layer, blob = layer_of(CONTENT)
    reads = 0

    def cancel_soon() -> None:
        nonlocal reads
        reads += 1
        if reads > 3:
            raise CancelledError

    source = BytesSource(image_of([layer]), {layer.blob.digest: blob}, chunk=100)
    with (
        pytest.raises(CancelledError),
        FetchedLayers(source, [layer], tmp_path, lambda e: None, cancel_soon) as streams,
        streams.open(layer) as stream,
    ):
        while stream.read(1000):
            pass


def test_a_spool_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    layer, blob = layer_of(CONTENT)
    (tmp_path / "spool").write_text("a file where the directory should be")
    with pytest.raises(BootcError, match="spool"):
        _read(BytesSource(image_of([layer]), {layer.blob.digest: blob}), [layer], tmp_path / "spool")


def test_a_full_filesystem_gets_back_what_was_fetched(tmp_path: Path) -> None:
    pairs = [layer_of(os.urandom(100_000)) for _ in range(3)]
    source = BytesSource(image_of([layer for layer, _ in pairs]), {layer.blob.digest: blob for layer, blob in pairs})
    layers = [layer for layer, _ in pairs]
    for name in (f"{layers[0].blob.digest.hex}.parts", f"{layers[0].blob.digest.hex}.spans", "another.partial"):
        (tmp_path / name).write_bytes(b"what an earlier command left")
    with (
        pytest.raises(NoSpaceError),
        FetchedLayers(source, layers, tmp_path, lambda e: None, _no_cancel) as streams,
        streams.open(layers[0]) as stream,
    ):
        stream.read(1000)
        raise NoSpaceError("objects", "the store")
    assert not any(tmp_path.iterdir())


def test_pruning_removes_what_is_old_enough(tmp_path: Path) -> None:
    (tmp_path / "aa.partial").write_bytes(bytes(100))
    assert spool.prune(tmp_path, max_age=3600) == 0
    os.utime(tmp_path / "aa.partial", (1, 1))
    assert spool.prune(tmp_path, max_age=3600) == 100
    assert spool.prune(tmp_path / "absent") == 0
    (tmp_path / "directory").mkdir()
    with pytest.raises(FileSystemError, match=str(tmp_path)):
        spool.prune(tmp_path)


# ---------------------------------------------------------------- large layers, which a thread reads ahead

LARGE = os.urandom(3 << 20)


@pytest.mark.parametrize("is_local", [False, True], ids=["spooled", "local"])
@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress, bytes], ids=["gzip", "zstd", "plain"])
def test_a_large_layer_is_what_a_small_one_is(
    tmp_path: Path, compress: Callable[[bytes], bytes], is_local: bool
) -> None:
    (first, first_blob), (second, second_blob) = layer_of(LARGE, compress), layer_of(LARGE + b"2", compress)
    blobs = {first.blob.digest: first_blob, second.blob.digest: second_blob}
    source = BytesSource(image_of([first, second]), blobs, is_local)
    assert _read(source, [first, second], tmp_path) == [LARGE, LARGE + b"2"]
    spoiled = BytesSource(image_of([first]), {first.blob.digest: first_blob[:-1] + b"?"}, is_local)
    with pytest.raises(IntegrityError):
        _read(spoiled, [first], tmp_path)
    lying = Layer(first.descriptor, digest_of(b"something else"), first.blob)
    with pytest.raises(IntegrityError, match="diffID"):
        _read(source, [lying], tmp_path)


class _Stalled(BytesSource):
    """Gives half of a blob, and then nothing until `ended`."""

    ended: threading.Event

    @contextmanager
    def open_blob(self, blob: Descriptor, start: int = 0) -> Any:
        with super().open_blob(blob, start) as stream:
            yield _Stalling(stream, (blob.size or 0) // 2, self.ended)


class _Stalling:
    def __init__(self, stream: Any, left: int, ended: threading.Event) -> None:
        self._stream, self._left, self._ended = stream, left, ended

    def read(self, size: int = -1, /) -> bytes:
        if self._left <= 0:
            assert self._ended.wait(60)
            raise NetworkError("docker://host.example/os", "no answer in time")
        data: bytes = self._stream.read(size)
        self._left -= len(data)
        return data


def test_a_store_that_fails_does_not_wait_for_the_rest_of_the_layer(tmp_path: Path) -> None:
    """Its error leaves the block at once, although the server says nothing any more."""
    layer, blob = layer_of(LARGE)
    source = _Stalled(image_of([layer]), {layer.blob.digest: blob})
    source.ended = threading.Event()
    with FetchedLayers(source, [layer], tmp_path, lambda e: None, _no_cancel) as streams:
        with pytest.raises(ZeroDivisionError), streams.open(layer) as stream:
            assert stream.read(1) == LARGE[:1]
            raise ZeroDivisionError
        source.ended.set()
