"""Partial pulls: the exact tar, with no more bytes than needed, whatever goes wrong on the way."""

from __future__ import annotations

import hashlib
import os
import random
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pytest
from attrs import define, evolve, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootc import spool
from bootc.durable import DirectoryVolume
from bootc.errors import IntegrityError, NoSpaceError, RebuiltLayerError
from bootc.events import Event, LayerFetched, Notice
from bootc.fetcher import Readable
from bootc.image import Descriptor, Digest, Layer
from bootc.partial.known import Nothing
from bootc.partial.local import local_contents
from bootc.partial.predicting import contents_of, predict
from bootc.partial.prediction import Method
from bootc.partial.pulls import PartialPulls
from bootc.partial.rule import Rule
from bootc.spoolfile import PIECE
from bootc.state.contents import Contents, ContentsWriter, LayerContents, Place
from bootc.streams import FetchedLayers
from tests.blobs import digest_of
from tests.partial_layers import Chunked, FilesStore, RangesSource, imported, tar_of

ALWAYS = Rule(mode="always", request_time=0.0)


@define
class Machine:
    """What stays between two imports: the spool, the index of contents, and what was refused."""

    root: Path
    rule: Rule = ALWAYS
    events: list[Event] = field(factory=list)
    refused: set[Digest] = field(factory=set)
    is_seekable: bool = True

    @property
    def contents(self) -> Contents:
        """The index."""
        return Contents(DirectoryVolume(self.root), PurePosixPath("contents"), lambda: None)

    @property
    def spool(self) -> list[str]:
        """The names of what lies there."""
        return sorted(os.listdir(self.root / "spool"))

    @property
    def notices(self) -> list[str]:
        """What the user is told."""
        return [event.message for event in self.events if isinstance(event, Notice)]

    def pull(
        self,
        wanted: Chunked,
        present: Chunked | None = None,
        *,
        source: RangesSource | None = None,
        files: dict[str, bytes] | None = None,
    ) -> bytes:
        """The tar that a store gets. `files` are those of the present image, if not those of its layer."""
        with self._pulls(present, present.files if present and files is None else files or {}) as pulls:
            streams = FetchedLayers(
                source or wanted.source,
                [wanted.layer],
                self.root / "spool",
                self.events.append,
                lambda: None,
                2,
                pulls,
            )
            found = b""
            with streams, streams.open(wanted.layer) as stream:
                while data := stream.read(10_000):
                    found += data
        return found

    @contextmanager
    def _pulls(self, present: Chunked | None, files: dict[str, bytes]) -> Iterator[PartialPulls]:
        images = [imported([present.layer])] if present else []
        with local_contents(self.contents, FilesStore(files, self.is_seekable), images) as local:
            yield PartialPulls(self.contents, local, self.rule, self.refused)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "machine").mkdir()
    return Machine(tmp_path / "machine")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Chunked, Chunked]:
    """Two versions of a layer: of 60 files one changed, one is new, one is gone."""
    generator = random.Random(4)
    files = {f"usr/share/{number:03}/file": generator.randbytes(5000 + number) for number in range(60)}
    files["usr/share/zeros"] = bytes(50_000)
    folder = tmp_path_factory.mktemp("layers")
    old = Chunked.of(tar_of(files), folder)
    del files["usr/share/010/file"]
    files["usr/share/020/file"] = generator.randbytes(5500)
    files["usr/share/030/new"] = generator.randbytes(100)
    return old, Chunked.of(tar_of(dict(sorted(files.items()))), folder)


def _fetched(machine: Machine) -> list[tuple[int, int]]:
    return [(event.fetched, event.reused) for event in machine.events if isinstance(event, LayerFetched)]


# ---------------------------------------------------------------- what is fetched


def test_only_what_changed_is_fetched(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    old, new = pair
    assert machine.pull(old) == old.tar
    machine.events.clear()
    source = new.source
    assert machine.pull(new, old, source=source) == new.tar
    assert source.whole == 0
    assert source.fetched < len(new.blob) / 5
    assert _fetched(machine) == [(source.fetched, len(new.blob) - source.fetched)]
    assert machine.spool == []


def test_parts_need_no_room_for_the_whole(
    machine: Machine, pair: tuple[Chunked, Chunked], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = pair
    assert machine.pull(old) == old.tar
    monkeypatch.setattr(DirectoryVolume, "free", lambda volume: len(new.blob) // 2)
    assert machine.pull(new, old) == new.tar
    with pytest.raises(NoSpaceError, match="the layers of the image"):
        machine.pull(new)


@pytest.mark.parametrize("served", [None, 1], ids=["parts", "the whole instead"])
def test_without_room_for_it_nothing_more_is_fetched(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: int | None
) -> None:
    files = {f"{number:03}": os.urandom(20_000) for number in range(40)}
    old = Chunked.of(tar_of(dict(list(files.items())[:5])), tmp_path)
    new = Chunked.of(tar_of(files), tmp_path)
    machine.pull(old)
    source = new.source
    source.refuse_after = served
    room = 500_000 if served is None else len(new.blob) - 50_000
    monkeypatch.setattr(DirectoryVolume, "free", lambda volume: room)
    with pytest.raises(NoSpaceError, match="the layers of the image"):
        machine.pull(new, old, source=source)
    assert (len(source.ranges), source.whole) == (1, 0)
    assert machine.spool == []


def test_what_an_earlier_run_left_of_the_whole_goes_with_the_parts(
    machine: Machine, pair: tuple[Chunked, Chunked]
) -> None:
    old, new = pair
    machine.pull(old)
    (machine.root / "spool" / f"{new.layer.blob.digest.hex}.partial").write_bytes(new.blob[:1000])
    source = new.source
    assert machine.pull(new, old, source=source) == new.tar
    assert source.whole == 0
    assert machine.spool == []


def test_what_an_earlier_run_left_of_parts_goes_with_the_whole(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    old, new = pair
    machine.pull(old)
    machine.rule = Rule(mode="never")
    for ending in ("parts", "spans"):
        (machine.root / "spool" / f"{new.layer.blob.digest.hex}.{ending}").write_bytes(b"0 1000\n")
    assert machine.pull(new, old) == new.tar
    assert machine.spool == []


def test_a_layer_that_came_in_parts_is_a_source_of_parts_itself(
    machine: Machine, pair: tuple[Chunked, Chunked]
) -> None:
    old, new = pair
    machine.pull(old)
    machine.pull(new, old)
    source = old.source
    assert machine.pull(old, new, source=source) == old.tar
    assert source.whole == 0
    assert source.fetched < len(old.blob) / 5


@pytest.mark.parametrize("prefix", ["io.github.containers.zstd-chunked.", "io.containers.zstd-chunked."])
def test_both_prefixes_are_known(machine: Machine, pair: tuple[Chunked, Chunked], prefix: str) -> None:
    old, new = (_renamed(layer, prefix) for layer in pair)
    machine.pull(old)
    source = new.source
    assert machine.pull(new, old, source=source) == new.tar
    assert source.whole == 0


def _renamed(chunked: Chunked, prefix: str) -> Chunked:
    renamed = {prefix + key.rpartition(".")[2]: value for key, value in chunked.layer.descriptor.annotations.items()}
    return _annotated(chunked, renamed)


def _annotated(chunked: Chunked, annotations: dict[str, str]) -> Chunked:
    descriptor = evolve(chunked.layer.descriptor, annotations=annotations)
    return evolve(chunked, layer=evolve(chunked.layer, descriptor=descriptor, blob=descriptor))


@pytest.mark.parametrize("mode", ["auto", "never"])
def test_what_does_not_pay_is_fetched_whole(machine: Machine, pair: tuple[Chunked, Chunked], mode: str) -> None:
    old, new = pair
    machine.pull(old)
    machine.rule = Rule(mode=mode, request_time=10.0)  # type: ignore[arg-type]
    source = new.source
    assert machine.pull(new, old, source=source) == new.tar
    assert (source.ranges, source.whole) == ([], 1)


def test_where_nothing_is_known_no_table_is_fetched(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    source = pair[1].source
    assert machine.pull(pair[1], pair[0], source=source) == pair[1].tar
    assert (source.ranges, source.whole) == ([], 1)


def test_a_local_layer_is_read_whole_and_recorded(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    old, new = pair
    local = old.source
    local.is_local = True
    assert machine.pull(old, source=local) == old.tar
    source = new.source
    assert machine.pull(new, old, source=source) == new.tar
    assert source.whole == 0


def test_predictions_are_what_is_fetched(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    old, new = pair
    machine.pull(old)
    known = contents_of(old.source, [old.layer])
    prediction = predict(new.source, [new.layer], known, ALWAYS)
    source = new.source
    machine.pull(new, old, source=source)
    assert (prediction.fetched, prediction.requests) == (source.fetched, len(source.ranges))
    assert [layer.method for layer in prediction.layers] == [Method.PARTS]
    whole = predict(new.source, [new.layer], Nothing(), ALWAYS)
    assert (whole.fetched, whole.requests, whole.layers[0].saved) == (len(new.blob), 1, 0)


def test_what_the_spool_holds_is_not_predicted_to_be_fetched(machine: Machine, tmp_path: Path) -> None:
    """Where most of the whole is here, the rest of it costs less than parts."""
    files = {f"{number:03}": os.urandom(20_000) for number in range(40)}
    old = Chunked.of(tar_of(dict(list(files.items())[:20])), tmp_path)
    new = Chunked.of(tar_of(files), tmp_path)
    machine.pull(old)
    known, held = contents_of(old.source, [old.layer]), partial(spool.held, machine.root / "spool")
    assert predict(new.source, [new.layer], known, ALWAYS, held).layers[0].method is Method.PARTS
    begun, left = new.blob[:-100_000], 100_000
    with (machine.root / "spool" / f"{new.layer.blob.digest.hex}.partial").open("wb") as file:
        file.write(begun)
        file.seek(-(-len(new.blob) // 4096) * 4096 + len(begun) // PIECE * 64)
        file.write(len(begun).to_bytes(8, "big") + hashlib.sha256(begun).digest())
    source = new.source
    (layer,) = predict(source, [new.layer], known, ALWAYS, held).layers
    assert (layer.method, layer.requests) == (Method.WHOLE, 1)
    assert left - 2 * 4096 <= layer.fetched <= left
    assert machine.pull(new, old, source=source) == new.tar
    assert source.served == [(new.layer.blob.digest, len(begun))]


def test_without_room_for_a_table_the_whole_layer_is_predicted(
    machine: Machine, pair: tuple[Chunked, Chunked], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = pair
    known = contents_of(old.source, [old.layer])
    monkeypatch.setattr("tempfile.tempdir", str(machine.root / "gone"))
    prediction = predict(new.source, [new.layer], known, ALWAYS)
    assert [layer.method for layer in prediction.layers] == [Method.WHOLE]
    assert contents_of(old.source, [old.layer]).is_empty


def test_where_all_headers_changed_the_data_for_rebuilding_the_tar_are_fetched(
    machine: Machine, tmp_path: Path
) -> None:
    generator = random.Random(5)
    files = {f"{number:04}": generator.randbytes(8000) for number in range(300)}
    old, new = (Chunked.of(tar_of(files, mtime=mtime), tmp_path) for mtime in (0, 7))
    machine.pull(old)
    source = new.source
    assert machine.pull(new, old, source=source) == new.tar
    assert (source.whole, len(source.ranges)) == (0, 2)
    assert source.fetched < len(new.blob) / 20
    source = old.source
    assert machine.pull(old, new, source=source) == old.tar
    assert source.whole == 0
    plain = {key: value for key, value in new.layer.descriptor.annotations.items() if "tarsplit" not in key}
    source = new.source
    assert machine.pull(_annotated(new, plain), new, source=source) == new.tar
    assert source.fetched < len(new.blob) / 20


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_data_for_rebuilding_the_tar_are_no_harm(machine: Machine, tmp_path: Path, damage: str) -> None:
    files = {f"{number:04}": os.urandom(8000) for number in range(300)}
    old, new = (Chunked.of(tar_of(files, mtime=mtime), tmp_path) for mtime in (0, 7))
    machine.pull(old)
    key = "io.github.containers.zstd-chunked.tarsplit-position"
    offset, length, raw = map(int, new.layer.descriptor.annotations[key].split(":"))
    place = f"{offset}:{length // 2}:{raw}" if damage == "cut" else f"{offset + 1}:{length - 1}:{raw}"
    wrong = _annotated(new, {**new.layer.descriptor.annotations, key: place})
    with suppress(RebuiltLayerError):
        assert machine.pull(wrong, old) == new.tar
    assert machine.pull(wrong, old) == new.tar


# ---------------------------------------------------------------- present images that changed


@pytest.mark.parametrize("fate", ["gone", "different", "short"])
def test_what_a_present_image_lacks_is_fetched(machine: Machine, pair: tuple[Chunked, Chunked], fate: str) -> None:
    old, new = pair
    machine.pull(old)
    files, name = old.files, "usr/share/040/file"
    match fate:
        case "gone":
            del files[name]
        case "different":
            files[name] = bytes(len(files[name]))
        case _:
            files[name] = files[name][:100]
    source = new.source
    assert machine.pull(new, old, source=source, files=files) == new.tar
    assert source.whole == 0


def test_where_too_much_is_gone_the_stream_goes_on_with_the_whole_blob(machine: Machine, tmp_path: Path) -> None:
    files = {f"{number:03}/file": os.urandom(3000) for number in range(200)}
    old = Chunked.of(tar_of(files), tmp_path)
    new = Chunked.of(tar_of({**files, "zzz": b"new"}), tmp_path)
    machine.pull(old)
    machine.events.clear()
    source = new.source
    assert machine.pull(new, old, source=source, files={"000/file": files["000/file"]}) == new.tar
    assert source.whole == 1
    assert "present images" in machine.notices[0]
    assert _fetched(machine) == [(source.fetched + len(new.blob), 0)]
    assert machine.spool == []


@pytest.mark.parametrize("is_seekable", [True, False], ids=["any way", "forwards"])
@pytest.mark.parametrize("size", [100_000, 9_000_000], ids=["small", "large"])
def test_parts_of_a_file_are_found_in_a_file(machine: Machine, tmp_path: Path, size: int, is_seekable: bool) -> None:
    """Chunks are cut in another way by another tool; what is beyond memory is read twice."""
    content = random.Random(8).randbytes(size)
    old = Chunked.of(tar_of({"large": content}), tmp_path, chunk=size)
    new = Chunked.of(tar_of({"large": content, "new": b"new"}), tmp_path, chunk=max(size // 3, 5000))
    machine.is_seekable = is_seekable
    machine.pull(old)
    for before, after in ((old, new), (new, old), (old, old)):
        source = after.source
        assert machine.pull(after, before, source=source) == after.tar
        assert source.whole == 0
        assert source.fetched < 20_000


def test_a_damaged_index_is_as_good_as_none(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    old, new = pair
    machine.pull(old)
    (index,) = (machine.root / "contents").iterdir()
    whole = index.read_bytes()
    generator = random.Random(1)
    for attempt in range(40):
        spoiled = bytearray(whole[: generator.choice([len(whole), len(whole), generator.randrange(len(whole))])])
        for _ in range(generator.choice([1, 50])):
            spoiled[generator.randrange(min(len(spoiled), 5000))] = generator.randrange(256)
        index.write_bytes(spoiled)
        with suppress(RebuiltLayerError):
            assert machine.pull(new, old) == new.tar, attempt
        machine.refused.clear()


class _Noting(Contents):
    """Remembers what was opened, as long as somebody else does."""

    opened: ClassVar[list[weakref.ref[LayerContents]]] = []

    def open(self, diff_id: Digest) -> LayerContents | None:
        layer = super().open(diff_id)
        self.opened.extend([weakref.ref(layer)] if layer else [])
        return layer


def test_an_image_with_too_large_an_index_takes_no_memory(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = _Noting(DirectoryVolume(machine.root), PurePosixPath("contents"), lambda: None)
    writer = ContentsWriter()
    for number in range(50):
        writer.add_content(str(number), 0, 1, number.to_bytes(32, "big"))
    layers = [Layer(blob, blob.digest, blob) for blob in (Descriptor("x", digest_of(bytes(n)), n) for n in range(20))]
    for layer in layers:
        contents.write(layer.diff_id, writer)
    monkeypatch.setattr("bootc.partial.local.TABLES_LIMIT", 3 * 50 * (52 + 8))
    with local_contents(contents, FilesStore({}), [imported(layers), imported(layers[:3])]) as local:
        assert [donor.diff_id for donor in local._donors] == [layer.diff_id for layer in layers[:3]]
        assert [reference() is None for reference in contents.opened] == [True] * 4 + [False] * 3
        assert [donor.contents.place(bytes(32), 1) for donor in local._donors] == [Place("0", 0)] * 3


def test_the_index_is_pruned_with_the_images(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    old, new = pair
    machine.pull(old)
    machine.pull(new)
    machine.contents.retain([new.layer.diff_id])
    assert machine.contents.open(old.layer.diff_id) is None
    kept = machine.contents.open(new.layer.diff_id)
    assert kept
    kept.close()


# ---------------------------------------------------------------- what is wrong on the way


@pytest.mark.parametrize("served", [0, 1, 2])
def test_a_server_that_stops_serving_ranges_serves_the_blob(
    machine: Machine, pair: tuple[Chunked, Chunked], served: int
) -> None:
    old, new = pair
    machine.pull(old)
    source = new.source
    source.refuse_after = served
    assert machine.pull(new, old, source=source) == new.tar
    assert source.whole == 1
    assert machine.notices == [f"layer {new.layer.descriptor.digest.short} is fetched whole: no ranges any more"]


class _Lying(RangesSource):
    """Spoils what comes in ranges, but for the table."""

    @contextmanager
    def open_range(self, blob: Descriptor, start: int, size: int) -> Iterator[Readable]:
        with super().open_range(blob, start, size) as stream:
            if len(self.ranges) == 1:
                yield stream
            else:
                yield _Flipped(stream)


class _Flipped:
    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        return bytes(byte ^ 0xFF for byte in self._stream.read(size))


def test_wrong_chunks_lead_to_the_whole_blob(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    old, new = pair
    machine.pull(old)
    source = _Lying(new.source.image, new.source.blobs)
    assert machine.pull(new, old, source=source) == new.tar
    assert source.whole == 1


def test_a_rebuilt_tar_with_another_digest_asks_for_the_whole_layer(machine: Machine, tmp_path: Path) -> None:
    """Two writers give the same metadata different headers: the table cannot show it."""
    files = {f"{number:03}": os.urandom(3000) for number in range(20)}
    old, new = Chunked.of(tar_of(files), tmp_path), Chunked.of(tar_of({**files, "020": b"new"}), tmp_path)
    other = Chunked.of(tar_of({**files, "020": b"new"}, uname="somebody"), tmp_path)
    machine.pull(old)
    with pytest.raises(RebuiltLayerError):
        machine.pull(other, old)
    assert machine.spool == []
    source = other.source
    assert machine.pull(other, old, source=source) == other.tar
    assert (source.ranges, source.whole) == ([], 1)
    assert machine.pull(new, old) == new.tar


def test_a_wrong_diff_id_of_a_whole_layer_stays_an_error(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    old, new = pair
    lying = evolve(new, layer=evolve(new.layer, diff_id=old.layer.diff_id))
    with pytest.raises(IntegrityError) as caught:
        machine.pull(lying)
    assert type(caught.value) is IntegrityError
    assert machine.contents.open(old.layer.diff_id) is None


def _shuffled(table: dict[str, Any], generator: random.Random) -> None:
    generator.shuffle(table["entries"])


def _spoiled(table: dict[str, Any], generator: random.Random) -> None:
    for _ in range(generator.choice([1, 3])):
        entry = generator.choice(table["entries"])
        key = generator.choice([*entry, "offset", "endOffset", "chunkSize", "chunkOffset", "size", "type", "digest"])
        other = generator.choice(table["entries"]).get(key)
        entry[key] = generator.choice(
            [other, None, -1, 0, 1, 1 << 40, 1 << 80, "", "../../etc/shadow", "reg", [], {}, True]
        )


def _repeated(table: dict[str, Any], generator: random.Random) -> None:
    table["entries"].insert(generator.randrange(len(table["entries"])), generator.choice(table["entries"]))


def _shortened(table: dict[str, Any], generator: random.Random) -> None:
    del table["entries"][generator.randrange(len(table["entries"]))]


@pytest.mark.parametrize("spoil", [_shuffled, _spoiled, _repeated, _shortened])
def test_no_table_leads_to_another_tar(
    machine: Machine, pair: tuple[Chunked, Chunked], spoil: Callable[..., None]
) -> None:
    old, new = pair
    machine.pull(old)
    for seed in range(25):
        generator = random.Random(seed)
        hostile = new.with_table(partial(spoil, generator=generator))
        with suppress(RebuiltLayerError):
            assert machine.pull(hostile, old) == new.tar
        assert machine.pull(hostile, old) == new.tar
        machine.refused.clear()
        machine.contents.retain([old.layer.diff_id])


# ---------------------------------------------------------------- resuming


class _Cut(RangesSource):
    """The connection ends after so many bytes, and with it the command."""

    left = 0

    @contextmanager
    def open_range(self, blob: Descriptor, start: int, size: int) -> Iterator[Readable]:
        with super().open_range(blob, start, size) as stream:
            yield _Ending(stream, self)


class _Ending:
    def __init__(self, stream: Readable, source: _Cut) -> None:
        self._stream, self._source = stream, source

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(min(size, 50_000))
        self._source.left -= len(data)
        if self._source.left < 0:
            raise KeyboardInterrupt
        return data


def test_what_came_before_a_cut_is_not_fetched_again(machine: Machine, tmp_path: Path) -> None:
    files = {f"{number:03}": os.urandom(200_000) for number in range(40)}
    old = Chunked.of(tar_of(dict(list(files.items())[:2])), tmp_path, chunk=65536)
    new = Chunked.of(tar_of(files), tmp_path, chunk=65536)
    machine.pull(old)
    cut = _Cut(new.source.image, new.source.blobs)
    cut.left = 5_000_000
    with pytest.raises(KeyboardInterrupt):
        machine.pull(new, old, source=cut)
    again = new.source
    assert machine.pull(new, old, source=again) == new.tar
    assert again.whole == 0
    assert again.fetched <= len(new.blob) - 5_000_000 + (1 << 20) + 65536


def test_damage_in_the_spool_is_no_harm(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    old, new = pair
    machine.pull(old)
    stem = machine.root / "spool" / new.layer.blob.digest.hex
    place = new.layer.descriptor.annotations["io.github.containers.zstd-chunked.manifest-position"]
    table = int(place.split(":")[0])
    stem.with_suffix(".parts").write_bytes(bytes(table) + new.blob[table:])
    stem.with_suffix(".spans").write_text(f"0 {len(new.blob)}\nrubbish\n5 4\n")
    assert machine.pull(new, old) == new.tar
    assert machine.spool == []


def test_a_damaged_table_in_the_spool_is_fetched_again(machine: Machine, pair: tuple[Chunked, Chunked]) -> None:
    old, new = pair
    machine.pull(old)
    stem = machine.root / "spool" / new.layer.blob.digest.hex
    stem.with_suffix(".parts").write_bytes(bytes(len(new.blob)))
    stem.with_suffix(".spans").write_text(f"{len(new.blob) - 10_000} {len(new.blob)}\n")
    source = new.source
    assert machine.pull(new, old, source=source) == new.tar
    assert source.whole == 0


# ---------------------------------------------------------------- any tree, any change


_FILES = st.dictionaries(
    st.text("abc/é", min_size=1, max_size=8).map(lambda text: text.strip("/").replace("//", "/") or "x"),
    st.one_of(
        st.binary(max_size=40),
        st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 3000)).map(lambda pair: pair[0] * pair[1]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=_FILES, after=_FILES, keep=st.sets(st.integers(0, 11)), chunk=st.sampled_from([100, 4096]))
def test_any_tree_is_rebuilt_from_any_other(
    tmp_path_factory: pytest.TempPathFactory,
    before: dict[str, bytes],
    after: dict[str, bytes],
    keep: set[int],
    chunk: int,
) -> None:
    folder = tmp_path_factory.mktemp("trees")
    machine = Machine(folder)
    kept = {name: data for number, (name, data) in enumerate(before.items()) if number in keep}
    old = Chunked.of(tar_of(before), folder, chunk=chunk)
    new = Chunked.of(tar_of({**after, **kept}), folder, chunk=chunk)
    assert machine.pull(old) == old.tar
    assert machine.pull(new, old) == new.tar
