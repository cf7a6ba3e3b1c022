"""Layers in ostree's own form: tar members that are objects of a repository, below `sysroot/ostree/repo/objects`.

Layer 0 holds a commit with all its metadata objects, chunk layers hold content objects only. Both versions of the form
are read: 1 (`.file-xattrs` and `.file-xattrs-link`) and 0 (`xattrs/` and `.file.xattrs`). Everything else in the
archive is a readable view of the same objects, and ignored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from bootc.errors import LayerError, PolicyError
from bootc.fetcher import Readable
from bootc.image import Image
from bootc.layers import Content, Entry, EntryKind, printable, read_layer
from bootc_ostree.dirtree import Directory, DirTree
from bootc_ostree.filter import require_storable
from bootc_ostree.glib import GLib, OSTree
from bootc_ostree.layout import Layout
from bootc_ostree.objects import ObjectTrees, as_root, write_directory_metadata

_OBJECT = re.compile(rb"sysroot/ostree/repo/objects/([0-9a-f]{2})/([0-9a-f]{62})\.([a-z.-]+)")
_SHARED_XATTRS = re.compile(
    rb"sysroot/ostree/repo/(?:xattrs/([0-9a-f]{64})|objects/([0-9a-f]{2})/([0-9a-f]{62})\.file-xattrs)"
)
_FOR_LAYERS = "ostree-image-signed: is for images with ordinary layers"
_KEYS = "ostree.repo-config(5) tells where the keys of a remote are"
_METADATA_LIMIT = 10 << 20
_XATTRS_LIMIT = 1 << 20
_INLINE_LIMIT = 127 << 10
_REGULAR = 0o100000
_CHUNK_ROOT_MODE = 0o40755

_METADATA = {
    "commit": (OSTree.ObjectType.COMMIT, "(a{sv}aya(say)sstayay)"),
    "dirtree": (OSTree.ObjectType.DIR_TREE, "(a(say)a(sayay))"),
    "dirmeta": (OSTree.ObjectType.DIR_META, "(uuua(ayay))"),
}


Verify = Callable[[bytes, bytes], None]
"""looks at a commit and its detached metadata before they are written; raises PolicyError"""


def import_chunk(repo: OSTree.Repo, stream: Readable) -> str:
    """Import the contents of a chunk inside a transaction; returns a commit that keeps them alive: its root has one
    file for each object, named by its checksum."""
    reader = _Importer(repo)
    for entry, content in read_layer(stream):
        reader.take(entry, content)
    root = Directory(
        ObjectTrees(repo).store(DirTree({checksum: checksum for checksum in reader.files}, {})),
        write_directory_metadata(repo, _CHUNK_ROOT_MODE),
    )
    empty = GLib.Variant("a{sv}", {})
    return str(repo.write_commit_with_time(None, None, None, empty, as_root(repo, root), 0, None)[1])


def import_commit(repo: OSTree.Repo, stream: Readable, verify: Verify | None) -> str:
    """Import the commit of an image inside a transaction, after the chunks; returns its checksum.

    It is marked as partial; `repo.mark_commit_partial(commit, False)` is for when the stream was verified.
    """
    reader = _Importer(repo, holds_commit=True, verify=verify)
    for entry, content in read_layer(stream):
        reader.take(entry, content)
    reader.write_commit()
    if not reader.commit:
        raise LayerError("sysroot/ostree/repo/objects", "no commit in the first layer of an ostree image")
    return reader.commit


def verification(repo: OSTree.Repo, image: Image, layout: Layout) -> Verify | None:
    """How an image's commit is to be checked: by the keys of an ostree remote, if its reference asks for that.

    Raises PolicyError for an image with ordinary layers, which such a signature does not cover.
    """
    kind, _, remote = (image.reference.signature or "").partition(":")
    if kind != "ostreeRemote":
        return None
    reference = str(image.reference)
    if layout.ordinary:
        raise PolicyError(reference, f"the keys of ostree remote {remote} do not sign ordinary layers", _FOR_LAYERS)

    def verify(commit: bytes, detached: bytes) -> None:
        data, extra = GLib.Bytes.new(commit), GLib.Bytes.new(detached)
        try:
            repo.signature_verify_commit_data(remote, data, extra, OSTree.RepoVerifyFlags.NONE)
        except GLib.Error as error:
            raise PolicyError(reference, f"ostree remote {remote}: {error.message}", _KEYS) from error

    return verify


class _Importer:
    """Takes the members of one layer, in order."""

    def __init__(self, repo: OSTree.Repo, *, holds_commit: bool = False, verify: Verify | None = None) -> None:
        self._repo, self._holds_commit, self._verify = repo, holds_commit, verify
        self._shared: dict[bytes, GLib.Variant] = {}
        self._next: tuple[str, GLib.Variant] | None = None
        self._pending: GLib.Variant | None = None
        self._detached: GLib.Variant | None = None
        self.commit = ""
        self.files: set[str] = set()

    def take(self, entry: Entry, content: Content) -> None:
        """Import one member. LayerError: it is out of place; GLib.Error: it is not what its name says."""
        shared = _SHARED_XATTRS.fullmatch(entry.path)
        if shared and entry.kind is EntryKind.FILE:
            self._take_xattrs(b"".join(filter(None, shared.groups())).decode(), entry, content)
            return
        match = _OBJECT.fullmatch(entry.path)
        if match is None:
            return
        checksum, kind = (match[1] + match[2]).decode(), match[3].decode()
        match kind:
            case "file-xattrs-link" | "file.xattrs":
                self._next = (checksum, self._linked_xattrs(entry, content))
            case "file":
                self._take_file(checksum, entry, content)
            case "commitmeta":
                self._detached = _variant("a{sv}", _whole(entry, content, _METADATA_LIMIT))
            case "commit" | "dirtree" | "dirmeta":
                self._take_metadata(kind, checksum, entry, content)
            case _:
                raise LayerError(printable(entry.path), "unknown kind of ostree object")

    def write_commit(self) -> None:
        """Write the commit once everything that speaks for it was read."""
        if self._pending is None:
            return
        commit, self._pending = self._pending, None
        if self._verify:
            detached = self._detached or GLib.Variant("a{sv}", {})
            self._verify(commit.get_data_as_bytes().get_data(), detached.get_data_as_bytes().get_data())
        self._repo.mark_commit_partial(self.commit, True)
        self._repo.write_metadata(OSTree.ObjectType.COMMIT, self.commit, commit, None)
        if self._detached:
            self._repo.write_commit_detached_metadata(self.commit, self._detached, None)

    def _take_xattrs(self, name: str, entry: Entry, content: Content) -> None:
        data = _whole(entry, content, _XATTRS_LIMIT)
        if hashlib.sha256(data).hexdigest() != name:
            raise LayerError(printable(entry.path), "extended attributes do not have the checksum in their name")
        self._shared[entry.path] = _variant("a(ayay)", data)

    def _linked_xattrs(self, entry: Entry, content: Content) -> GLib.Variant:
        if entry.kind is EntryKind.FILE:
            return _variant("a(ayay)", _whole(entry, content, _XATTRS_LIMIT))
        found = self._shared.get(entry.target)
        if found is None:
            raise LayerError(printable(entry.path), "link to extended attributes that did not come before it")
        return found

    def _take_metadata(self, kind: str, checksum: str, entry: Entry, content: Content) -> None:
        if not self._holds_commit or (kind == "commit") == bool(self.commit):
            problem = "a chunk may hold contents only" if not self._holds_commit else "not exactly one commit, first"
            raise LayerError(printable(entry.path), problem)
        object_type, text = _METADATA[kind]
        variant = _variant(text, _whole(entry, content, _METADATA_LIMIT))
        if kind == "commit":
            self.commit, self._pending = checksum, variant
            return
        self.write_commit()
        self._repo.write_metadata(object_type, checksum, variant, None)

    def _take_file(self, checksum: str, entry: Entry, content: Content) -> None:
        name, xattrs = self._next or ("", None)
        self._next = None
        if name != checksum or checksum in self.files:
            problem = "comes twice" if checksum in self.files else "its extended attributes do not come just before it"
            raise LayerError(printable(entry.path), problem)
        if self._holds_commit:
            self.write_commit()
        self.files.add(checksum)
        if self._repo.has_object(OSTree.ObjectType.FILE, checksum, None)[1]:
            return
        require_storable(entry)
        if entry.kind is EntryKind.SYMLINK:
            self._repo.write_symlink(checksum, entry.uid, entry.gid, xattrs, entry.target.decode(), None)
        elif entry.kind is EntryKind.FILE:
            self._write_regular(checksum, entry, content, xattrs)
        else:
            raise LayerError(printable(entry.path), "an object that is neither a file nor a symbolic link")

    def _write_regular(self, checksum: str, entry: Entry, content: Content, xattrs: GLib.Variant) -> None:
        mode = entry.mode | _REGULAR
        if entry.size <= _INLINE_LIMIT:
            data = content.read()
            self._repo.write_regfile_inline(checksum, entry.uid, entry.gid, mode, xattrs, data, None)
            return
        writer = self._repo.write_regfile(checksum, entry.uid, entry.gid, mode, entry.size, xattrs)
        content.copy_to(lambda piece: writer.write_all(bytes(piece), None))
        writer.finish(None)


def _whole(entry: Entry, content: Content, limit: int) -> bytes:
    if entry.kind is not EntryKind.FILE or entry.size > limit:
        raise LayerError(printable(entry.path), f"not a regular file of at most {limit} bytes")
    return content.read()


def _variant(text: str, data: bytes) -> GLib.Variant:
    return GLib.Variant.new_from_bytes(GLib.VariantType(text), GLib.Bytes.new(data), False)
