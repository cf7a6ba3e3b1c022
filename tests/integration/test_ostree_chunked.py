"""Images in ostree's own form: exported here by the rules of the format, imported by the backend."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from attrs import frozen
from bootc_ostree.glib import Gio, OSTree, file
from bootc_ostree.objects import root_of, walk
from bootc_ostree.options import OstreeOptions
from bootc_ostree.store import OstreeStore
from bootc_ostree.tree import RootTree

from bootc.errors import ImageError, LayerError, PolicyError, StoreError
from bootc.events import Event, Notice
from bootc.image import Image
from tests.integration.ostree_sysroots import new_sysroot
from tests.ostree_images import (
    Streams,
    Tar,
    base_layer,
    digest_of,
    make_context,
    make_image,
    normal_form,
)

pytestmark = pytest.mark.root

PREFIX = "sysroot/ostree/repo"
KINDS = {
    OSTree.ObjectType.COMMIT: "commit",
    OSTree.ObjectType.DIR_TREE: "dirtree",
    OSTree.ObjectType.DIR_META: "dirmeta",
}


def ostree(repo: Path, *words: str) -> str:
    argv = ["ostree", f"--repo={repo}", *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@frozen
class Exporter:
    """Writes layers from a commit of a repository."""

    repo: OSTree.Repo
    commit: str
    version: int = 1

    @property
    def files(self) -> list[str]:
        """Checksums of all content objects."""
        return sorted({name for kind, name, _ in walk(self.repo, self.commit) if kind is OSTree.ObjectType.FILE})

    def commit_layer(self, files: Collection[str]) -> bytes:
        """The commit, its metadata objects, and some of its contents."""
        tar = self._start()
        seen = set()
        for kind, name, _ in walk(self.repo, self.commit):
            if kind is not OSTree.ObjectType.FILE and name not in seen:
                seen.add(name)
                tar.add(self._path(name, KINDS[kind]), data=self._data(kind, name))
                if kind is OSTree.ObjectType.COMMIT:
                    self._add_detached(tar)
        self._add_files(tar, files)
        return tar.add("usr/readable", data=b"only for people").data

    def chunk(self, files: Collection[str]) -> bytes:
        """A layer of contents only."""
        tar = self._start()
        self._add_files(tar, files)
        return tar.data

    def _start(self) -> Tar:
        tar = Tar()
        for name in ("sysroot", "sysroot/ostree", PREFIX, f"{PREFIX}/objects", f"{PREFIX}/tmp"):
            tar.directory(name)
        return tar.add(f"{PREFIX}/config", data=b"[core]\nrepo_version=1\nmode=bare-split-xattrs\n")

    def _path(self, name: str, kind: str) -> str:
        return f"{'./' if self.version == 0 else ''}{PREFIX}/objects/{name[:2]}/{name[2:]}.{kind}"

    def _data(self, kind: OSTree.ObjectType, name: str) -> bytes:
        return bytes(self.repo.load_variant(kind, name)[1].get_data_as_bytes().get_data())

    def _add_detached(self, tar: Tar) -> None:
        detached = self.repo.read_commit_detached_metadata(self.commit, None)[1]
        if detached:
            tar.add(self._path(self.commit, "commitmeta"), data=detached.get_data_as_bytes().get_data())

    def _add_files(self, tar: Tar, files: Collection[str]) -> None:
        shared: set[str] = set()
        for name in sorted(files):
            _, stream, information, xattrs = self.repo.load_file(name, None)
            self._add_xattrs(tar, name, xattrs.get_data_as_bytes().get_data(), shared)
            uid, gid, mode = (information.get_attribute_uint32(f"unix::{key}") for key in ("uid", "gid", "mode"))
            owner = {"uid": uid, "gid": gid, "mode": mode & 0o7777}
            if information.get_file_type() == Gio.FileType.SYMBOLIC_LINK:
                tar.symlink(self._path(name, "file"), information.get_symlink_target(), **owner)
            else:
                data = stream.read_bytes(information.get_size() or 1, None).get_data()
                tar.add(self._path(name, "file"), data=data or b"", **owner)

    def _add_xattrs(self, tar: Tar, name: str, data: bytes, shared: set[str]) -> None:
        digest = hashlib.sha256(data).hexdigest()
        place = f"./{PREFIX}/xattrs/{digest}" if self.version == 0 else self._path(digest, "file-xattrs")
        if digest not in shared:
            shared.add(digest)
            tar.add(place, data=data)
        tar.hardlink(self._path(name, "file.xattrs" if self.version == 0 else "file-xattrs-link"), place)


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


def make_commit(tmp_path: Path, tar: Tar, *words: str) -> Exporter:
    """A commit as an image builder has it, in a repository of its own."""
    tree, repo = tmp_path / "build-tree", tmp_path / "build-repo"
    tree.mkdir()
    unpack = ["tar", "--extract", "--preserve-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
    subprocess.run([*unpack, f"--directory={tree}"], input=tar.data, check=True)
    (tree / "etc").rename(tree / "usr/etc")
    ostree(repo, "init", "--mode=bare")
    ostree(repo, "commit", "--branch=os", f"--tree=dir={tree}", "--add-metadata-string=version=42", *words)
    opened = OSTree.Repo.new(file(repo))
    opened.open(None)
    return Exporter(opened, ostree(repo, "rev-parse", "os").strip())


@pytest.fixture
def exporter(tmp_path: Path) -> Exporter:
    return make_commit(tmp_path, base_layer().add("usr/big", data=b"0123456789" * 50_000))


def in_chunks(exporter: Exporter) -> list[bytes]:
    files = exporter.files
    third = len(files) // 3
    parts = (files[:third], files[third : 2 * third], files[2 * third :])
    return [exporter.commit_layer(parts[0]), exporter.chunk(parts[1]), exporter.chunk(parts[2])]


def native(layers: Sequence[bytes], ordinary: Sequence[bytes] = (), **fields: Any) -> Image:
    """An image whose first layers are in ostree's form."""
    labels = {"ostree.final-diffid": str(digest_of(layers[-1])), "ostree.bootable": "1"}
    return make_image([*layers, *ordinary], labels=labels, **fields)


def checked_out(repo: Path, commit: str, to: Path) -> dict[str, object]:
    ostree(repo, "checkout", commit, str(to))
    return dict(normal_form(to))


def refs(sysroot: Path) -> dict[str, str]:
    repo = sysroot / "ostree/repo"
    return {name: ostree(repo, "rev-parse", name).strip() for name in ostree(repo, "refs").splitlines()}


def blob(layer: bytes) -> str:
    return f"ostree/container/blob/sha256_3A_{digest_of(layer).hex}"


@pytest.mark.parametrize("version", [0, 1])
def test_an_image_in_chunks_is_the_commit_it_was_made_from(
    store: OstreeStore, sysroot: Path, tmp_path: Path, exporter: Exporter, version: int
) -> None:
    layers = in_chunks(Exporter(exporter.repo, exporter.commit, version))
    image = native(layers)
    assert store.missing(image) == image.layers
    streams = Streams(layers)
    stored = store.import_image(image, streams)

    order = [digest_of(layers[index]) for index in (1, 2, 0)]
    assert streams.opened == order, "contents come before the commit that needs them"
    assert refs(sysroot)[blob(layers[0])] == exporter.commit
    assert store.missing(image) == ()
    repo = sysroot / "ostree/repo"
    assert ostree(repo, "rev-parse", f"{stored.key}^").strip() == exporter.commit
    expected = checked_out(tmp_path / "build-repo", exporter.commit, tmp_path / "expected")
    assert checked_out(repo, stored.key, tmp_path / "found") == expected
    assert "no errors found" in ostree(repo, "fsck")
    assert list(store.check()) == []


def test_a_chunk_is_a_commit_of_its_objects(store: OstreeStore, sysroot: Path, exporter: Exporter) -> None:
    layers = in_chunks(exporter)
    store.import_image(native(layers), Streams(layers))
    commit = refs(sysroot)[blob(layers[1])]
    third = len(exporter.files) // 3
    repo = OSTree.Repo.new(file(sysroot / "ostree/repo"))
    repo.open(None)
    variant = repo.load_commit(commit)[1]
    assert (variant.get_child_value(0).unpack(), OSTree.commit_get_timestamp(variant)) == ({}, 0)
    names = RootTree(repo, root_of(repo, commit)).names(PurePosixPath())
    assert list(names) == exporter.files[third : 2 * third]
    assert ostree(sysroot / "ostree/repo", "ls", commit).startswith("d00755 0 0 ")


def test_an_update_reads_only_the_chunks_that_changed(store: OstreeStore, exporter: Exporter) -> None:
    layers = in_chunks(exporter)
    store.import_image(native(layers), Streams(layers))
    files = exporter.files
    other = [exporter.commit_layer(files), layers[1], layers[2]]
    streams = Streams(other)
    store.import_image(native(other, name="registry.example/os:v2"), streams)
    assert streams.opened == [digest_of(other[0])]


def test_ordinary_layers_come_on_top(store: OstreeStore, sysroot: Path, tmp_path: Path, exporter: Exporter) -> None:
    layers = in_chunks(exporter)
    derived = Tar().add("etc/default", data=b"changed\n").whiteout("usr/bin/alias").add("var/new", data=b"1")
    ordinary = derived.data
    stored = store.import_image(native(layers, [ordinary]), Streams([*layers, ordinary]))
    found = checked_out(sysroot / "ostree/repo", stored.key, tmp_path / "found")
    expected = checked_out(tmp_path / "build-repo", exporter.commit, tmp_path / "expected")
    changed = {path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path)}
    assert changed == {"usr/etc/default", "usr/bin/alias", "var/new"}
    assert ostree(sysroot / "ostree/repo", "rev-parse", f"{stored.key}^").strip() == exporter.commit


def test_what_a_read_only_root_cannot_have_is_dropped_and_said(
    store: OstreeStore, exporter: Exporter, events: list[Event]
) -> None:
    layers = in_chunks(exporter)
    ordinary = Tar().add("opt/app/file", data=b"1").add("usr/kept", data=b"2").data
    stored = store.import_image(native(layers, [ordinary]), Streams([*layers, ordinary]))
    with store.open_tree(stored) as tree:
        assert "opt" not in tree.names(PurePosixPath())
        assert tree.read_optional(PurePosixPath("usr/kept")) == b"2"
    message = "ignored 3 entries in /opt: the base image has a read-only root without it"
    assert [event for event in events if isinstance(event, Notice)] == [Notice(message, is_warning=True)]


@pytest.mark.parametrize("text", ["[composefs]\nenabled = yes\n", "[root]\ntransient=true\n"])
def test_a_root_that_can_have_it_gets_it(tmp_path: Path, store: OstreeStore, text: str) -> None:
    tar = base_layer().directory("usr/lib/ostree").add("usr/lib/ostree/prepare-root.conf", data=text.encode())
    layers = in_chunks(make_commit(tmp_path, tar))
    ordinary = Tar().add("opt/file", data=b"1").data
    stored = store.import_image(native(layers, [ordinary]), Streams([*layers, ordinary]))
    with store.open_tree(stored) as tree:
        assert tree.read_optional(PurePosixPath("opt/file")) == b"1"


def test_a_build_that_changed_an_object_of_its_base_is_understood(store: OstreeStore, exporter: Exporter) -> None:
    layers = in_chunks(exporter)
    link = f"{PREFIX}/objects/ab/cdef.file"
    ordinary = Tar().add(link, data=b"changed in the build").hardlink("usr/lib/os-release", link).data
    stored = store.import_image(native(layers, [ordinary]), Streams([*layers, ordinary]))
    with store.open_tree(stored) as tree:
        assert tree.read_optional(PurePosixPath("etc/os-release")) == b"changed in the build"


def test_a_layer_is_read_again_where_its_other_form_is_needed(store: OstreeStore, exporter: Exporter) -> None:
    layers = in_chunks(exporter)
    store.import_image(native(layers), Streams(layers))
    unlabelled = make_image(layers, "registry.example/unlabelled:v1")
    assert store.missing(unlabelled) == unlabelled.layers


# ---------------------------------------------------------------- what must not get in


def test_a_label_that_names_no_layer_is_refused(store: OstreeStore, exporter: Exporter) -> None:
    image = make_image([base_layer().data], labels={"ostree.final-diffid": "sha256:" + "0" * 64})
    with pytest.raises(ImageError, match=r"ostree\.final-diffid names no layer"):
        store.missing(image)


def test_an_object_that_is_not_what_its_name_says_is_refused(store: OstreeStore, exporter: Exporter) -> None:
    layers = in_chunks(exporter)
    forged = [layer.replace(b"0123456789" * 50, b"0123456780" * 50) for layer in layers]
    assert forged != layers
    with pytest.raises(StoreError, match=r"[Cc]orrupt|checksum"):
        store.import_image(native(forged), Streams(forged))
    assert store.find(native(forged)) is None


def forge_metadata_in_chunk(exporter: Exporter) -> list[bytes]:
    return [exporter.commit_layer(exporter.files), exporter.commit_layer([])]


def forge_no_commit(exporter: Exporter) -> list[bytes]:
    return [exporter.chunk([]), exporter.chunk(exporter.files)]


def forge_contents_first(exporter: Exporter) -> list[bytes]:
    name = exporter.commit
    tar = Tar().add(f"{PREFIX}/objects/{'0' * 2}/{'0' * 62}.dirtree", data=b"")
    return [tar.add(f"{PREFIX}/objects/{name[:2]}/{name[2:]}.commit", data=b"").data]


def forge_without_xattrs(exporter: Exporter) -> list[bytes]:
    name = exporter.files[0]
    chunk = Tar().add(f"{PREFIX}/objects/{name[:2]}/{name[2:]}.file", data=b"x").data
    return [exporter.commit_layer(exporter.files), chunk]


def forge_xattrs(exporter: Exporter) -> list[bytes]:
    chunk = Tar().add(f"{PREFIX}/objects/{'0' * 2}/{'0' * 62}.file-xattrs", data=b"x").data
    return [exporter.commit_layer(exporter.files), chunk]


def forge_unknown(exporter: Exporter) -> list[bytes]:
    chunk = Tar().add(f"{PREFIX}/objects/{'0' * 2}/{'0' * 62}.filez", data=b"x").data
    return [exporter.commit_layer(exporter.files), chunk]


FORGERIES = {
    forge_metadata_in_chunk: "a chunk may hold contents only",
    forge_no_commit: "no commit in the first layer",
    forge_contents_first: "not exactly one commit, first",
    forge_without_xattrs: "extended attributes do not come just before it",
    forge_xattrs: "do not have the checksum in their name",
    forge_unknown: "unknown kind of ostree object",
}


@pytest.mark.parametrize(("forge", "problem"), FORGERIES.items(), ids=[forge.__name__ for forge in FORGERIES])
def test_a_layer_against_the_rules_is_refused(
    store: OstreeStore, exporter: Exporter, forge: Callable[[Exporter], list[bytes]], problem: str
) -> None:
    layers = forge(exporter)
    image = native(layers)
    with pytest.raises(LayerError, match=problem):
        store.import_image(image, Streams(layers))
    assert store.find(image) is None


# ---------------------------------------------------------------- signatures of ostree remotes


@pytest.fixture
def signed(tmp_path: Path, sysroot: Path) -> Exporter:
    """A signed commit, and a remote `vendor` with its key on the system."""
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", f"--homedir={home}", "--batch", "--quiet"]
    make_key = ["--passphrase", "", "--quick-generate-key", "vendor@test", "ed25519"]
    try:
        subprocess.run([*gpg, *make_key], check=True, capture_output=True)
        key = subprocess.run([*gpg, "--export"], check=True, capture_output=True).stdout
        (tmp_path / "key.gpg").write_bytes(key)
        exporter = make_commit(tmp_path, base_layer(), "--gpg-sign=vendor@test", f"--gpg-homedir={home}")
    finally:
        subprocess.run(["gpgconf", f"--homedir={home}", "--kill", "gpg-agent"], check=True)
    repo = sysroot / "ostree/repo"
    url = "https://registry.example/"
    ostree(repo, "remote", "add", f"--gpg-import={tmp_path / 'key.gpg'}", "--set=gpg-verify=true", "vendor", url)
    ostree(repo, "remote", "add", "--set=gpg-verify=true", "stranger", url)
    return exporter


def test_a_commit_that_the_remotes_key_signed_is_taken(store: OstreeStore, signed: Exporter) -> None:
    layers = in_chunks(signed)
    image = native(layers, signature="ostreeRemote:vendor")
    assert store.find(image) is None
    assert store.import_image(image, Streams(layers)).digest == image.digest


def test_a_commit_that_it_did_not_sign_is_refused(store: OstreeStore, signed: Exporter) -> None:
    layers = in_chunks(signed)
    image = native(layers, signature="ostreeRemote:stranger")
    with pytest.raises(PolicyError, match="ostree remote stranger"):
        store.import_image(image, Streams(layers))
    assert store.missing(image) == image.layers[:1]


def test_a_signature_does_not_cover_ordinary_layers(store: OstreeStore, signed: Exporter) -> None:
    layers, ordinary = in_chunks(signed), Tar().add("usr/x").data
    image = native(layers, [ordinary], signature="ostreeRemote:vendor")
    with pytest.raises(PolicyError, match="do not sign ordinary layers"):
        store.import_image(image, Streams([*layers, ordinary]))
