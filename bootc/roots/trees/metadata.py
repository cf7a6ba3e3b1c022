"""What an entry of a tree is besides its contents: owner, mode, extended attributes and time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bootc.durable import explain
from bootc.errors import FileSystemError
from bootc.layers import Entry, EntryKind, printable
from bootc.roots.trees.descriptors import by_descriptor
from bootc.roots.trees.labelling import Label
from bootc.roots.trees.steps import TreeSteps

SELINUX = b"security.selinux"


def set_metadata(
    steps: TreeSteps,
    entry: Entry,
    at: int | bytes,
    extra: Mapping[bytes, bytes] | None = None,
    owner: tuple[int, int] | None = None,
) -> None:
    """Owner, mode, attributes and time, in an order in which none undoes another. `at` is a descriptor, or a path of
    which the last part is not followed; `extra` are more attributes; `owner` is what it has already, if known."""
    follows = isinstance(at, int)
    if (entry.uid, entry.gid) != owner:
        steps.tell("chown", entry.path, data=b"%d:%d" % (entry.uid, entry.gid))
        os.chown(at, entry.uid, entry.gid, follow_symlinks=follows)
    if entry.kind is not EntryKind.SYMLINK:
        steps.tell("chmod", entry.path, data=b"%o" % entry.mode)
        os.chmod(at, entry.mode)
    for key, value in {**entry.xattrs, **(extra or {})}.items():
        steps.tell("setxattr", entry.path, data=key + b"=" + value)
        os.setxattr(at, key, value, follow_symlinks=follows)
    steps.tell("utimens", entry.path, data=b"%d" % entry.mtime)
    os.utime(at, ns=(entry.mtime, entry.mtime), follow_symlinks=follows)


def remove_xattr(steps: TreeSteps, path: bytes, at: int, key: bytes) -> None:
    """Take an attribute away."""
    steps.tell("removexattr", path, data=key)
    os.removexattr(at, key)


def context(label: Label | None, path: bytes, mode: int) -> Mapping[bytes, bytes]:
    """The attribute by which SELinux knows a file of this st_mode; none without a policy or where it says nothing."""
    found = label("/" + os.fsdecode(path), mode) if label else None
    return {SELINUX: found.encode() + b"\0"} if found else {}


def set_context(steps: TreeSteps, label: Label | None, path: bytes, directory: int) -> None:
    """Label what is no directory, as the policy says."""
    if label is None:
        return
    name = path.rpartition(b"/")[2]
    mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    with explained(steps, path):
        for key, value in context(label, path, mode).items():
            steps.tell("setxattr", path, data=key + b"=" + value)
            os.setxattr(by_descriptor(directory, name), key, value, follow_symlinks=False)


@contextmanager
def explained(steps: TreeSteps, path: bytes) -> Iterator[None]:
    """Failures of system calls are typed errors that name the entry. Raises FileSystemError, NoSpaceError."""
    try:
        yield
    except OSError as error:
        shown = f"{steps.volume.path(steps.root)}/{printable(path) if path else ''}"
        if error.errno == errno.ENOTSUP:
            hint = "install on a filesystem with extended attributes, as ext4, xfs and btrfs"
            raise FileSystemError(shown, "the filesystem cannot hold its extended attributes", hint) from error
        raise explain(error, shown) from error
