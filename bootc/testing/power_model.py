"""A filesystem in memory: read from a directory, changed by effects, written to another directory.

`Contents` is what a filesystem holds at one moment. An effect on it names inodes, not paths, so that it means the same
when an earlier one was lost; `bootc.testing.power_translator` makes effects of the steps of a log.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from attrs import define, field, frozen

from bootc.durable import Volume

ROOT = 0
"""the inode of a volume's root"""

Key: TypeAlias = "tuple[int, str]"
"""a name in a directory: the directory's inode, and the name"""


Seen: TypeAlias = "dict[tuple[int, int, int, int], Inode]"
"""files that were read, by device, number, time of change and size"""


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

    @property
    def is_directory(self) -> bool:
        """Whether it has names in it."""
        return self.kind == stat.S_IFDIR


@frozen(eq=False)
class Effect:
    """What one step (or a part of it that reaches the disk by itself) changes."""

    entries: tuple[tuple[int, str, int | None], ...] = ()
    """directory, name, and the inode that it has then; None: the name is gone"""
    born: tuple[int, Inode] | None = None
    needs: frozenset[Key] = frozenset()
    """names without which it cannot be, beside those that it changes"""
    inode: int | None = None
    """whose content or attributes it changes"""
    change: Callable[[Inode], Inode] | None = None
    is_content: bool = False
    ends: int | None = None
    """a directory that is no more"""

    @property
    def keys(self) -> frozenset[Key]:
        """All names that it has to do with."""
        return self.needs | {(directory, name) for directory, name, _ in self.entries}


@define
class Contents:
    """Everything on one filesystem. What is shared with a copy is copied when it changes."""

    inodes: dict[int, Inode]
    directories: dict[int, dict[str, int]]
    _own: set[int] = field(factory=set)

    @classmethod
    def scan(cls, root: Path, seen: Seen | None = None) -> Contents:
        """Read a directory. Names that lead to one file lead to one inode.

        What is in `seen`, and did not change since, is not read again.
        """
        seen = {} if seen is None else seen
        top = os.fsencode(root)
        found = cls({ROOT: _inode(top, os.lstat(top), seen)}, {ROOT: {}})
        known: dict[tuple[int, int], int] = {}
        waiting = [(top, ROOT)]
        while waiting:
            here, directory = waiting.pop()
            with os.scandir(here) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    number = known.setdefault((status.st_dev, status.st_ino), len(found.inodes))
                    found.directories[directory][os.fsdecode(entry.name)] = number
                    if number not in found.inodes:
                        found.inodes[number] = _inode(entry.path, status, seen)
                        if found.inodes[number].is_directory:
                            found.directories[number] = {}
                            waiting.append((entry.path, number))
        return found

    @classmethod
    def read(cls, volume: Volume) -> Contents:
        """Read a volume that is no directory of this system: names and contents are all that it has."""
        found = cls({ROOT: _plain(stat.S_IFDIR)}, {ROOT: {}})
        waiting = [(PurePosixPath(), ROOT)]
        while waiting:
            here, directory = waiting.pop()
            for name in volume.names(here):
                number = len(found.inodes)
                found.directories[directory][name] = number
                if volume.is_directory(here / name):
                    found.inodes[number], found.directories[number] = _plain(stat.S_IFDIR), {}
                    waiting.append((here / name, number))
                else:
                    found.inodes[number] = _plain(stat.S_IFREG, volume.read(here / name))
        return found

    def folded(self) -> Contents:
        """The same with all names in lower case, for filesystems that do not tell it from upper case."""
        lower = {
            number: {name.casefold(): n for name, n in names.items()} for number, names in self.directories.items()
        }
        return Contents(dict(self.inodes), lower)

    def copy(self) -> Contents:
        """Another that changes by itself."""
        self._own.clear()
        return Contents(dict(self.inodes), dict(self.directories))

    def emptied(self) -> Contents:
        """The same volume with nothing in it."""
        return Contents({ROOT: self.inodes[ROOT]}, {ROOT: {}})

    def apply(self, effect: Effect, *, is_lost: bool = False) -> None:
        """Let it happen; a lost one only gives numbers to what others may name."""
        if effect.born:
            number, inode = effect.born
            self.inodes[number] = inode
            if inode.is_directory:
                self.directories[number] = {}
                self._own.add(number)
        if is_lost:
            return
        for directory, name, target in effect.entries:
            names = self._writable(directory)
            if target is None:
                names.pop(name, None)
            else:
                names[name] = target
        if effect.change and effect.inode is not None:
            self.inodes[effect.inode] = effect.change(self.inodes[effect.inode])

    def find(self, path: str) -> int | None:
        """The inode at a path; no link is followed."""
        number = ROOT
        for name in PurePosixPath(path).parts:
            found = self.directories.get(number, {}).get(name)
            if found is None:
                return None
            number = found
        return number

    def walk(self) -> Iterator[tuple[str, int]]:
        """All paths with their inodes, directories before what is in them, in order."""
        waiting = [("", ROOT)]
        while waiting:
            path, number = waiting.pop()
            yield path, number
            names = self.directories.get(number, {})
            waiting += [(f"{path}/{name}" if path else name, names[name]) for name in sorted(names, reverse=True)]

    def signature(self) -> int:
        """The same for two that hold the same, apart from times."""
        return self._signature(ROOT)

    def write(self, root: Path) -> None:
        """Make it below an empty directory, whose own metadata it sets."""
        made: dict[int, bytes] = {}
        late: list[tuple[bytes, Inode]] = []
        for path, number in self.walk():
            place, inode = os.path.join(os.fsencode(root), os.fsencode(path)), self.inodes[number]
            if number in made:
                os.link(made[number], place, follow_symlinks=False)
                continue
            made[number] = place
            if inode.is_directory:
                if path:
                    os.mkdir(place, 0o700)
                late.append((place, inode))
            else:
                _make(place, inode)
        for place, inode in reversed(late):
            _dress(place, inode)

    def _signature(self, number: int) -> int:
        inode = self.inodes[number]
        if not inode.is_directory:
            return hash(inode)
        names = self.directories[number]
        return hash((inode, tuple([(name, self._signature(names[name])) for name in sorted(names)])))

    def _writable(self, directory: int) -> dict[str, int]:
        if directory not in self._own:
            self._own.add(directory)
            self.directories[directory] = dict(self.directories[directory])
        return self.directories[directory]


def differences(meant: Contents, found: Contents) -> Iterator[str]:
    """Where two differ: names, kinds, modes, owners, attributes, content, times that were set, and hard links."""
    left, right = dict(meant.walk()), dict(found.walk())
    for path in sorted({*left, *right}):
        if path not in left or path not in right:
            yield f"/{path}: {'not in the log' if path in right else 'only in the log'}"
            continue
        one, other = meant.inodes[left[path]], found.inodes[right[path]]
        if one != other:
            yield f"/{path}: {_shown(one)} in the log, {_shown(other)} in truth"
        elif not one.is_directory and one.mtime not in (None, other.mtime):
            yield f"/{path}: time {one.mtime} in the log, {other.mtime} in truth"
    if _groups(left) != _groups(right):
        yield "hard links differ"


def _plain(kind: int, data: bytes = b"") -> Inode:
    """With the owner and mode that a step gives to a new file if it tells none."""
    mode = Inode.made("mkdir" if kind == stat.S_IFDIR else "create", b"").mode
    return Inode(kind, mode, os.geteuid(), os.getegid(), data=data)


def _inode(path: bytes, status: os.stat_result, seen: Seen) -> Inode:
    identity = (status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size)
    if identity not in seen:
        seen[identity] = _read(path, status)
    return seen[identity]


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


def _make(place: bytes, inode: Inode) -> None:
    if inode.kind == stat.S_IFLNK:
        os.symlink(inode.data, place)
    elif inode.kind != stat.S_IFREG:
        os.mknod(place, inode.kind | 0o600, inode.device)
    else:
        file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        view = memoryview(inode.data)
        while view:
            view = view[os.write(file, view) :]
        os.close(file)
    _dress(place, inode)


def _dress(place: bytes, inode: Inode) -> None:
    """Metadata, in an order in which none undoes another."""
    if (inode.uid, inode.gid) != (os.geteuid(), os.getegid()):
        os.chown(place, inode.uid, inode.gid, follow_symlinks=False)
    if inode.kind != stat.S_IFLNK:
        os.chmod(place, inode.mode)
    for name, value in inode.xattrs:
        os.setxattr(place, name, value, follow_symlinks=False)
    if inode.mtime is not None:
        os.utime(place, ns=(inode.mtime, inode.mtime), follow_symlinks=False)


def _groups(paths: dict[str, int]) -> set[frozenset[str]]:
    found: dict[int, set[str]] = {}
    for path, number in paths.items():
        found.setdefault(number, set()).add(path)
    return {frozenset(names) for names in found.values() if len(names) > 1}


def _shown(inode: Inode) -> str:
    data = inode.data if len(inode.data) < 40 else inode.data[:32] + b"... %d bytes" % len(inode.data)
    return f"{inode.kind | inode.mode:o} {inode.uid}:{inode.gid} {dict(inode.xattrs)} {data!r} {inode.device}"
