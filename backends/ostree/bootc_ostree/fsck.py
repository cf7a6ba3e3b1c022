"""Reading everything that images need, to find what is damaged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from bootc.errors import StoreError
from bootc.storage import Finding
from bootc_ostree import index, refs
from bootc_ostree.glib import GLib, OSTree
from bootc_ostree.objects import walk


def check(repo: OSTree.Repo, deployed: Collection[str], check_cancelled: Callable[[], None]) -> Iterator[Finding]:
    """Verify the checksums of all objects of all images, layers and deployed commits; each object is read once."""
    seen: set[tuple[OSTree.ObjectType, str]] = set()
    for name, commit in _roots(repo, deployed).items():
        try:
            for kind, checksum, path in walk(repo, commit):
                if (kind, checksum) not in seen:
                    seen.add((kind, checksum))
                    check_cancelled()
                    yield from _checked(repo, name, kind, checksum, path)
        except (GLib.Error, StoreError) as error:
            yield Finding(name, f"cannot be read further: {error.message}", is_fatal=True)


def _roots(repo: OSTree.Repo, deployed: Collection[str]) -> dict[str, str]:
    """What to start from, with names for people."""
    roots = {refs.unescape(ref[len(refs.IMAGES) + 1 :]): c for ref, c in index.names(repo, refs.IMAGES).items()}
    roots |= {f"deployment {commit}": commit for commit in deployed}
    return roots | {f"layer {refs.unescape(ref[len(refs.BLOBS) + 1 :])}": c for ref, c in _blobs(repo)}


def _blobs(repo: OSTree.Repo) -> Collection[tuple[str, str]]:
    return index.names(repo, refs.BLOBS).items()


def _checked(repo: OSTree.Repo, name: str, kind: OSTree.ObjectType, checksum: str, path: str) -> Iterator[Finding]:
    try:
        repo.fsck_object(kind, checksum, None)
    except GLib.Error as error:
        what = f"{path}: " if path else ""
        yield Finding(name, f"{what}{error.message}", is_fatal=True)
