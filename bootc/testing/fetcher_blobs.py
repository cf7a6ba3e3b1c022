"""Clauses of `Source.open_blob`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bootc.errors import FetchError, IntegrityError
from bootc.fetcher import Fetcher
from bootc.hookspec import Capability
from bootc.testing.fetcher_images import RegistryShelf, Shelf, make_sample, sha256
from bootc.testing.fetcher_place import AMD64, FetcherFixtures, Listener, imported, is_same, read
from bootc.testing.hostile.errands import read_range
from bootc.testing.registry import cut_after, redirects
from bootc.testing.suite import clause, needs

_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "altered": lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
    "cut": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"more",
    "empty": lambda data: b"",
}


class BlobClauses(FetcherFixtures):
    """F9 to F16, F48."""

    @clause("F9")
    def test_blobs_are_as_served(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample = make_sample("os", layers=3)
        with fetcher.resolve(shelf.put("os", sample), AMD64) as source:
            assert is_same(tuple(read(source, layer.blob) for layer in source.image.layers), sample.blobs)

    @clause("F9")
    def test_a_blob_may_lie_elsewhere(self, fetcher: Fetcher, remote: RegistryShelf) -> None:
        sample = make_sample("os")
        reference = remote.put("os", sample)
        target = f"{remote.registry.base}/v2/fake/os/blobs/{{digest}}?elsewhere=1"
        remote.registry.disturb(r"blobs/[^?]*$", redirects(target), is_forever=True)
        with fetcher.resolve(reference, AMD64) as source:
            assert is_same(tuple(read(source, layer.blob) for layer in source.image.layers), sample.blobs)

    @clause("F10")
    def test_blobs_begin_where_asked(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample = make_sample("os", layers=1)
        (blob,) = sample.blobs
        with fetcher.resolve(shelf.put("os", sample), AMD64) as source:
            for start in (0, 1, len(blob) // 2, len(blob) - 1, len(blob)):
                assert is_same(read(source, source.image.layers[0].blob, start), blob[start:]), start

    @clause("F11")
    def test_reads_are_bounded_and_end(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample = make_sample("os", layers=1)
        with fetcher.resolve(shelf.put("os", sample), AMD64) as source:
            with source.open_blob(source.image.layers[0].blob) as stream:
                first = stream.read(7)
                assert 0 < len(first) <= 7
                rest = b"".join(iter(lambda: stream.read(10_000), b""))
                assert is_same(first + rest, sample.blobs[0])
                assert [stream.read(10), stream.read(10), stream.read()] == [b"", b"", b""]
            with source.open_blob(source.image.layers[0].blob) as stream:
                assert is_same(b"".join(iter(stream.read, b"")), sample.blobs[0])

    @clause("F12")
    def test_blobs_are_read_from_several_threads(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample = make_sample("os", layers=4)
        with fetcher.resolve(shelf.put("os", sample), AMD64) as source, ThreadPoolExecutor(8) as threads:
            blobs = [layer.blob for layer in source.image.layers] * 2
            assert is_same(tuple(threads.map(lambda blob: read(source, blob), blobs)), sample.blobs * 2)

    @clause("F13")
    def test_a_blob_may_be_left_early_and_opened_again(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample = make_sample("os", layers=1, size=3_000_000)
        with fetcher.resolve(shelf.put("os", sample), AMD64) as source:
            blob = source.image.layers[0].blob
            for _ in range(3):
                with source.open_blob(blob) as stream:
                    assert stream.read(100)
            with source.open_blob(blob):
                pass
            assert is_same(read(source, blob), sample.blobs[0])

    @clause("F14")
    @pytest.mark.parametrize("damage", _DAMAGES.values(), ids=_DAMAGES.keys())
    def test_wrong_content_does_not_pass(
        self, fetcher: Fetcher, shelf: Shelf, damage: Callable[[bytes], bytes], tmp_path: Path, listener: Listener
    ) -> None:
        sample = make_sample("os", layers=1)
        reference = shelf.put("os", sample)
        shelf.keep(sha256(sample.blobs[0]), damage(sample.blobs[0]))
        with fetcher.resolve(reference, AMD64) as source:
            with pytest.raises(FetchError):
                imported(source, tmp_path / "spool", listener)
            try:
                data = read(source, source.image.layers[0].blob)
            except IntegrityError:
                return
            assert is_same(data, damage(sample.blobs[0]))

    @clause("F15")
    def test_cut_connections_are_continued(self, fetcher: Fetcher, remote: RegistryShelf) -> None:
        sample = make_sample("os", layers=1)
        reference = remote.put("os", sample)
        with fetcher.resolve(reference, AMD64) as source:
            remote.registry.disturb("blobs", cut_after(60_000))
            assert is_same(read(source, source.image.layers[0].blob), sample.blobs[0])

    @clause("F16")
    def test_a_registry_is_not_local(self, fetcher: Fetcher, remote: RegistryShelf) -> None:
        with fetcher.resolve(remote.put("os", make_sample("os")), AMD64) as source:
            assert not source.is_local

    @clause("F48")
    @needs(Capability.RANGES)
    def test_ranges_are_exactly_those_bytes(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample = make_sample("os", layers=1)
        (blob,) = sample.blobs
        last = len(blob) - 1
        wanted = [(0, 1), (0, len(blob)), (last, 1), (70_000, 20_000), (1, last), (5, 100_000)]
        with fetcher.resolve(shelf.put("os", sample), AMD64) as source, ThreadPoolExecutor(4) as threads:
            found = threads.map(lambda part: read_range(source, *part), wanted * 2)
            assert is_same(list(found), [blob[start : start + size] for start, size in wanted * 2])
