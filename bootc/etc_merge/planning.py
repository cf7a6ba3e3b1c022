"""Planning a merge of /etc: what of the local changes is put onto the new image's /etc. Nothing is written.

What was not changed here follows the image. What was changed, added or removed here stays so, each file as a whole;
directories are merged. Where the image newly has a directory in place of a file that was changed here, or the other way
round, one of the two would be lost: that is a conflict.
"""

from __future__ import annotations

import enum
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from attrs import define, field, frozen

from bootc.errors import EtcConflictError
from bootc.etc_merge import tree
from bootc.etc_merge.compare import has_same_metadata, is_same, is_same_tree
from bootc.etc_merge.findings import Findings, MergeFinding, Reason
from bootc.etc_merge.tree import Listing, Node


class Verb(enum.Enum):
    """What is done to a path of the new /etc."""

    REMOVE = "remove"
    """it goes, with all that is below"""
    COPY = "copy"
    """the local one takes its place, with all that is below"""
    MAKE_DIRECTORY = "make-directory"
    """a directory with the local one's metadata takes its place"""
    SET_METADATA = "set-metadata"
    """the directory gets the local one's owner, mode and extended attributes"""


@frozen
class Action:
    """One change of the new image's /etc; `path` is relative to it, and empty for itself."""

    verb: Verb
    path: bytes


@frozen
class MergePlan:
    """All that makes the merged /etc out of the new image's, in order, parents first."""

    actions: tuple[Action, ...]
    findings: tuple[MergeFinding, ...]

    @property
    def conflicts(self) -> tuple[MergeFinding, ...]:
        """Findings that make it impossible."""
        return tuple(finding for finding in self.findings if finding.is_fatal)

    def require_possible(self) -> None:
        """Raise EtcConflictError if there are conflicts."""
        if self.conflicts:
            raise EtcConflictError([f"{finding.subject} {finding.message}" for finding in self.conflicts])


def plan(old: Path, current: Path, new: Path) -> MergePlan:
    """Plan the merge of `old` (the running image's /etc), `current` (with local changes) and `new`.

    A `current` that changes meanwhile is read again. Raises FileSystemError.
    """
    return tree.steadily(lambda: _plan(old, current, new))


def _plan(old: Path, current: Path, new: Path) -> MergePlan:
    planner = _Planner()
    with tree.opened(old) as before, tree.opened(current) as here, tree.opened(new) as after:
        planner.merge(before, here, after)
    return MergePlan(tuple(planner.actions), planner.findings.all())


@define
class _Planner:
    actions: list[Action] = field(factory=list)
    findings: Findings = field(factory=Findings)

    def merge(self, old: Node | None, current: Node | None, new: Node | None) -> None:
        """One path; None where a side lacks it."""
        if current is None:
            if old and new:
                self._removed(old, new)
        elif not self._is_left_out(current, new):
            if current.is_directory:
                self._directory(old, current, new)
            elif not (old and is_same(old, current)):
                self._file(old, current, new)

    def _removed(self, old: Node, new: Node) -> None:
        self._act(Verb.REMOVE, new)
        if not is_same_tree(old, new):
            self.findings.add(Reason.REMOVED_HERE, new.path)

    def _is_left_out(self, current: Node, new: Node | None) -> bool:
        """Whether this is nothing that can be carried over; then the image is followed."""
        if stat.S_ISSOCK(current.status.st_mode):
            self.findings.add(Reason.SOCKET, current.path)
            return True
        marks = current.marks()
        if marks.is_mount_point:
            self.findings.add(Reason.MOUNT_POINT, current.path)
            if current.is_directory and new is None:
                self._act(Verb.MAKE_DIRECTORY, current)  # the mount needs a place
            return True
        if current.is_directory and current.is_too_deep:
            self.findings.add(Reason.TOO_DEEP, current.path)
            return True
        if marks.is_fixed:
            self.findings.add(Reason.FIXED, current.path)
        return False

    def _file(self, old: Node | None, current: Node, new: Node | None) -> None:
        """What is no directory, and was added or changed here."""
        if new and new.is_directory and not (old and old.is_directory):
            self.findings.add(Reason.FILE_OR_DIRECTORY, current.path)
        else:
            self._replace(old, current, new)

    def _directory(self, old: Node | None, current: Node, new: Node | None) -> None:
        if old and not old.is_directory:
            self._became_directory(old, current, new)
        elif new and new.is_directory:
            self._both(old, current, new)
        elif old is None:
            self._added(current, new)
        elif new is None:
            self._without_image(old, current)
        elif _has_local(old, current):
            self.findings.add(Reason.FILE_OR_DIRECTORY, current.path)

    def _became_directory(self, old: Node, current: Node, new: Node | None) -> None:
        if new and new.is_directory:
            self._both(None, current, new)
        else:
            self._survey(current)
            self._replace(old, current, new)

    def _both(self, old: Node | None, current: Node, new: Node) -> None:
        """A directory here and in the image; it is a changed one if the old image had none."""
        is_changed = not (old and has_same_metadata(old, current))
        if is_changed and not has_same_metadata(current, new):
            self._act(Verb.SET_METADATA, current)
            if not (old and has_same_metadata(old, new)):
                self.findings.add(Reason.BOTH_CHANGED, current.path)
        self._content(old, current, new)

    def _added(self, current: Node, new: Node | None) -> None:
        if new is None:
            self._survey(current)
            self._act(Verb.COPY, current)
        else:
            self.findings.add(Reason.FILE_OR_DIRECTORY, current.path)

    def _without_image(self, old: Node, current: Node) -> None:
        """The image has no such directory any more: it stays if anything in it is local."""
        position = len(self.actions)
        self._content(old, current, None)
        if len(self.actions) > position or not has_same_metadata(old, current):
            self.actions.insert(position, Action(Verb.MAKE_DIRECTORY, current.path))
            self.findings.add(Reason.IMAGE_REMOVED, current.path)

    def _replace(self, old: Node | None, current: Node, new: Node | None) -> None:
        if new and not new.is_directory and is_same(current, new):
            return
        self._act(Verb.COPY, current)
        if new is None:
            if old:
                self.findings.add(Reason.IMAGE_REMOVED, current.path)
        elif not (old and is_same_tree(old, new)):
            self.findings.add(Reason.BOTH_CHANGED, current.path)

    def _content(self, old: Node | None, current: Node, new: Node | None) -> None:
        with ExitStack() as stack:
            here = stack.enter_context(current.opened())
            before = stack.enter_context(old.opened()) if old else None
            after = stack.enter_context(new.opened()) if new else None
            for name in sorted(here.names() | (before.names() if before else set())):
                self.merge(_in(before, name), here.node(name), _in(after, name))

    def _survey(self, current: Node) -> None:
        """Note what cannot be copied of a directory that is copied whole."""
        with current.opened() as content:
            for node in content.nodes():
                if not self._is_left_out(node, node) and node.is_directory:
                    self._survey(node)

    def _act(self, verb: Verb, node: Node) -> None:
        self.actions.append(Action(verb, node.path))


def _has_local(old: Node, current: Node) -> bool:
    """Whether a directory holds anything that was added or changed here (removals would be no loss)."""
    if not has_same_metadata(old, current):
        return True
    with old.opened() as before, current.opened() as here:
        return any(_is_local(before.node(node.name), node) for node in _carried(here))


def _is_local(old: Node | None, current: Node) -> bool:
    if old is None:
        return True
    if old.is_directory and current.is_directory:
        return _has_local(old, current)
    return not is_same(old, current)


def _carried(listing: Listing) -> Iterator[Node]:
    for node in listing.nodes():
        if not stat.S_ISSOCK(node.status.st_mode) and not node.is_mount_point():
            yield node


def _in(listing: Listing | None, name: bytes) -> Node | None:
    return listing.node(name) if listing else None
