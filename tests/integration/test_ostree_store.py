"""Images in a real ostree repository: what goes in, what comes out, and what others see in it."""

from __future__ import annotations

import gc
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from attrs import evolve
from bootc_ostree.glib import GLib, OSTree, file
from bootc_ostree.options import OstreeOptions
from bootc_ostree.store import OstreeStore

from bootc.errors import CancelledError, IntegrityError, LayerError, NoSpaceError
from bootc.events import Event, LayerImported
from bootc.image import Digest, ImageReference, ImportedImage, Layer
from tests.integration.ostree_sysroots import new_sysroot
from tests.ostree_images import (
    NAME,
    Normal,
    Streams,
    Tar,
    base_layer,
    digest_of,
    make_context,
    make_image,
    normal_form,
)

pytestmark = pytest.mark.root


@pytest.fixture
def sysroot(tmp_path: Path) -> Iterator[Path]:
    with new_sysroot(tmp_path) as root:
        yield root


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def store(sysroot: Path, events: list[Event]) -> OstreeStore:
    return OstreeStore(make_context(sysroot, events), OstreeOptions())


def ostree(sysroot: Path, *words: str) -> str:
    """Ask ostree's own tool."""
    argv = ["ostree", f"--repo={sysroot}/ostree/repo", *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def refs(sysroot: Path, prefix: str = "ostree/container") -> dict[str, str]:
    names = [name for name in ostree(sysroot, "refs").splitlines() if name.startswith(prefix)]
    return {name: ostree(sysroot, "rev-parse", name).strip() for name in names}


def checked_out(sysroot: Path, image: ImportedImage, to: Path) -> Normal:
    """The tree of an image as ostree's own tool checks it out, with `etc` where the image has it."""
    ostree(sysroot, "checkout", image.key, str(to))
    (to / "usr/etc").rename(to / "etc")
    return normal_form(to)


# ---------------------------------------------------------------- importing


def test_an_imported_image_is_found_and_has_the_right_files(
    store: OstreeStore, sysroot: Path, tmp_path: Path, events: list[Event]
) -> None:
    layers = [base_layer().data, Tar().add("etc/default", data=b"changed\n").whiteout("usr/bin/alias").data]
    image = make_image(layers)
    assert store.find(image) is None
    assert store.missing(image) == image.layers

    stored = store.import_image(image, Streams(layers))

    assert stored == store.find(image)
    assert (stored.digest, json.loads(stored.manifest), json.loads(stored.config)) == (
        image.digest,
        json.loads(image.manifest),
        json.loads(image.config),
    )
    assert store.missing(image) == ()
    assert events == [LayerImported(str(layer.descriptor.digest)) for layer in image.layers]
    found = checked_out(sysroot, stored, tmp_path / "tree")
    assert "usr/bin/alias" not in found
    assert found["etc/default"][-1] == b"changed\n"
    tool = ("0o100000", "0o4755", 0, 0, (("user.a", b"1"), ("user.b", b"2")), b"#!/bin/sh\n")
    assert found["usr/bin/tool"] == tool
    assert found["var/lib/data"][1:4] == ("0o750", 7, 8)
    assert found["root"][1] == "0o700"
    assert "no errors found" in ostree(sysroot, "fsck")


def test_refs_and_metadata_are_those_of_upstream(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data]
    image = make_image(layers, level=6)
    stored = store.import_image(image, Streams(layers))
    blob = f"ostree/container/blob/sha256_3A_{image.layers[0].descriptor.digest.hex}"
    name = "ostree/container/image/docker_3A__2F__2F_registry_2E_example/os_3A_v1"
    found = refs(sysroot)
    assert found == {blob: found[blob], name: stored.key}

    repo = OSTree.Repo.new(file(sysroot / "ostree/repo"))
    repo.open(None)
    commit = repo.load_commit(stored.key)[1]
    metadata = commit.get_child_value(0).unpack()
    assert list(metadata) == sorted(metadata)
    assert metadata.pop("ostree.importer.version").startswith("pybootc ")
    assert metadata == {
        "ostree.container.image-config": json.dumps(json.loads(image.config), sort_keys=True, separators=(",", ":")),
        "ostree.manifest": json.dumps(json.loads(image.manifest), sort_keys=True, separators=(",", ":")),
        "ostree.manifest-digest": str(image.digest),
    }
    assert OSTree.commit_get_timestamp(commit) == 1767323045  # 2026-01-02T03:04:05Z
    assert OSTree.commit_get_parent(commit) is None
    assert (commit.get_child_value(3).get_string(), commit.get_child_value(4).get_string()) == ("", "")


def test_the_same_image_is_imported_once(store: OstreeStore) -> None:
    layers = [base_layer().data]
    first = store.import_image(make_image(layers), Streams(layers))
    streams = Streams(layers)
    assert store.import_image(make_image(layers), streams) == first
    assert streams.opened == []


def test_the_same_image_under_another_name_gets_a_ref_of_its_own(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data]
    first = store.import_image(make_image(layers), Streams(layers))
    assert store.find(make_image(layers, "registry.example/copy:v9")) == first
    copy = "ostree/container/image/docker_3A__2F__2F_registry_2E_example/copy_3A_v9"
    assert refs(sysroot)[copy] == first.key


def test_a_newer_image_takes_over_the_name(store: OstreeStore, sysroot: Path) -> None:
    old, new = [base_layer("1").data], [base_layer("2").data]
    store.import_image(make_image(old), Streams(old))
    second = store.import_image(make_image(new), Streams(new))
    assert [commit for ref, commit in refs(sysroot).items() if "/image/" in ref] == [second.key]


def test_a_layer_that_is_only_compressed_otherwise_is_not_read_again(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data, Tar().add("usr/new", data=b"1").data]
    store.import_image(make_image(layers, level=1), Streams(layers))
    again = make_image(layers, "registry.example/os:v2", level=9)
    assert store.missing(again) == ()
    streams = Streams(layers)
    store.import_image(again, streams)
    assert streams.opened == []
    for layer in again.layers:
        assert f"ostree/container/blob/sha256_3A_{layer.descriptor.digest.hex}" in refs(sysroot)


def test_a_layer_that_comes_twice_is_read_once(store: OstreeStore) -> None:
    empty = Tar().data
    layers = [base_layer().data, empty, empty]
    image = make_image(layers)
    assert [layer.diff_id for layer in store.missing(image)] == [digest_of(layers[0]), digest_of(empty)]
    streams = Streams(layers)
    store.import_image(image, streams)
    assert len(streams.opened) == 2


def test_later_layers_give_directories_their_metadata_but_implied_ones_do_not(
    store: OstreeStore, sysroot: Path, tmp_path: Path
) -> None:
    second = Tar().directory("var/lib/data", mode=0o700, uid=1).add("root/file").add("etc/sub/file")
    layers = [base_layer().data, second.data]
    found = checked_out(sysroot, store.import_image(make_image(layers), Streams(layers)), tmp_path / "tree")
    assert found["var/lib/data"][1:4] == ("0o700", 1, 0)
    assert found["root"][1:4] == ("0o700", 0, 0)
    assert found["etc/sub"][1:4] == ("0o755", 0, 0)


def test_what_container_builds_leave_in_etc_is_dropped_if_it_is_empty(store: OstreeStore) -> None:
    layers = [base_layer().add("etc/hostname").add("etc/resolv.conf", data=b"nameserver ::1\n").data]
    stored = store.import_image(make_image(layers), Streams(layers))
    with store.open_tree(stored) as tree:
        assert "hostname" not in tree.names(PurePosixPath("etc"))
        assert tree.read_optional(PurePosixPath("etc/resolv.conf")) == b"nameserver ::1\n"


def test_long_names_and_many_attributes_survive(store: OstreeStore, sysroot: Path, tmp_path: Path) -> None:
    name = f"usr/{'d' * 200}/{'f' * 200}"
    xattrs = {f"user.{letter}": letter * 50 for letter in "zyxcba"}
    layers = [
        base_layer().add(name, data=b"x" * 300_000, uid=3_000_000, xattrs=xattrs).symlink("usr/l", "t" * 300).data
    ]
    found = checked_out(sysroot, store.import_image(make_image(layers), Streams(layers)), tmp_path / "tree")
    expected_xattrs = tuple(sorted((key, value.encode()) for key, value in xattrs.items()))
    assert found[name] == ("0o100000", "0o644", 3_000_000, 0, expected_xattrs, b"x" * 300_000)
    assert found["usr/l"][-1] == "t" * 300
    assert "no errors found" in ostree(sysroot, "fsck")


def test_an_image_without_layers_is_an_empty_tree(store: OstreeStore) -> None:
    stored = store.import_image(make_image([]), Streams([]))
    with store.open_tree(stored) as tree:
        assert tree.names(PurePosixPath()) == ()


# ---------------------------------------------------------------- failing


class Failing(Streams):
    """Streams that fail in one layer: when it is opened, in the middle, or only in the end, when all was read."""

    def __init__(self, layers: list[bytes], index: int, when: str) -> None:
        super().__init__(layers)
        self._bad, self._when = digest_of(layers[index]), when

    @contextmanager
    def open(self, layer: Layer) -> Iterator[Any]:
        with super().open(layer) as stream:
            if layer.diff_id != self._bad:
                yield stream
                return
            error = IntegrityError("layer", self._when)
            if self._when == "opened":
                raise error
            yield _Cut(stream, error) if self._when == "read" else stream
            raise error


class _Cut:
    def __init__(self, stream: io.BytesIO, error: Exception) -> None:
        self._stream, self._error = stream, error

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(min(size, 1024))
        if self._stream.tell() > 8192:
            raise self._error
        return data


@pytest.mark.parametrize("when", ["opened", "read", "verified"])
def test_a_layer_that_proves_bad_is_not_there_and_the_rest_is_kept(
    store: OstreeStore, sysroot: Path, when: str
) -> None:
    second = Tar()
    for number in range(100):
        second.add(f"usr/file{number}", data=os.urandom(2000))
    layers = [base_layer().data, second.data]
    image = make_image(layers)
    with pytest.raises(IntegrityError, match=when):
        store.import_image(image, Failing(layers, 1, when))
    assert store.find(image) is None
    assert store.missing(image) == image.layers[1:]
    assert [ref for ref in refs(sysroot) if "/image/" in ref] == []

    streams = Streams(layers)
    store.import_image(image, streams)
    assert streams.opened == [image.layers[1].diff_id]
    assert "no errors found" in ostree(sysroot, "fsck")
    with store.open_tree(store.import_image(image, streams)) as tree:
        assert len(tree.names(PurePosixPath("usr"))) == 102


def test_a_hostile_entry_is_named_and_nothing_of_its_layer_stays(store: OstreeStore) -> None:
    layers = [base_layer().data, Tar().add("usr/x", data=b"1" * 5000).add("usr/dev/mem", b"3", devmajor=1).data]
    image = make_image(layers)
    with pytest.raises(LayerError, match="usr/dev/mem"):
        store.import_image(image, Streams(layers))
    assert store.missing(image) == image.layers[1:]


def test_a_layer_that_ends_too_early_is_refused(store: OstreeStore) -> None:
    whole = base_layer().data
    for end in (1536, len(whole) // 2, len(whole) // 2 + 100):
        image = make_image([whole[:end]])
        with pytest.raises((LayerError, IntegrityError)):
            store.import_image(image, Failing([whole[:end]], 0, "verified"))
        assert store.missing(image) == image.layers


def test_a_file_where_the_directory_etc_must_go_is_refused(store: OstreeStore) -> None:
    data = b"a file where the image's /etc must go"
    for layer in (base_layer().add("usr/etc", data=data), Tar().add("usr/etc", data=data).add("etc/x")):
        with pytest.raises(LayerError, match="usr/etc: is a directory and something else in one layer"):
            store.import_image(make_image([layer.data]), Streams([layer.data]))


def test_cancelling_stops_an_import_and_leaves_what_is_finished(sysroot: Path) -> None:
    layers = [base_layer().data, Tar().add("usr/new").data]
    image = make_image(layers)
    imported: list[Event] = []

    def check_cancelled() -> None:
        if imported:
            raise CancelledError

    context = evolve(make_context(sysroot), report=imported.append, check_cancelled=check_cancelled)
    store = OstreeStore(context, OstreeOptions())
    with pytest.raises(CancelledError):
        store.import_image(image, Streams(layers))
    assert store.missing(image) == image.layers[1:]


def test_an_import_that_is_killed_goes_on_where_it_was(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data, base_layer("2").data, Tar().add("usr/big", data=os.urandom(1 << 20)).data]
    image = make_image(layers)

    class Killing(Streams):
        @contextmanager
        def open(self, layer: Layer) -> Iterator[Any]:
            with super().open(layer) as stream:
                yield stream
            if len(self.opened) == 3:
                os._exit(9)

    child = os.fork()
    if not child:
        OstreeStore(make_context(sysroot), OstreeOptions()).import_image(image, Killing(layers))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

    assert store.missing(image) == image.layers[2:]
    streams = Streams(layers)
    stored = store.import_image(image, streams)
    assert streams.opened == [image.layers[2].diff_id]
    assert "no errors found" in ostree(sysroot, "fsck")
    assert list(store.check()) == []
    assert store.find(image) == stored


def test_an_image_that_cannot_fit_is_refused_before_anything_is_read(store: OstreeStore) -> None:
    layers = [base_layer().data]
    image = make_image(layers)
    huge = evolve(image.layers[0], descriptor=evolve(image.layers[0].descriptor, size=999 << 40))
    streams = Streams(layers)
    with pytest.raises(NoSpaceError, match="insufficient free space for the layers"):
        store.import_image(evolve(image, layers=(huge,)), streams)
    assert streams.opened == []


def test_the_reserve_of_the_repository_is_respected(store: OstreeStore, sysroot: Path) -> None:
    total = os.statvfs(sysroot)
    free = total.f_bavail * total.f_frsize >> 20
    ostree(sysroot, "config", "set", "core.min-free-space-size", f"{free + 1000}MB")
    layers = [base_layer().data]
    with pytest.raises(NoSpaceError):
        store.import_image(make_image(layers), Streams(layers))


def test_a_full_disk_is_a_typed_error(tmp_path: Path) -> None:
    disk, mounted = tmp_path / "disk", tmp_path / "mounted"
    mounted.mkdir()
    with disk.open("wb") as image_file:
        image_file.truncate(24 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, mounted], check=True)
    try:
        OSTree.Sysroot.new(file(mounted)).ensure_initialized(None)
        store = OstreeStore(make_context(mounted), OstreeOptions())
        layers = [base_layer().add("usr/big", data=bytes(40 << 20)).data]
        image = make_image(layers, level=9)
        with pytest.raises(NoSpaceError):
            store.import_image(image, Streams(layers))
        assert store.missing(image) == image.layers
        small = [base_layer().data]
        store.import_image(make_image(small), Streams(small))
    finally:
        gc.collect()
        subprocess.run(["umount", mounted], check=True)


def test_nothing_stays_open_between_calls(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data]
    with store.open_tree(store.import_image(make_image(layers), Streams(layers))) as tree:
        tree.names(PurePosixPath())
    del tree
    gc.collect()
    assert [link for link in map(_open_file, Path("/proc/self/fd").iterdir()) if link.startswith(str(sysroot))] == []


def _open_file(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:
        return ""


def test_objects_are_on_the_disk_before_they_are_named_and_before_a_ref_names_them(
    sysroot: Path, tmp_path: Path
) -> None:
    program = tmp_path / "import.py"
    program.write_text(IMPORT)
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-e", "trace=syncfs,fsync,fdatasync,renameat,renameat2", "-o", str(trace)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*strace, sys.executable, str(program), str(sysroot)], check=True, env=environment)
    steps = [step for line in trace.read_text().splitlines() if (step := _step(line))]
    assert [step for step, _ in itertools.groupby(steps)] == ["sync", "object", "sync", "ref"] * 2


IMPORT = """
import sys
from pathlib import Path
from bootc_ostree.options import OstreeOptions
from bootc_ostree.store import OstreeStore
from tests.integration.ostree_sysroots import new_sysroot
from tests.ostree_images import Streams, base_layer, make_context, make_image
layers = [base_layer().data]
OstreeStore(make_context(Path(sys.argv[1])), OstreeOptions()).import_image(make_image(layers), Streams(layers))
"""


def _step(line: str) -> str | None:
    """What a system call is for: to bring everything to the disk, to name an object, or to set a ref."""
    if "syncfs(" in line:
        return "sync"
    if "renameat" not in line or '"tmplink.' in line:
        return None
    return "ref" if "/container/" in line else "object"


# ---------------------------------------------------------------- reading


def test_links_in_an_image_never_lead_out_of_it(store: OstreeStore) -> None:
    tar = base_layer().symlink("usr/out", "../../../../etc/passwd").symlink("usr/absolute", "/etc/passwd")
    tar.symlink("usr/loop", "loop").symlink("usr/up", "/usr/../..").symlink("usr/file/".rstrip("/"), "bin/tool")
    layers = [tar.data]
    stored = store.import_image(make_image(layers), Streams(layers))
    with store.open_tree(stored) as tree:
        for path in ("etc/passwd", "usr/out", "usr/absolute", "usr/up/etc/passwd"):
            assert tree.read_optional(PurePosixPath(path)) == b"root:x:0:0::/root:/bin/sh\n"
        assert tree.read_optional(PurePosixPath("bin/tool")) == b"#!/bin/sh\n"
        assert (tree.read_optional(PurePosixPath("etc/os-release")) or b"").startswith(b"ID=test")
        for path in ("usr/loop", "usr/nothing", "usr", "usr/file/x", "bin/tool/x"):
            assert tree.read_optional(PurePosixPath(path)) is None
        assert tree.names(PurePosixPath("usr/loop")) == ()
        assert tree.names(PurePosixPath("bin")) == ("alias", "tool")
        assert tree.names(PurePosixPath("bin/tool")) == ()


def test_names_are_the_images_own(store: OstreeStore) -> None:
    layers = [base_layer().data]
    with store.open_tree(store.import_image(make_image(layers), Streams(layers))) as tree:
        assert tree.names(PurePosixPath()) == ("bin", "etc", "root", "run", "sysroot", "tmp", "usr", "var")
        assert tree.names(PurePosixPath("usr")) == ("bin", "lib")
        assert tree.names(PurePosixPath("etc")) == ("default", "os-release", "passwd")


def test_a_file_is_read_in_pieces(store: OstreeStore) -> None:
    content = os.urandom(700_000)
    layers = [base_layer().add("usr/big", data=content).data]
    stored = store.import_image(make_image(layers), Streams(layers))
    with store.open_tree(stored) as tree, tree.open(PurePosixPath("usr/big")) as stream:
        assert b"".join(iter(lambda: stream.read(65_537), b"")) == content


def test_a_tree_can_be_had_as_a_directory_which_then_goes(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data]
    with store.open_tree(store.import_image(make_image(layers), Streams(layers))) as tree:
        with tree.directory() as directory:
            assert (directory / "etc/passwd").read_bytes() == b"root:x:0:0::/root:/bin/sh\n"
            assert (directory / "usr/bin/tool").stat().st_mode & 0o7777 == 0o4755
        assert not directory.exists()
    assert not list((sysroot / "ostree/repo/tmp").glob("bootc-*"))


# ---------------------------------------------------------------- collecting, checking


def test_pruning_keeps_what_is_kept_and_frees_the_rest(store: OstreeStore, sysroot: Path) -> None:
    common = base_layer().data
    kept_layers = [common, Tar().add("usr/kept", data=os.urandom(1000)).data]
    other_layers = [common, Tar().add("usr/other", data=os.urandom(500_000)).data]
    kept = store.import_image(make_image(kept_layers), Streams(kept_layers))
    other = make_image(other_layers, "registry.example/other:v1")
    store.import_image(other, Streams(other_layers))

    assert store.prune([kept]) >= 500_000
    assert store.find(other) is None
    assert store.missing(other) == other.layers[1:]
    assert store.missing(make_image(kept_layers)) == ()
    assert store.prune([kept]) == 0
    assert "no errors found" in ostree(sysroot, "fsck")


def test_pruning_reads_all_that_is_needed_only_if_something_changed(
    store: OstreeStore, sysroot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prunings, real = [], OSTree.Repo.prune

    def prune(*given: Any) -> Any:
        prunings.append(given)
        return real(*given)

    monkeypatch.setattr(OSTree.Repo, "prune", prune)
    layers = [base_layer().data]
    stored = store.import_image(make_image(layers), Streams(layers))
    for _ in range(3):
        store.prune([stored])
    assert len(prunings) == 1
    assert store.find(make_image(layers, "registry.example/again:v1")) == stored
    store.prune([stored])
    assert len(prunings) == 1, "another name for the same commit"

    left = sysroot / f"ostree/repo/objects/00/{62 * '0'}.file"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"of an import that a power cut ended")
    (left.parents[1] / "left-by-somebody").touch()
    store.prune([stored])
    assert not left.exists()
    ostree(sysroot, "commit", "--branch=foreign", f"--tree=ref={stored.key}", "--subject=another")
    store.prune([stored])
    ostree(sysroot, "refs", "--delete", "foreign")
    before = len(prunings)
    assert store.prune([stored]) > 0
    assert len(prunings) == before + 1
    (sysroot / "ostree/bootc/pruned").write_bytes(b"\xff damaged")
    store.prune([stored])
    assert len(prunings) == before + 2
    assert "no errors found" in ostree(sysroot, "fsck")


def test_a_kept_image_whose_name_went_to_another_one_stays(store: OstreeStore, sysroot: Path) -> None:
    old_layers, new_layers = [base_layer("1").data], [base_layer("2").data]
    old = store.import_image(make_image(old_layers), Streams(old_layers))
    new = store.import_image(make_image(new_layers), Streams(new_layers))
    store.prune([old, new])
    assert store.missing(make_image(old_layers)) == ()
    with store.open_tree(old) as tree:
        assert b"System 1" in (tree.read_optional(PurePosixPath("usr/lib/os-release")) or b"")
    assert refs(sysroot)["ostree/container/baseimage/pybootc/0"] == old.key
    store.prune([new])
    assert "ostree/container/baseimage/pybootc/0" not in refs(sysroot)
    assert store.missing(make_image(old_layers)) == make_image(old_layers).layers


def test_what_other_tools_protect_is_not_pruned(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data]
    stored = store.import_image(make_image(layers), Streams(layers))
    ostree(sysroot, "refs", "--create=ostree/container/baseimage/bootc/0", stored.key)
    ostree(sysroot, "refs", "--create=rpmostree/base/x", stored.key)
    store.prune([])
    assert store.missing(make_image(layers)) == ()
    assert [ref for ref in refs(sysroot) if "/image/" in ref] == []


def test_damage_is_found_and_named(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().add("usr/secret", data=b"untouched content").data]
    stored = store.import_image(make_image(layers), Streams(layers))
    assert list(store.check()) == []
    victim = next(
        path
        for path in sysroot.glob("ostree/repo/objects/*/*.file")
        if not path.is_symlink() and path.read_bytes() == b"untouched content"
    )
    victim.write_bytes(b"damaged content")
    findings = list(store.check())
    assert [(finding.subject, finding.is_fatal) for finding in findings] == [(f"docker://{NAME}", True)]
    assert "/usr/secret" in findings[0].message
    shutil.copy2(victim, sysroot / "victim")
    victim.unlink()
    assert any("/usr/secret" in finding.message for finding in store.check())
    assert store.find(make_image(layers)) == stored


def test_a_missing_directory_object_does_not_end_the_check(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data]
    store.import_image(make_image(layers), Streams(layers))
    for path in sysroot.glob("ostree/repo/objects/*/*.dirtree"):
        path.unlink()
    subjects = {finding.subject for finding in store.check()}
    assert subjects == {f"docker://{NAME}", f"layer {digest_of(layers[0])}"}


# ---------------------------------------------------------------- commits that others wrote


@pytest.fixture
def foreign_layer(sysroot: Path, tmp_path: Path) -> Callable[[bytes], None]:
    """Store a layer as upstream does: `ostree commit` of a tar archive, with its own metadata."""

    def commit(data: bytes) -> None:
        archive = tmp_path / "layer.tar"
        archive.write_bytes(data)
        name = f"ostree/container/blob/sha256_3A_{digest_of(data).hex}"
        words = ["--tar-autocreate-parents", "--no-bindings", f"--branch={name}", f"--tree=tar={archive}"]
        ostree(sysroot, "commit", "--add-metadata-string=ostree.importer.version=0.15", *words)

    return commit


def test_layers_that_upstream_stored_are_used(
    store: OstreeStore, foreign_layer: Callable[[bytes], None], sysroot: Path, tmp_path: Path
) -> None:
    lower = base_layer().data
    tar = Tar().directory("usr", mode=0o711).directory("usr/bin").add("usr/new", data=b"1")
    upper = tar.whiteout("usr/bin/alias").data
    foreign_layer(upper)
    image = make_image([lower, upper])
    assert store.missing(image) == image.layers[:1]
    found = checked_out(sysroot, store.import_image(image, Streams([lower])), tmp_path / "tree")
    assert found["usr"][1] == "0o711"
    assert found["usr/new"][-1] == b"1"
    assert "usr/bin/alias" not in found


def test_the_cached_update_of_upstream_is_left_alone(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data]
    stored = store.import_image(make_image(layers), Streams(layers))
    repo = OSTree.Repo.new(file(sysroot / "ostree/repo"))
    repo.open(None)
    cached = GLib.Variant("a{sv}", {"ostree-ext.cached.manifest-digest": GLib.Variant("s", "sha256:00")})
    repo.write_commit_detached_metadata(stored.key, cached, None)
    store.find(make_image(layers))
    store.prune([stored])
    assert repo.read_commit_detached_metadata(stored.key, None)[1].unpack() == cached.unpack()


def test_an_image_without_a_config_in_its_commit_is_still_an_image(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data]
    image = make_image(layers)
    stored = store.import_image(image, Streams(layers))
    name = "ostree/container/image/docker_3A__2F__2F_registry_2E_example/os_3A_v1"
    strings = [f"--add-metadata-string=ostree.manifest-digest={image.digest}"]
    strings += [f"--add-metadata-string=ostree.manifest={image.manifest.decode()}"]
    strings += ["--add-metadata-string=ostree.container.image-config=null"]
    ostree(sysroot, "commit", f"--tree=ref={stored.key}", f"--branch={name}", *strings)
    found = store.find(image)
    assert found is not None
    assert (found.config, found.labels) == (b"{}", {})


def test_a_reference_with_a_digest_is_a_name_like_any_other(store: OstreeStore, sysroot: Path) -> None:
    layers = [base_layer().data]
    image = make_image(layers)
    pinned = evolve(image, reference=ImageReference.of("registry.example/os").with_digest(Digest("sha256", "ab" * 32)))
    store.import_image(pinned, Streams(layers))
    name = f"docker_3A__2F__2F_registry_2E_example/os_40_sha256_3A_{'ab' * 32}"
    assert f"ostree/container/image/{name}" in refs(sysroot)
