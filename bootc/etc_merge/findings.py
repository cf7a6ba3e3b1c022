"""What a merge of /etc has to say: notices, and conflicts that a person must resolve."""

from __future__ import annotations

import enum

from attrs import define, field, frozen

from bootc.etc_merge.tree import printable
from bootc.storage import Finding

_SHOWN = 1000
"""findings of either weight that are kept; more are counted"""


class Reason(enum.Enum):
    """Why there is a finding; the value is the sentence about the path."""

    BOTH_CHANGED = "was changed here, and by the new image; the local version stays"
    IMAGE_REMOVED = "was changed here, and is no longer in the new image; the local version stays"
    REMOVED_HERE = "was removed here, and changed by the new image; it stays removed"
    SOCKET = "is a socket and is not carried over"
    MOUNT_POINT = "is a mount point; what is mounted there is no part of /etc, what lies beneath is not seen"
    FIXED = "is immutable or append-only (chattr); that attribute is not carried over"
    NO_DEVICE = "is a device, which cannot be made here; it is not carried over"
    MORE = "has more findings"

    FILE_OR_DIRECTORY = "is a directory on one side only: changed here, and turned into the other kind by the new image"
    TOO_DEEP = "has directories that are nested too deeply"

    OSTREE_DIRECTORY = "is not a directory here, but one in the new image, which libostree cannot merge"
    OSTREE_NO_DIRECTORY = "is no directory in the new image, but changes below it cannot be merged by libostree"
    OSTREE_LINK_OUT = "is a link in the new image, through which libostree would write changes outside of the new /etc"
    OSTREE_LINK = "is a link to a directory in the new image; libostree puts local changes there"
    OSTREE_XATTRS = "has other extended attributes, which libostree does not carry over without other changes"
    OSTREE_METADATA = "is a directory with another owner or mode, which libostree does not carry over"
    OSTREE_WHOLE = (
        "is no directory in the new image; its owner or mode was changed here, so libostree keeps all that is in it"
    )
    OSTREE_SPECIAL = "is no file, directory or link; libostree does not carry it over"
    OSTREE_CONTENT = "became a directory here and in the new image; libostree does not carry its content over"

    @property
    def is_fatal(self) -> bool:
        """Whether the merge cannot be done."""
        return self in _FATAL


_FATAL = {
    Reason.FILE_OR_DIRECTORY,
    Reason.TOO_DEEP,
    Reason.OSTREE_DIRECTORY,
    Reason.OSTREE_NO_DIRECTORY,
    Reason.OSTREE_LINK_OUT,
}


@frozen
class MergeFinding(Finding):
    """A finding about one path, `subject`, which is printable and begins with /etc; `path` is relative to it."""

    reason: Reason
    path: bytes

    @classmethod
    def of(cls, reason: Reason, path: bytes) -> MergeFinding:
        """The finding with its sentence."""
        subject = f"/etc/{printable(path)}" if path else "/etc"
        return cls(subject, reason.value, reason.is_fatal, reason, path)


@define
class Findings:
    """Findings as they come up. Their number is bounded, for /etc may hold a million sockets."""

    _kept: list[MergeFinding] = field(factory=list)
    _counts: dict[bool, int] = field(factory=lambda: {False: 0, True: 0})

    def add(self, reason: Reason, path: bytes) -> None:
        """Note one."""
        self._counts[reason.is_fatal] += 1
        if self._counts[reason.is_fatal] <= _SHOWN:
            self._kept.append(MergeFinding.of(reason, path))

    def all(self) -> tuple[MergeFinding, ...]:
        """All that were kept, by path, and how many were not."""
        more = [self._more(is_fatal, count - _SHOWN) for is_fatal, count in self._counts.items() if count > _SHOWN]
        return (*sorted(self._kept, key=lambda finding: finding.path), *more)

    @staticmethod
    def _more(is_fatal: bool, count: int) -> MergeFinding:
        what = "conflicts" if is_fatal else "notices"
        return MergeFinding("/etc", f"has {count} more {what}", is_fatal, Reason.MORE, b"")
