"""Objects of a repository: commits, directories and files, by checksum."""

from __future__ import annotations

from collections.abc import Iterator

from bootc_ostree import dirtree
from bootc_ostree.dirtree import Directory, DirTree
from bootc_ostree.glib import Gio, GLib, OSTree

_ROOT_CONTENTS, _ROOT_METADATA = 6, 7
_CACHED = 1 << 16

NO_XATTRS = GLib.Variant("a(ayay)", [])


class ObjectTrees:
    """Directory objects of one repository, each parsed once."""

    def __init__(self, repo: OSTree.Repo) -> None:
        self._repo = repo
        self._known: dict[str, DirTree] = {}

    def load(self, contents: str) -> DirTree:
        """The directory with this checksum."""
        tree = self._known.get(contents)
        if tree is None:
            variant = self._repo.load_variant(OSTree.ObjectType.DIR_TREE, contents)[1]
            tree = self._remember(contents, dirtree.parse(variant.get_data_as_bytes().get_data()))
        return tree

    def store(self, tree: DirTree) -> str:
        """Write a directory object, which needs a transaction; returns its checksum."""
        data = GLib.Bytes.new(dirtree.serialize(tree))
        variant = GLib.Variant.new_from_bytes(GLib.VariantType(dirtree.TYPE), data, False)
        contents = write_metadata(self._repo, OSTree.ObjectType.DIR_TREE, variant)
        self._remember(contents, tree)
        return contents

    def _remember(self, contents: str, tree: DirTree) -> DirTree:
        if len(self._known) >= _CACHED:
            self._known.clear()
        return self._known.setdefault(contents, tree)


def write_metadata(repo: OSTree.Repo, kind: OSTree.ObjectType, variant: GLib.Variant) -> str:
    """Write a metadata object; returns its checksum."""
    return bytes(repo.write_metadata(kind, None, variant, None)[1]).hex()


def write_directory_metadata(
    repo: OSTree.Repo, mode: int, uid: int = 0, gid: int = 0, xattrs: GLib.Variant = NO_XATTRS
) -> str:
    """Write the metadata object of a directory; `mode` with the type's bits."""
    owner = b"".join(number.to_bytes(4, "big") for number in (uid, gid, mode))
    data = GLib.Bytes.new(owner + xattrs.get_data_as_bytes().get_data())
    variant = GLib.Variant.new_from_bytes(GLib.VariantType("(uuua(ayay))"), data, False)
    return write_metadata(repo, OSTree.ObjectType.DIR_META, variant)


def root_of(repo: OSTree.Repo, commit: str) -> Directory:
    """The root directory of a commit."""
    variant = repo.load_variant(OSTree.ObjectType.COMMIT, commit)[1]
    contents, metadata = (variant.get_child_value(index) for index in (_ROOT_CONTENTS, _ROOT_METADATA))
    return Directory(OSTree.checksum_from_bytes_v(contents), OSTree.checksum_from_bytes_v(metadata))


def as_root(repo: OSTree.Repo, directory: Directory) -> OSTree.RepoFile:
    """A directory as the root for a new commit."""
    tree = OSTree.MutableTree.new_from_checksum(repo, directory.contents, directory.metadata)
    return repo.write_mtree(tree, None)[1]


def is_empty_file(repo: OSTree.Repo, checksum: str) -> bool:
    """Whether a file object is regular and without content."""
    information = repo.load_file(checksum, None)[2]
    return bool(information.get_file_type() == Gio.FileType.REGULAR and information.get_size() == 0)


def walk(repo: OSTree.Repo, commit: str) -> Iterator[tuple[OSTree.ObjectType, str, str]]:
    """All objects of a commit with the path that leads to each, parents first; one that occurs often comes often.

    An object that cannot be loaded still comes itself, before the GLib.Error.
    """
    yield OSTree.ObjectType.COMMIT, commit, ""
    yield from _walk(ObjectTrees(repo), root_of(repo, commit), "")


def _walk(trees: ObjectTrees, directory: Directory, path: str) -> Iterator[tuple[OSTree.ObjectType, str, str]]:
    yield OSTree.ObjectType.DIR_META, directory.metadata, path or "/"
    yield OSTree.ObjectType.DIR_TREE, directory.contents, path or "/"
    tree = trees.load(directory.contents)
    for name, checksum in tree.files.items():
        yield OSTree.ObjectType.FILE, checksum, f"{path}/{name}"
    for name, child in tree.directories.items():
        yield from _walk(trees, child, f"{path}/{name}")
