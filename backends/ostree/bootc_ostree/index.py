"""What the repository already has: images, and commits for layers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from bootc.errors import BootcError
from bootc.image import Digest, ImportedImage, Layer
from bootc_ostree import metadata, refs
from bootc_ostree.glib import GLib, OSTree
from bootc_ostree.layout import Layout


def names(repo: OSTree.Repo, prefix: str | None) -> Mapping[str, str]:
    """Refs below a prefix (None: all), with the commits they name."""
    return dict(repo.list_refs_ext(prefix, OSTree.RepoListRefsExtFlags.NONE, None)[1])


def resolve(repo: OSTree.Repo, ref: str) -> str | None:
    """The commit that a local ref names."""
    found = repo.resolve_rev(ref, True)[1]
    return str(found) if found else None


def images(repo: OSTree.Repo, first: str | None = None) -> Iterator[tuple[str, ImportedImage]]:
    """All stored images with their refs; the one of the ref `first` comes first."""
    found = names(repo, refs.IMAGES)
    for ref in sorted(found, key=lambda ref: (ref != first, ref)):
        image = metadata.image_of(repo, found[ref])
        if image:
            yield ref, image


def layer_commits(repo: OSTree.Repo, layout: Layout) -> Mapping[Digest, str]:
    """The layers of an image that are there, by the digest in its manifest: as they are, or compressed otherwise."""
    present: dict[Digest, str] = {}
    others: Mapping[str, list[Digest]] | None = None
    for layer in layout.in_order:
        commit = _commit_for(repo, layout, layer, [layer.descriptor.digest])
        if commit is None:
            others = _digests_by_content(repo) if others is None else others
            commit = _commit_for(repo, layout, layer, others.get(str(layer.diff_id), []))
        if commit:
            present[layer.descriptor.digest] = commit
    return present


def referenced_layers(image: ImportedImage) -> Iterator[Digest]:
    """The layers that a stored image's manifest names; none if it cannot be read."""
    return (digest for digest, _ in _layers(image))


def _commit_for(repo: OSTree.Repo, layout: Layout, layer: Layer, digests: list[Digest]) -> str | None:
    """A commit that holds this layer in the form that the image needs; it may have been stored for another image."""
    for digest in digests:
        commit = resolve(repo, refs.blob_ref(digest))
        if commit and _is_whole(repo, commit) and metadata.is_ordinary(repo, commit) == (layer in layout.ordinary):
            return commit
    return None


def _is_whole(repo: OSTree.Repo, commit: str) -> bool:
    try:
        state = repo.load_commit(commit)[2]
    except GLib.Error:
        return False
    return not state & OSTree.RepoCommitState.PARTIAL


def _digests_by_content(repo: OSTree.Repo) -> Mapping[str, list[Digest]]:
    found: dict[str, list[Digest]] = {}
    for _, image in images(repo):
        for digest, diff_id in _layers(image):
            if diff_id:
                found.setdefault(diff_id, []).append(digest)
    return found


def _layers(image: ImportedImage) -> Iterator[tuple[Digest, str | None]]:
    try:
        digests = [Digest.parse(layer["digest"]) for layer in json.loads(image.manifest)["layers"]]
        diff_ids = (json.loads(image.config).get("rootfs") or {}).get("diff_ids") or []
    except (ValueError, TypeError, KeyError, AttributeError, BootcError):
        return
    for index, digest in enumerate(digests):
        yield digest, str(diff_ids[index]) if len(diff_ids) == len(digests) else None
