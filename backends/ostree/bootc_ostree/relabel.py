"""SELinux labels on a tree of objects: a file with another label is another object, so what changes is written anew."""

from __future__ import annotations

from pathlib import PurePosixPath

from bootc.labels import Policy
from bootc_ostree.dirtree import Directory, DirTree
from bootc_ostree.filter import SELINUX, Label, image_path
from bootc_ostree.glib import Gio, GLib, OSTree
from bootc_ostree.merge import WHITEOUT
from bootc_ostree.objects import ObjectTrees, write_metadata
from bootc_ostree.tree import RootTree

_XATTRS = "a(ayay)"
_ATTRIBUTES = "unix::mode"


def policy_of(repo: OSTree.Repo, root: Directory) -> Label | None:
    """How the policy inside a tree labels files; None without a policy."""
    tree = RootTree(repo, root)
    policy = Policy.load(lambda path: tree.read_optional(PurePosixPath(path)))
    return policy.label if policy else None


class Relabeller:
    """Gives everything the label of one policy. Needs a transaction; each object is written once."""

    def __init__(self, repo: OSTree.Repo, trees: ObjectTrees, label: Label) -> None:
        self._repo, self._trees, self._label = repo, trees, label
        self._done: dict[tuple[str, str | None], str] = {}

    def tree(self, directory: Directory, path: str = "") -> Directory:
        """The directory at this path of the commit, labelled with all that is in it."""
        tree = self._trees.load(directory.contents)
        prefix = f"{path}/" if path else ""
        files = {name: self._file(checksum, name, prefix + name) for name, checksum in tree.files.items()}
        directories = {name: self.tree(child, prefix + name) for name, child in tree.directories.items()}
        labelled = DirTree(files, directories)
        contents = directory.contents if labelled == tree else self._trees.store(labelled)
        return Directory(contents, self._metadata(directory.metadata, path))

    def _file(self, checksum: str, name: str, path: str) -> str:
        if name.startswith(WHITEOUT):
            return checksum
        _, stream, information, xattrs = self._repo.load_file(checksum, None)
        label = self._label(image_path(path), information.get_attribute_uint32(_ATTRIBUTES))
        key = (checksum, label)
        if key not in self._done:
            wanted = _labelled(xattrs, label)
            is_same = wanted.equal(xattrs)
            self._done[key] = checksum if is_same else self._write(stream, information, wanted)
        return self._done[key]

    def _write(self, stream: Gio.InputStream | None, information: Gio.FileInfo, xattrs: GLib.Variant) -> str:
        if stream is None:
            owner = (information.get_attribute_uint32(f"unix::{name}") for name in ("uid", "gid"))
            return str(self._repo.write_symlink(None, *owner, xattrs, information.get_symlink_target(), None))
        content, length = OSTree.raw_file_to_content_stream(stream, information, xattrs, None)[1:]
        return bytes(self._repo.write_content(None, content, length, None)[1]).hex()

    def _metadata(self, checksum: str, path: str) -> str:
        variant = self._repo.load_variant(OSTree.ObjectType.DIR_META, checksum)[1]
        owner, group, mode, xattrs = (variant.get_child_value(index) for index in range(4))
        label = self._label(image_path(path), int.from_bytes(mode.get_data_as_bytes().get_data(), "big"))
        wanted = _labelled(xattrs, label)
        if wanted.equal(xattrs):
            return checksum
        labelled = GLib.Variant.new_tuple(owner, group, mode, wanted)
        return write_metadata(self._repo, OSTree.ObjectType.DIR_META, labelled)


def _labelled(xattrs: GLib.Variant, label: str | None) -> GLib.Variant:
    """The attributes with this label, in the order of their names."""
    pairs = {}
    for index in range(xattrs.n_children()):
        name, value = (xattrs.get_child_value(index).get_child_value(part) for part in (0, 1))
        pairs[name.get_data_as_bytes().get_data()] = value.get_data_as_bytes().get_data()
    pairs.pop(SELINUX + b"\0", None)
    if label is not None:
        pairs[SELINUX + b"\0"] = label.encode() + b"\0"
    return GLib.Variant(_XATTRS, sorted(pairs.items()))
