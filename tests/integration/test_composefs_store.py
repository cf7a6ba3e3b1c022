"""The store of composefs: what it shares, writes once, finds damaged and repairs; full disks and small ones."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePosixPath

import pytest
from bootc_composefs.fsverity import digest_of
from bootc_composefs.options import ComposefsOptions
from bootc_composefs.records import ImageRecord

from bootc.durable import Step
from bootc.errors import CancelledError, FileSystemError, LayerError, NoSpaceError, StoreError
from bootc.hookspec import Context
from bootc.image import ImportedImage
from bootc.storage import Backend, MenuFormat
from tests.composefs_system import PLUGIN, System
from tests.integration.nasty_image import nasty_layers
from tests.integration.sysroots import MIB, make_disk, mounted
from tests.integration.test_dirimage_tree import actual, expected
from tests.ostree_images import Streams, Tar, make_image

pytestmark = pytest.mark.root

LARGE = os.urandom(9 << 20)
"""more than is kept in memory"""


class Store:
    """A sysroot with nothing but a store, opened anew each time."""

    def __init__(self, folder: Path) -> None:
        self.system = System(folder)
        self.system.root.mkdir(parents=True, exist_ok=True)
        self.open().deployer.initialize("default", MenuFormat.BLS)

    def open(self) -> Backend:
        return self.system.backend

    def bring(self, layers: Sequence[bytes]) -> tuple[ImportedImage, Streams]:
        """Import an image; the layers that were read for it are in the streams."""
        streams = Streams(layers)
        return self.open().store.import_image(make_image(layers), streams), streams

    def path(self, data: bytes) -> Path:
        """Where the object of this content lies."""
        digest = digest_of(data).hex()
        return self.system.root / "composefs/objects" / digest[:2] / digest[2:]

    def findings(self) -> list[str]:
        return [f"{finding.subject}: {finding.message}" for finding in self.open().store.check()]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def layer(name: str, data: bytes) -> bytes:
    return Tar().directory("usr").add(f"usr/{name}", data=data).data


A, B = b"a" * 100, b"b" * 5000


def test_equal_contents_are_one_object_and_an_object_is_written_once(store: Store) -> None:
    store.bring([layer("one", A), layer("two", A), layer("large", LARGE)])
    first = {path: path.stat().st_ino for path in store.system.objects().values()}
    assert len(first) == 3, "two contents and an image"
    store.bring([layer("one", A), layer("other", LARGE), layer("three", B)])
    assert {path: path.stat().st_ino for path in first} == first
    assert store.path(LARGE).read_bytes() == LARGE
    assert store.system.names("incoming") == []
    assert store.findings() == []


def test_contents_up_to_64_bytes_lie_in_the_image(store: Store) -> None:
    store.bring([Tar().add("small", data=b"x" * 64).add("larger", data=b"x" * 65).data])
    assert not store.path(b"x" * 64).exists()
    assert store.path(b"x" * 65).exists()


def test_an_object_is_for_root_alone(store: Store) -> None:
    """What only some may read in the image lies there with a mode for all."""
    assert stat.S_IMODE((store.system.root / "composefs/objects").stat().st_mode) == 0o700
    assert stat.S_IMODE((store.system.root / "composefs/layers").stat().st_mode) == 0o700


def test_an_interrupted_import_goes_on_after_the_last_whole_layer(store: Store) -> None:
    layers = [layer("one", A), layer("two", B), layer("large", LARGE)]
    broken = Streams([*layers[:2], layer("large", b"")])
    with pytest.raises(KeyError):
        store.open().store.import_image(make_image(layers), broken)
    assert store.open().store.missing(make_image(layers)) == make_image(layers).layers[2:]
    _, streams = store.bring(layers)
    assert streams.opened == [make_image(layers).layers[2].diff_id]


def test_a_file_that_is_cut_short_leaves_nothing(store: Store) -> None:
    whole = layer("large", LARGE)
    image = make_image([whole])
    cut = Streams([whole])
    cut._layers = {image.layers[0].diff_id: whole[: len(whole) // 2]}
    with pytest.raises(LayerError, match="ends in the middle"):
        store.open().store.import_image(image, cut)
    assert store.system.names("incoming") == []
    assert store.system.objects() == {}
    assert store.system.names("layers") == []


def test_the_same_image_again_reads_nothing(store: Store) -> None:
    layers = [layer("one", A)]
    first, _ = store.bring(layers)
    again, streams = store.bring(layers)
    assert (again, streams.opened) == (first, [])
    assert store.open().store.find(make_image(layers)) == first


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, 7)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("harm", [remove, truncate, empty, make_fifo, make_link])
def test_an_object_that_is_gone_or_cut_is_found_and_brought_again(store: Store, harm: Callable[[Path], None]) -> None:
    layers = [layer("one", A), layer("two", B)]
    imported, _ = store.bring(layers)
    harm(store.path(A))
    name = str(store.path(A).relative_to(store.system.root))
    assert any(name in finding for finding in store.findings())
    assert store.open().store.find(make_image(layers)) is None
    again, streams = store.bring(layers)
    assert (again, streams.opened) == (imported, [make_image(layers).layers[0].diff_id])
    assert store.path(A).read_bytes() == A
    assert store.findings() == []


def test_an_object_that_was_altered_is_found_and_replaced_by_a_layer_that_has_it(store: Store) -> None:
    imported, _ = store.bring([layer("one", A), layer("two", B)])
    store.path(A).write_bytes(b"x" + A[1:])
    name = store.path(A).relative_to(store.system.root)
    assert store.findings() == [
        f"{name}: its content is not what its name says",
        f"{imported.key}: {name} is missing or damaged",
    ]
    with store.open().store.open_tree(imported) as tree, pytest.raises(StoreError, match="not what its name says"):
        tree.read_optional(PurePosixPath("usr/one"))
    store.bring([layer("elsewhere", A)])
    assert store.path(A).read_bytes() == A
    assert store.findings() == []


def erofs_of(store: Store, image: ImportedImage) -> Path:
    """Where the EROFS image lies."""
    record = ImageRecord.read(store.system.volume, image.key)
    assert record is not None
    return store.system.root / "composefs/objects" / os.fsdecode(record.erofs.path)


@pytest.mark.parametrize("harm", [remove, truncate, empty])
def test_a_damaged_erofs_image_is_made_again_by_the_next_import(store: Store, harm: Callable[[Path], None]) -> None:
    layers = [layer("one", A)]
    imported, _ = store.bring(layers)
    path = erofs_of(store, imported)
    before = path.read_bytes()
    harm(path)
    assert len(store.findings()) >= 1
    again, streams = store.bring(layers)
    assert (again, streams.opened, path.read_bytes()) == (imported, [], before)


@pytest.mark.parametrize("harm", [remove, truncate, empty])
def test_without_its_erofs_image_the_tree_comes_from_the_layers_and_cleaning_makes_the_image_again(
    store: Store, harm: Callable[[Path], None]
) -> None:
    imported, _ = store.bring([layer("one", A), layer("two", B)])
    path = erofs_of(store, imported)
    before = path.read_bytes()
    harm(path)
    with store.open().store.open_tree(imported) as tree:
        assert tree.read_optional(PurePosixPath("usr/two")) == B
    store.open().store.prune([imported])
    assert path.read_bytes() == before
    assert store.findings() == []


def test_without_its_layers_too_a_damaged_image_is_told(store: Store) -> None:
    imported, _ = store.bring([layer("one", A)])
    truncate(erofs_of(store, imported))
    for path in (store.system.root / "composefs/layers").iterdir():
        path.unlink()
    with (
        pytest.raises(StoreError, match="EROFS image of a tree is damaged"),
        store.open().store.open_tree(imported),
    ):
        pass
    store.open().store.prune([imported])
    assert store.path(A).exists()


@pytest.mark.parametrize("harm", [remove, truncate, empty])
def test_damaged_entries_of_a_layer_are_read_again(store: Store, harm: Callable[[Path], None]) -> None:
    layers = [layer("one", A), layer("two", B)]
    store.bring(layers)
    harm(store.system.root / "composefs/layers" / make_image(layers).layers[0].diff_id.hex)
    _, streams = store.bring([*layers, layer("three", A)])
    assert make_image(layers).layers[0].diff_id in streams.opened
    assert len(streams.opened) == 2


def test_pruning_removes_what_nothing_names(store: Store) -> None:
    kept, _ = store.bring([layer("one", A)])
    store.bring([layer("one", A), layer("two", B)])
    for leftover in ("incoming/1-2", "checkouts/abc/etc/x"):
        path = store.system.root / "composefs" / leftover
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    store.open().store.prune([kept])
    assert not store.path(B).exists()
    assert store.path(A).exists()
    assert len(store.system.objects()) == 2
    for directory in ("incoming", "checkouts"):
        assert store.system.names(directory) == []
    assert [len(store.system.names(name)) for name in ("images", "layers")] == [1, 1]
    assert store.findings() == []


def test_nothing_is_removed_where_an_image_does_not_say_what_it_names(store: Store) -> None:
    kept, _ = store.bring([layer("one", A)])
    store.bring([layer("two", B)])
    (store.system.root / "composefs/layers" / make_image([layer("one", A)]).layers[0].diff_id.hex).write_text("?")
    store.open().store.prune([kept])
    assert store.path(A).exists()
    assert store.path(B).exists()


def test_the_record_of_a_layer_is_written_when_its_objects_are_on_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path)
    steps: list[Step] = []
    store.system.observer = steps.append
    store.bring([layer("one", A), layer("two", B)])
    names = [(step.name, step.paths[-1]) for step in steps if step.name in ("rename", "syncfs")]
    kinds = [name if name == "syncfs" else path.split("/")[1] for name, path in names]
    assert kinds == ["objects", "objects", "objects", "syncfs", "layers", "layers", "images"]


def test_the_tree_comes_out_as_the_layers_say(store: Store, tmp_path: Path) -> None:
    layers = nasty_layers(tmp_path)
    imported, _ = store.bring(layers)
    with store.open().store.open_tree(imported) as tree, tree.directory() as path:
        assert actual(path) == expected(layers)
    assert store.system.names("checkouts") == []


def test_linux_mounts_the_tree_as_the_layers_say(store: Store, tmp_path: Path) -> None:
    layers = nasty_layers(tmp_path)
    imported, _ = store.bring(layers)
    objects = store.system.root / "composefs/objects"
    with mounted(erofs_of(store, imported), tmp_path / "image", "ro,loop") as image:
        options = f"ro,metacopy=on,redirect_dir=on,lowerdir={image}::{objects}"
        with overlay(options, tmp_path / "root") as root:
            assert actual(root) == expected(layers)


@contextmanager
def ramfs(at: Path) -> Iterator[Path]:
    at.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@contextmanager
def overlay(options: str, at: Path) -> Iterator[Path]:
    at.mkdir()
    subprocess.run(["mount", "-t", "overlay", "-o", options, "composefs", at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@pytest.mark.parametrize("options", [(), ("-N", "400")], ids=["bytes", "inodes"])
def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path: Path, options: tuple[str, ...]) -> None:
    disk = make_disk(tmp_path / "disk", 24 * MIB, *options)
    with mounted(disk, tmp_path / "small") as root:
        store = Store(root / "x")
        kept, _ = store.bring([layer("one", A)])
        for number in range(3):
            many = Tar().directory("many")
            for name in range(500):
                many.add(f"many/{name}", data=os.urandom(70 << 10))
            with pytest.raises(NoSpaceError):
                store.bring([many.data, layer(str(number), B)])
            assert store.system.names("incoming") == []
        store.open().store.prune([kept])
        assert store.findings() == []
        assert store.open().store.find(make_image([layer("one", A)])) == kept


def test_a_filesystem_that_cannot_hold_attributes_can_hold_objects_but_no_checkout(tmp_path: Path) -> None:
    with ramfs(tmp_path / "ramfs") as root:
        store = Store(root / "x")
        imported, _ = store.bring([Tar().add("usr/x", data=A, xattrs={"user.a": "b"}).data])
        with store.open().store.open_tree(imported) as tree:
            assert tree.read_optional(PurePosixPath("usr/x")) == A
            with pytest.raises(FileSystemError, match="cannot hold its extended attributes"), tree.directory():
                pass
        assert store.system.names("checkouts") == []


def test_where_fs_verity_is_required_and_cannot_be_nothing_is_installed(tmp_path: Path) -> None:
    system = System(tmp_path, options=ComposefsOptions(verity="require"))
    system.root.mkdir()
    with pytest.raises(FileSystemError, match="fs-verity is required, but") as failure:
        system.backend.deployer.initialize("default", MenuFormat.BLS)
    assert "ext4" in str(failure.value.hint)
    assert not (system.root / "composefs/repository.json").exists()


def test_a_cancelled_import_leaves_what_is_whole_and_goes_on_there(store: Store) -> None:
    asked = count()

    def cancel() -> None:
        if next(asked) > 4:
            raise CancelledError

    context = Context(store.system.machine, lambda event: None, cancel)
    layers = [layer("one", A), layer("two", B), layer("three", LARGE)]
    with pytest.raises(CancelledError):
        PLUGIN.open(context, ComposefsOptions()).store.import_image(make_image(layers), Streams(layers))
    assert store.system.names("images") == []
    assert store.system.names("incoming") == []
    _, streams = store.bring(layers)
    assert 0 < len(streams.opened) < 3
