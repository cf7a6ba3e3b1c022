"""Removing images and layers that nothing needs."""

from __future__ import annotations

from collections.abc import Collection

from bootc.image import Digest
from bootc_ostree import index, metadata, refs
from bootc_ostree.glib import OSTree
from bootc_ostree.pruned import Pruned


def collect(repo: OSTree.Repo, keep: Collection[str], pruned: Pruned) -> int:
    """Drop all image refs but those of the commits in `keep`, then layers that no manifest names, then objects.

    What other tools protect (refs of deployments and base images) stays. Returns the bytes freed.
    """
    unneeded = [ref for ref, commit in index.names(repo, refs.IMAGES).items() if commit not in keep]
    for ref in unneeded:
        _drop(repo, ref)
    _protect(repo, keep)
    needed = {refs.blob_ref(digest) for digest in _needed_layers(repo)}
    for ref in index.names(repo, refs.BLOBS):
        if ref not in needed:
            _drop(repo, ref)
    if not unneeded and pruned.is_current(repo):
        return 0
    freed = int(repo.prune(OSTree.RepoPruneFlags.REFS_ONLY, 0, None)[3])
    pruned.remember(repo)
    return freed


def _protect(repo: OSTree.Repo, keep: Collection[str]) -> None:
    """Give every kept commit a ref; only those that have none of another kind get one of ours."""
    named = set(index.names(repo, refs.IMAGES).values())
    for prefix in refs.PROTECTING:
        named |= {commit for ref, commit in index.names(repo, prefix).items() if not ref.startswith(refs.KEPT)}
    unnamed = sorted(set(keep) - named)
    for number, commit in enumerate(unnamed):
        repo.set_ref_immediate(None, refs.kept_ref(number), commit, None)
    wanted = {refs.kept_ref(number) for number in range(len(unnamed))}
    for ref in index.names(repo, refs.KEPT):
        if ref not in wanted:
            _drop(repo, ref)


def _needed_layers(repo: OSTree.Repo) -> set[Digest]:
    commits = {commit for prefix in (refs.IMAGES, *refs.PROTECTING) for commit in index.names(repo, prefix).values()}
    images = (metadata.image_of(repo, commit) for commit in commits)
    return {digest for image in images if image for digest in index.referenced_layers(image)}


def _drop(repo: OSTree.Repo, ref: str) -> None:
    repo.set_ref_immediate(None, ref, None, None)
