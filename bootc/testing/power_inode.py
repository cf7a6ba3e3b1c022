"""A file in memory, of any kind: as a step makes it, as it lies on a filesystem, and made again on another."""

from __future__ import annotations

import os
import stat
from typing import TypeAlias

from attrs import field, frozen


@frozen(cache_hash=True)
class Inode:
    """A file of any kind, without its names."""

    kind: int
    """S_IF…"""
    mode: int
    uid: int = 0
    gid: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    data: bytes = b""
    """content, or where a link points to"""
    device: int = 0
    mtime: int | None = field(default=None, eq=False)
    """nanoseconds; None where nothing was set since the last change"""

    @classmethod
    def made(cls, step: str, data: bytes) -> Inode:
        """As a step of this name and data makes it; see `bootc.durable.Step`."""
        match step:
            case "create":
                return cls(stat.S_IFREG, int(data or b"644", 8))
            case "mkdir":
                return cls(stat.S_IFDIR, int(data or b"755", 8))
            case "symlink":
                return cls(stat.S_IFLNK, 0o777, data=data)
            case _:
                mode, device = data.split(b":")
                return cls(stat.S_IFMT(int(mode, 8)), stat.S_IMODE(int(mode, 8)), device=int(device))

    @classmethod
    def plain(cls, kind: int, data: bytes = b"") -> Inode:
        """With the owner and mode that a step gives to a new file if it tells none."""
        mode = cls.made("mkdir" if kind == stat.S_IFDIR else "create", b"").mode
        return cls(kind, mode, os.geteuid(), os.getegid(), data=data)

    @classmethod
    def read(cls, path: bytes, status: os.stat_result, seen: Seen) -> Inode:
        """As it lies there, or as it was `seen` if it did not change since."""
        identity = (status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size)
        if identity not in seen:
            seen[identity] = _read(path, status)
        return seen[identity]

    @property
    def is_directory(self) -> bool:
        """Whether it has names in it."""
        return self.kind == stat.S_IFDIR

    def make(self, place: bytes) -> None:
        """Make it, with all that it has; what is no directory."""
        if self.kind == stat.S_IFLNK:
            os.symlink(self.data, place)
        elif self.kind != stat.S_IFREG:
            os.mknod(place, self.kind | 0o600, self.device)
        else:
            file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            view = memoryview(self.data)
            while view:
                view = view[os.write(file, view) :]
            os.close(file)
        self.dress(place)

    def dress(self, place: bytes) -> None:
        """Give its metadata to what was made, in an order in which none undoes another."""
        if (self.uid, self.gid) != (os.geteuid(), os.getegid()):
            os.chown(place, self.uid, self.gid, follow_symlinks=False)
        if self.kind != stat.S_IFLNK:
            os.chmod(place, self.mode)
        for name, value in self.xattrs:
            os.setxattr(place, name, value, follow_symlinks=False)
        if self.mtime is not None:
            os.utime(place, ns=(self.mtime, self.mtime), follow_symlinks=False)


Seen: TypeAlias = "dict[tuple[int, int, int, int], Inode]"
"""files that were read, by device, number, time of change and size"""


def _read(path: bytes, status: os.stat_result) -> Inode:
    kind, data = stat.S_IFMT(status.st_mode), b""
    if kind == stat.S_IFREG:
        with open(path, "rb", buffering=0) as file:
            data = file.readall()
    elif kind == stat.S_IFLNK:
        data = os.readlink(path)
    device = status.st_rdev if kind in (stat.S_IFBLK, stat.S_IFCHR) else 0
    names = sorted(map(os.fsencode, os.listxattr(path, follow_symlinks=False)))
    xattrs = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    mode, mtime = stat.S_IMODE(status.st_mode), status.st_mtime_ns
    return Inode(kind, mode, status.st_uid, status.st_gid, xattrs, data, device, mtime)
