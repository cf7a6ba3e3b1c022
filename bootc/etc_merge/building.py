"""Making the merged /etc: on a copy of the new image's, or whole, beside its place, and renamed when it is on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from bootc.durable import DirectoryVolume
from bootc.errors import BootcError
from bootc.etc_merge import tree
from bootc.etc_merge.findings import Findings, MergeFinding
from bootc.etc_merge.planning import Action, MergePlan, Verb
from bootc.etc_merge.tree import ChangedError, Node
from bootc.etc_merge.writing import Label, Observer, Writer

PARTIAL = ".partial"
"""suffix of the name under which it is built; what is found there is a leftover"""

_STAMP = PurePosixPath(".updated")


def apply(
    plan: MergePlan, current: Path, target: Path, *, label: Label | None = None, observe: Observer | None = None
) -> tuple[MergeFinding, ...]:
    """Carry a plan out on `target`, a copy of the new image's /etc; doing it again gives the same.

    This is neither atomic nor synced. What `current` no longer has counts as removed. `.updated` is removed, so that
    units with ConditionNeedsUpdate=/etc run. Answers with what could not be made. Raises EtcConflictError,
    FileSystemError, NoSpaceError.
    """
    plan.require_possible()
    with tree.opened(current) as here, tree.opened(target) as there:
        writer = Writer(there, label, observe, Findings())
        for action in plan.actions:
            if action.verb is not Verb.SET_METADATA:
                _act(action, here, writer)
        for action in reversed(plan.actions):  # a directory's own comes after its content
            if action.verb in (Verb.SET_METADATA, Verb.MAKE_DIRECTORY):
                _set_metadata(action.path, here, writer)
        with there.opened() as content:
            if stamp := content.node(os.fsencode(_STAMP)):
                writer.remove(stamp)
        return writer.findings.all()


def build(
    plan: MergePlan,
    current: Path,
    new: Path,
    volume: DirectoryVolume,
    path: PurePosixPath,
    *,
    label: Label | None = None,
) -> tuple[MergeFinding, ...]:
    """Make the merged /etc at `path` of the volume, of a copy of `new`, as `built` does.

    Answers and raises as `apply` does.
    """
    plan.require_possible()
    with built(volume, path) as partial:
        findings = copy(new, volume, partial, label=label)
        target, observe = volume.path(partial), announced(volume, partial)
        return (*findings, *apply(plan, current, target, label=label, observe=observe))


@contextmanager
def built(volume: DirectoryVolume, path: PurePosixPath) -> Iterator[PurePosixPath]:
    """Where to make what is to be at `path`. After the block it is synced, and takes its place in one step.

    After a failure nothing is left, after a power cut at most `<path>.partial`, which the next run removes.
    """
    partial = path.with_name(path.name + PARTIAL)
    volume.remove(partial)
    try:
        yield partial
        volume.sync()
    except BootcError:
        with suppress(BootcError):
            volume.remove(partial)
        raise
    if volume.is_directory(path):
        volume.exchange(partial, path)
        volume.remove(partial)
    else:
        volume.rename(partial, path)


def copy(
    source: Path, volume: DirectoryVolume, path: PurePosixPath, *, label: Label | None = None
) -> tuple[MergeFinding, ...]:
    """Copy a directory to a path of the volume, where nothing is. Not synced; each step is announced to the observer.

    Answers with what could not be made. Raises FileSystemError, NoSpaceError.
    """
    volume.make_directories(path, 0o700)
    with tree.opened(source) as here, tree.opened(volume.path(path)) as made:
        writer = Writer(made, label, announced(volume, path), Findings())
        writer.copy_content(here, made)
        writer.set_metadata(here, made)
        return writer.findings.all()


def announced(volume: DirectoryVolume, path: PurePosixPath) -> Observer | None:
    """Tells the volume's observer, if there is one, of steps below a path."""

    def observe(name: str, paths: tuple[bytes, ...], data: bytes | None) -> None:
        volume.announce(name, *(path / os.fsdecode(inner) for inner in paths), data=data)

    return observe if volume.is_observed else None


def _act(action: Action, here: Node, writer: Writer) -> None:
    above, _, name = action.path.rpartition(b"/")
    with tree.found(here, action.path) as source, tree.found(writer.target, above) as parent:
        if parent is None or not parent.is_directory:
            if source and action.verb is not Verb.REMOVE:
                raise ChangedError(f"{writer.target.shown}/{tree.printable(above)}", "is no directory")
            return
        with parent.opened() as directory:
            present = directory.node(name)
            is_made = action.verb is Verb.MAKE_DIRECTORY and source is not None and source.is_directory
            if present and not (is_made and present.is_directory):
                writer.remove(present)
            if is_made and not (present and present.is_directory):
                writer.make_directory(name, directory)
            elif source and action.verb is Verb.COPY:
                writer.copy(source, directory)


def _set_metadata(path: bytes, here: Node, writer: Writer) -> None:
    with tree.found(here, path) as source, tree.found(writer.target, path) as made:
        if source and made and source.is_directory and made.is_directory:
            writer.set_metadata(source, made)
