"""Small trees to merge, written as values: bytes are a file, a dictionary is a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.etc_merge import apply, plan


@frozen
class Link:
    """A symbolic link."""

    target: str


@frozen
class Mode:
    """A file or directory with these permissions and user attributes, instead of 0644 or 0755 and none."""

    content: bytes | Mapping[str, Entry]
    mode: int | None = None
    xattrs: tuple[tuple[str, bytes], ...] = ()


Entry: TypeAlias = bytes | Link | Mode | Mapping[str, "Entry"]
Tree: TypeAlias = Mapping[str, Entry]
Normal: TypeAlias = dict[str, tuple[object, ...]]


def write(path: Path, entry: Entry) -> Path:
    """Make a tree, or one entry of it; answers with its path."""
    match entry:
        case bytes():
            write(path, Mode(entry))
        case Link(target):
            path.symlink_to(target)
        case Mode(content, mode, xattrs):
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.mkdir(parents=True)
                for name, inner in content.items():
                    write(path / name, inner)
            path.chmod(mode if mode is not None else 0o644 if isinstance(content, bytes) else 0o755)
            for name, value in xattrs:
                os.setxattr(path, name, value)
        case _:
            write(path, Mode(entry))
    return path


def normal(root: Path) -> Normal:
    """All of a tree but times: path to kind, mode, owner, extended attributes and content."""
    return {str(path.relative_to(root)): _normal(path) for path in (root, *sorted(root.rglob("*")))}


def _normal(path: Path) -> tuple[object, ...]:
    found = path.lstat()
    content: object = None
    if stat.S_ISREG(found.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    elif not stat.S_ISDIR(found.st_mode):
        content = found.st_rdev
    xattrs = {
        name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
    }
    mode = None if path.is_symlink() else stat.S_IMODE(found.st_mode)
    return stat.S_IFMT(found.st_mode), mode, found.st_uid, found.st_gid, xattrs, content


@frozen
class Sides:
    """The three inputs of a merge, on disk."""

    folder: Path

    @classmethod
    def of(cls, folder: Path, old: Entry, current: Entry, new: Entry) -> Sides:
        """Write them."""
        for name, tree in (("old", old), ("current", current), ("new", new)):
            write(folder / name, tree)
        return cls(folder)

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """Old, current, new."""
        return self.folder / "old", self.folder / "current", self.folder / "new"

    @property
    def volume(self) -> DirectoryVolume:
        """A place for the result."""
        return DirectoryVolume(self.folder)

    def findings(self) -> dict[str, str]:
        """Subject, below /etc, to the reason's name."""
        found = plan(*self.paths).findings
        assert len({finding.subject for finding in found}) == len(found)
        return {finding.subject.removeprefix("/etc/"): finding.reason.name for finding in found}

    def merged(self) -> Normal:
        """The result, made on top of the new side."""
        old, current, new = self.paths
        apply(plan(old, current, new), current, new)
        return normal(new)
