"""From layer commits to the commit of an image."""

from __future__ import annotations

from collections.abc import Mapping

from bootc.durable import DirectoryVolume
from bootc.image import Digest, Image, ImportedImage
from bootc_ostree import merge, metadata, refs
from bootc_ostree.dirtree import EMPTY, Directory
from bootc_ostree.glib import OSTree
from bootc_ostree.layout import Layout
from bootc_ostree.merge import LayerTree
from bootc_ostree.objects import ObjectTrees, as_root, is_empty_file, root_of, write_directory_metadata
from bootc_ostree.relabel import Relabeller, policy_of
from bootc_ostree.transaction import transaction

_ROOT_MODE = 0o40755
_BUILD_RESIDUE = ("hostname", "resolv.conf")
"""files of /etc that container builds leave behind empty"""


def assemble(
    repo: OSTree.Repo, volume: DirectoryVolume, image: Image, layout: Layout, commits: Mapping[Digest, str]
) -> ImportedImage:
    """Merge the layers and name the result by the image's reference, in one transaction."""
    base = commits[layout.commit.descriptor.digest] if layout.commit else None
    with transaction(repo, volume) as names:
        trees = ObjectTrees(repo)
        root = _merged(repo, trees, layout, commits, base)
        label = policy_of(repo, root) if layout.ordinary else None
        if label:
            relabeller = Relabeller(repo, trees, label)
            root = relabeller.tree(root)
            names |= _relabelled_layers(repo, relabeller, layout, commits)
        written = as_root(repo, root)
        moment = metadata.timestamp(image)
        commit = repo.write_commit_with_time(base, None, None, metadata.of_image(image), written, moment, None)[1]
        names[refs.image_ref(image.reference)] = commit
    stored = metadata.image_of(repo, commit)
    assert stored is not None, "the commit was just written"
    return stored


def _merged(
    repo: OSTree.Repo, trees: ObjectTrees, layout: Layout, commits: Mapping[Digest, str], base: str | None
) -> Directory:
    root = root_of(repo, base) if base else None
    for layer in layout.ordinary:
        commit = commits[layer.descriptor.digest]
        layer_tree = LayerTree(root_of(repo, commit), metadata.implied_of(repo, commit))
        root = merge.overlay(trees, root, layer_tree)
    if root is None:
        root = Directory(trees.store(EMPTY), write_directory_metadata(repo, _ROOT_MODE))
    return _without_residue(repo, trees, root)


def _without_residue(repo: OSTree.Repo, trees: ObjectTrees, root: Directory) -> Directory:
    etc = merge.descend(trees, root, "usr/etc")
    files = trees.load(etc.contents).files if etc else {}
    empty = [name for name in _BUILD_RESIDUE if name in files and is_empty_file(repo, files[name])]
    return merge.without_files(trees, root, "usr/etc", empty) if empty else root


def _relabelled_layers(
    repo: OSTree.Repo, relabeller: Relabeller, layout: Layout, commits: Mapping[Digest, str]
) -> Mapping[str, str]:
    """The layers' commits written again with the image's labels, so that both share their objects, by their refs."""
    names = {}
    for layer in layout.ordinary:
        commit = commits[layer.descriptor.digest]
        root = root_of(repo, commit)
        labelled = relabeller.tree(root)
        if labelled == root:
            continue
        old = repo.load_commit(commit)[1]
        moment, written = OSTree.commit_get_timestamp(old), as_root(repo, labelled)
        new = repo.write_commit_with_time(None, None, None, old.get_child_value(0), written, moment, None)[1]
        names[refs.blob_ref(layer.descriptor.digest)] = new
    return names
