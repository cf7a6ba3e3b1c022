"""Writing into a tree by descriptors: copies of nodes, with everything that makes them what they are.

Each step is announced before it is taken, in the words of `bootc.durable.Step`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeAlias

from attrs import define, field

from bootc.errors import FileSystemError
from bootc.etc_merge.compare import copied_xattrs, is_counted
from bootc.etc_merge.findings import Findings, Reason
from bootc.etc_merge.tree import ChangedError, Explained, Listing, Node, by_descriptor, found

_SELINUX = "security.selinux"

Label: TypeAlias = Callable[[str, int], "str | None"]
"""The SELinux context of an absolute path, given st_mode (`Policy.label`)"""
Observer: TypeAlias = Callable[[str, tuple[bytes, ...], "bytes | None"], None]
"""Takes steps: system call, paths below the target, data"""


@define
class Writer:
    """Writes into one target; what is copied through one writer keeps its hard links."""

    target: Node
    """the target's root"""
    label: Label | None
    observe: Observer | None
    findings: Findings
    _links: dict[tuple[int, int], bytes] = field(factory=dict)

    def remove(self, node: Node) -> None:
        """Remove what is there, with all that is below."""
        if node.is_directory:
            with node.opened() as content:
                for child in content.nodes():
                    self.remove(child)
        with self._step(node.shown, "rmdir" if node.is_directory else "unlink", node.path):
            (os.rmdir if node.is_directory else os.unlink)(node.name, dir_fd=node.parent)

    def copy(self, source: Node, directory: Listing) -> None:
        """Copy an entry into a directory of the target, which does not have it yet.

        Sockets are left out; of what is mounted somewhere only the directory is made.
        """
        if source.is_directory:
            made = self.make_directory(source.name, directory)
            if not source.is_mount_point():
                self.copy_content(source, made)
            self.set_metadata(source, made)
        elif not source.is_mount_point() and not self._linked(source, directory) and self._made(source, directory):
            self.set_metadata(source, _found(directory, source.name))
            if source.status.st_nlink > 1:
                self._links[source.identity] = directory.path(source.name)

    def copy_content(self, source: Node, made: Node) -> None:
        """Copy what is in a directory into another; an entry that vanishes meanwhile is left out."""
        with source.opened() as here, made.opened() as there:
            for node in here.nodes():
                try:
                    self.copy(node, there)
                except ChangedError:
                    if partial := there.node(node.name):
                        self.remove(partial)

    def make_directory(self, name: bytes, directory: Listing) -> Node:
        """A directory into which nobody else can look yet."""
        with self._step(directory.shown(name), "mkdir", directory.path(name), data=b"700"):
            os.mkdir(name, 0o700, dir_fd=directory.descriptor)
        return _found(directory, name)

    def set_metadata(self, source: Node, made: Node) -> None:
        """Owner, mode, extended attributes and times, in an order in which none undoes another."""
        status, path = source.status, by_descriptor(made.parent, made.name)
        if (status.st_uid, status.st_gid) != (made.status.st_uid, made.status.st_gid):
            with self._step(made.shown, "chown", made.path, data=b"%d:%d" % (status.st_uid, status.st_gid)):
                os.chown(made.name, status.st_uid, status.st_gid, dir_fd=made.parent, follow_symlinks=False)
        if not made.is_link:
            mode = stat.S_IMODE(status.st_mode)
            with self._step(made.shown, "chmod", made.path, data=b"%o" % mode):
                os.chmod(made.name, mode, dir_fd=made.parent)
        self._set_xattrs(source, made, path)
        with self._step(made.shown, "utimens", made.path, data=b"%d" % status.st_mtime_ns):
            times = (status.st_mtime_ns, status.st_mtime_ns)
            os.utime(made.name, ns=times, dir_fd=made.parent, follow_symlinks=False)

    def _linked(self, source: Node, directory: Listing) -> bool:
        """Make it a hard link, if its file was copied before under another name."""
        first = self._links.get(source.identity) if source.status.st_nlink > 1 else None
        if first is None:
            return False
        path = directory.path(source.name)
        with found(self.target, first) as copy:
            if copy is None:
                return False
            with self._step(directory.shown(source.name), "link", first, path):
                fds = {"src_dir_fd": copy.parent, "dst_dir_fd": directory.descriptor}
                os.link(copy.name, source.name, **fds, follow_symlinks=False)
        return True

    def _made(self, source: Node, directory: Listing) -> bool:
        """Make what is no directory; its metadata is still missing."""
        match source.kind:
            case stat.S_IFREG:
                self._copy_bytes(source, directory)
            case stat.S_IFLNK:
                link = source.target()
                with self._step(directory.shown(source.name), "symlink", directory.path(source.name), data=link):
                    os.symlink(link, source.name, dir_fd=directory.descriptor)
            case stat.S_IFIFO | stat.S_IFCHR | stat.S_IFBLK:
                return self._make_special(source, directory)
            case _:
                return False
        return True

    def _copy_bytes(self, source: Node, directory: Listing) -> None:
        path, shown = directory.path(source.name), directory.shown(source.name)
        with source.read() as read:
            with self._step(shown, "create", path, data=b"600"):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                descriptor = os.open(source.name, flags, 0o600, dir_fd=directory.descriptor)
            try:
                while chunk := read():
                    with self._step(shown, "write", path, data=chunk):
                        while chunk:
                            chunk = chunk[os.write(descriptor, chunk) :]
            finally:
                os.close(descriptor)

    def _make_special(self, source: Node, directory: Listing) -> bool:
        mode, device, path = source.kind | 0o600, source.status.st_rdev, directory.path(source.name)
        with self._step(directory.shown(source.name), "mknod", path, data=b"%o:%d" % (mode, device)):
            try:
                os.mknod(source.name, mode, device, dir_fd=directory.descriptor)
            except PermissionError:
                if self.observe:
                    self.observe("unlink", (path,), None)
                self.findings.add(Reason.NO_DEVICE, source.path)
                return False
        return True

    def _set_xattrs(self, source: Node, made: Node, path: bytes) -> None:
        wanted, present = copied_xattrs(source), made.xattrs()
        if self.label:
            wanted.pop(_SELINUX, None)
            if context := self.label(os.fsdecode(b"/etc/" + made.path).rstrip("/"), source.status.st_mode):
                wanted[_SELINUX] = context.encode() + b"\0"
        for name in sorted(present.keys() - wanted.keys()):
            if is_counted(name):  # the image's, or what a directory's default ACL gave to it
                with self._step(made.shown, "removexattr", made.path, data=name.encode()):
                    os.removexattr(path, name, follow_symlinks=False)
        for name, value in sorted(wanted.items()):
            if present.get(name) != value:
                self._set_xattr(made, path, name, value)

    def _set_xattr(self, made: Node, path: bytes, name: str, value: bytes) -> None:
        with self._step(made.shown, "setxattr", made.path, data=os.fsencode(name) + b"=" + value):
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError as error:
                if error.errno != errno.ENOTSUP:
                    raise
                hint = "use a filesystem with extended attributes"
                raise FileSystemError(made.shown, f"cannot hold the extended attribute {name}", hint) from error

    def _step(self, shown: str, name: str, *paths: bytes, data: bytes | None = None) -> Explained:
        if self.observe:
            self.observe(name, paths, data)
        return Explained(shown)


def _found(directory: Listing, name: bytes) -> Node:
    node = directory.node(name)
    if node is None:
        raise ChangedError(directory.shown(name), "vanished while it was made")
    return node
