"""What each step of a log changes on a filesystem, in the order in which it can reach the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from attrs import evolve

from bootc.durable import Step
from bootc.testing.power_inode import Inode
from bootc.testing.power_model import ROOT, Contents, Effect, Key


class ReplayError(AssertionError):
    """A log of steps that cannot have happened: a step is missing, or says too little."""


class Translator:
    """Turns steps into effects, in the light of all steps before them."""

    def __init__(self, before: Contents, *, is_fat: bool = False) -> None:
        self.now = before.copy()
        self._is_fat, self._next = is_fat, 1 + max(before.inodes)

    def effects(self, step: Step) -> tuple[Effect, ...]:
        """The parts of a step that reach the disk one by one; they have happened in `now`. Raises ReplayError."""
        effects = tuple(self._effects(step))
        for effect in effects:
            self.now.apply(effect)
        return effects

    def target(self, path: str) -> int:
        """The inode at a path. Raises ReplayError."""
        parent, name = self._place(path)
        if not name:
            return parent
        found = self.now.directories[parent].get(name)
        if found is None:
            raise ReplayError(f"{path} is not there")
        return found

    def _effects(self, step: Step) -> Iterable[Effect]:
        data = step.data or b""
        match step.name:
            case "create" | "mkdir" | "symlink" | "mknod":
                return self._made(step.paths[0], Inode.made(step.name, data))
            case "link" | "rename" | "exchange":
                return self._named(step.name, *step.paths)
            case "unlink" | "rmdir":
                return self._removed(step.name, step.paths[0])
            case "write":
                return (self._content(step.paths[0], data),)
            case "clone":
                source = self.now.inodes[self.target(step.paths[0])].data
                return (self._content(step.paths[1], source[: int(data)]),)
            case "chown" | "chmod" | "setxattr" | "removexattr" | "utimens":
                return (Effect(inode=self.target(step.paths[0]), change=_change(step.name, data)),)
            case "fsync" | "syncfs":
                return ()
            case _:
                raise ReplayError(f"unknown step {step.name}")

    def _made(self, path: str, inode: Inode) -> Iterable[Effect]:
        directory, name = self._place(path)
        if name in self.now.directories[directory]:
            raise ReplayError(f"{path} is there already")
        parent = self.now.inodes[directory]
        inode = evolve(inode, uid=os.geteuid(), gid=os.getegid())
        if parent.mode & stat.S_ISGID:
            inode = evolve(inode, gid=parent.gid, mode=inode.mode | (stat.S_ISGID if inode.is_directory else 0))
        number, self._next = self._next, self._next + 1
        return (Effect(entries=((directory, name, number),), born=(number, inode)),)

    def _named(self, kind: str, old: str, new: str) -> Iterable[Effect]:
        source, target = self._place(old), self._place(new)
        number, other = self.target(old), self.now.directories[target[0]].get(target[1])
        if kind == "link":
            if other is not None:
                raise ReplayError(f"{new} is there already")
            return (Effect(entries=((*target, number),), needs=frozenset({source})),)
        if kind == "exchange":
            if other is None:
                raise ReplayError(f"{new} is not there")
            return (Effect(entries=((*source, other), (*target, number))),)
        if source == target:
            return ()
        ends = other if other is not None and self.now.inodes[other].is_directory else None
        if self._is_fat:
            return (Effect(entries=((*target, number),), ends=ends), Effect(entries=((*source, None),)))
        return (Effect(entries=((*source, None), (*target, number)), ends=ends),)

    def _removed(self, kind: str, path: str) -> Iterable[Effect]:
        directory, name = self._place(path)
        number = self.now.directories[directory].get(name)
        is_directory = number is not None and self.now.inodes[number].is_directory
        if kind == "unlink":
            return () if number is None or is_directory else (Effect(entries=((directory, name, None),)),)
        if number is None or not is_directory or self.now.directories[number]:
            raise ReplayError(f"{path} is no empty directory")
        return (Effect(entries=((directory, name, None),), ends=number),)

    def _content(self, path: str, data: bytes) -> Effect:
        def change(inode: Inode) -> Inode:
            return evolve(inode, data=inode.data + data, mtime=None)

        return Effect(inode=self.target(path), change=change, is_content=True)

    def _place(self, path: str) -> Key:
        """A path's directory and name; the root has no name."""
        parts = PurePosixPath(path).parts
        number = ROOT
        for part in parts[:-1]:
            found = self.now.directories[number].get(self._spelled(number, part))
            if found is None or not self.now.inodes[found].is_directory:
                raise ReplayError(f"{path}: {part} is no directory")
            number = found
        return number, self._spelled(number, parts[-1]) if parts else ""

    def _spelled(self, directory: int, name: str) -> str:
        """The name as it is there, on a filesystem that does not tell upper from lower case."""
        if not self._is_fat:
            return name
        return next((n for n in self.now.directories[directory] if n.casefold() == name.casefold()), name)


def _change(kind: str, data: bytes) -> Callable[[Inode], Inode]:
    match kind:
        case "chown":
            uid, gid = map(int, data.split(b":"))
            return lambda inode: evolve(inode, uid=uid, gid=gid, mode=_without_suid(inode))
        case "chmod":
            return lambda inode: evolve(inode, mode=int(data, 8))
        case "utimens":
            return lambda inode: evolve(inode, mtime=int(data))
        case _:
            return _attribute(kind, data)


def _attribute(kind: str, data: bytes) -> Callable[[Inode], Inode]:
    name, _, value = data.partition(b"=")

    def change(inode: Inode) -> Inode:
        xattrs = {key: held for key, held in inode.xattrs if key != name}
        return evolve(inode, xattrs=tuple(sorted({**xattrs, **({name: value} if kind == "setxattr" else {})}.items())))

    return change


def _without_suid(inode: Inode) -> int:
    """What chown(2) leaves of a mode."""
    if inode.kind != stat.S_IFREG:
        return inode.mode
    return inode.mode & ~(stat.S_ISUID | (stat.S_ISGID if inode.mode & stat.S_IXGRP else 0))
