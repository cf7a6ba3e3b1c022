"""Room for the spool: looked for before anything is fetched, told to stores, and given back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve

from bootc import spool
from bootc.durable import DirectoryVolume
from bootc.errors import NoSpaceError
from bootc.image import Descriptor, Layer
from bootc.streams import FetchedLayers
from tests.blobs import BytesSource, digest_of, image_of, layer_of

MIB = 1 << 20
BLOB = os.urandom(5 * MIB + 12_345)


def _descriptor(data: bytes) -> Descriptor:
    return Descriptor("x/y", digest_of(data), len(data))


def test_without_room_nothing_is_fetched(tmp_path: Path) -> None:
    layer, data = layer_of(b"content")
    huge = evolve(layer.blob, size=1 << 60)
    source = BytesSource(image_of([layer]), {layer.blob.digest: data})
    with pytest.raises(NoSpaceError, match="the layers of the image") as caught:
        FetchedLayers(source, [evolve(layer, blob=huge)], tmp_path, lambda e: None, lambda: None).__enter__()
    assert caught.value.required == 1 << 60
    assert source.served == []


def test_what_the_spool_holds_needs_no_room(tmp_path: Path) -> None:
    """The largest blob that is to come lies beside its layer for a while; stores are told."""
    whole, begun = _descriptor(BLOB), _descriptor(os.urandom(3 * MIB))
    layers = [Layer(blob, blob.digest, blob) for blob in (whole, begun)]
    assert spool.missing(tmp_path, [whole, begun]) == len(BLOB) + 3 * MIB
    assert _room(layers, tmp_path) == len(BLOB)
    (tmp_path / whole.digest.hex).write_bytes(BLOB)
    assert spool.missing(tmp_path, [whole, begun]) == _room(layers, tmp_path) == 3 * MIB
    (tmp_path / f"{begun.digest.hex}.partial").write_bytes(bytes(MIB))
    assert spool.missing(tmp_path, [whole, begun]) == _room(layers, tmp_path) == 2 * MIB
    assert _room(layers, tmp_path, is_local=True) == 0


def test_a_download_that_ends_meanwhile_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file gets its last name between two looks."""
    blob = _descriptor(BLOB)
    complete, partial = tmp_path / blob.digest.hex, tmp_path / f"{blob.digest.hex}.partial"
    partial.write_bytes(BLOB)
    lstat = Path.lstat

    def after_a_while(path: Path) -> os.stat_result:
        if path == partial:
            partial.rename(complete)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", after_a_while)
    assert spool.held(tmp_path, blob) == len(BLOB)


def _room(layers: list[Layer], directory: Path, *, is_local: bool = False) -> int:
    """What stores are told, by streams that get nothing from their source."""
    source = BytesSource(image_of(layers), {}, is_local)
    with FetchedLayers(source, layers, directory, lambda event: None, lambda: None) as streams:
        return streams.room()


def test_where_room_is_short_what_other_images_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beginning of an update that came to nothing must not keep the next one from coming."""
    wanted, other = _descriptor(BLOB), _descriptor(os.urandom(1000))
    kept = [wanted.digest.hex + ".partial", other.digest.hex + ".parts", other.digest.hex + ".spans"]
    for name in (*kept, "aa", "bb.partial", "cc.parts", "cc.spans"):
        (tmp_path / name).write_bytes(bytes(MIB))
    monkeypatch.setattr(DirectoryVolume, "free", lambda volume: (8 - len(list(tmp_path.iterdir()))) * MIB)
    spool.prepare(tmp_path, [], [other])
    assert len(list(tmp_path.iterdir())) == 7
    spool.prepare(tmp_path, [wanted], [other])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    with pytest.raises(NoSpaceError):
        spool.prepare(tmp_path, [wanted, _descriptor(os.urandom(2 * MIB))], [other])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_the_directory_is_private_and_its_parents_are_not(tmp_path: Path) -> None:
    spool.prepare(tmp_path / "state/bootc/spool", [])
    modes = [oct((tmp_path / path).stat().st_mode & 0o777) for path in ("state/bootc/spool", "state/bootc", "state")]
    assert modes == ["0o700", "0o755", "0o755"]


def test_holes_are_not_counted_as_room_that_became_free(tmp_path: Path) -> None:
    with (tmp_path / "aa.partial").open("wb") as file:
        file.truncate(100 * MIB)
    assert spool.prune(tmp_path) < MIB
