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
from bootc.testing.power_inode import Inode, Seen

ROOT = 0
"""the inode of a volume's root"""

Key: TypeAlias = "tuple[int, str]"
"""a name in a directory: the directory's inode, and the name"""


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
        found = cls({ROOT: Inode.read(top, os.lstat(top), seen)}, {ROOT: {}})
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
                        found.inodes[number] = Inode.read(entry.path, status, seen)
                        if found.inodes[number].is_directory:
                            found.directories[number] = {}
                            waiting.append((entry.path, number))
        return found

    @classmethod
    def read(cls, volume: Volume) -> Contents:
        """Read a volume that is no directory of this system: names and contents are all that it has."""
        found = cls({ROOT: Inode.plain(stat.S_IFDIR)}, {ROOT: {}})
        waiting = [(PurePosixPath(), ROOT)]
        while waiting:
            here, directory = waiting.pop()
            for name in volume.names(here):
                number = len(found.inodes)
                found.directories[directory][name] = number
                if volume.is_directory(here / name):
                    found.inodes[number], found.directories[number] = Inode.plain(stat.S_IFDIR), {}
                    waiting.append((here / name, number))
                else:
                    found.inodes[number] = Inode.plain(stat.S_IFREG, volume.read(here / name))
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
                inode.make(place)
        for place, inode in reversed(late):
            inode.dress(place)

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


def _groups(paths: dict[str, int]) -> set[frozenset[str]]:
    found: dict[int, set[str]] = {}
    for path, number in paths.items():
        found.setdefault(number, set()).add(path)
    return {frozenset(names) for names in found.values() if len(names) > 1}


def _shown(inode: Inode) -> str:
    data = inode.data if len(inode.data) < 40 else inode.data[:32] + b"... %d bytes" % len(inode.data)
    return f"{inode.kind | inode.mode:o} {inode.uid}:{inode.gid} {dict(inode.xattrs)} {data!r} {inode.device}"
