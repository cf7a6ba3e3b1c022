"""Layers of fake images: written entry by entry, and folded to the tree that all of them show."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, evolve, field, frozen

from bootc.image import Digest
from bootc.testing.fakes.tar import Member, Sparse, end, packed
from bootc.testing.trees import Node, NormalTree, digest

TIME = 1_700_000_000
"""of all files that say nothing else"""

_KINDS = {b"0": "-", b"2": "l", b"3": "c", b"4": "b", b"5": "d", b"6": "p"}
_WHITEOUT, _OPAQUE = b".wh.", b".wh..wh..opq"


@frozen
class _Entry:
    member: Member
    sparse: Sparse | None = None

    @property
    def node(self) -> Node:
        """As it stands in a tree."""
        member = self.member
        content = digest(self.sparse.content if self.sparse else member.data) if member.kind == b"0" else None
        return Node(
            kind=_KINDS[member.kind],
            mode=None if member.kind == b"2" else member.mode,
            owner=(member.uid, member.gid),
            xattrs=member.xattrs,
            content=member.target if member.kind == b"2" else content,
            device=member.device if member.kind in (b"3", b"4") else None,
            mtime=member.mtime,
        )


@define
class FakeLayer:
    """A layer being written. Names are paths without a leading slash; `fields` are `mode`, `uid`, `gid`, `mtime` and
    `xattrs`."""

    entries: list[_Entry] = field(factory=list)

    def file(self, name: str | bytes, data: bytes = b"", **fields: Any) -> FakeLayer:
        """A regular file."""
        return self._add(name, b"0", data=data, **fields)

    def sparse(self, name: str | bytes, size: int, *pieces: tuple[int, bytes], **fields: Any) -> FakeLayer:
        """A file with holes: only these pieces, at their offsets, are in the archive."""
        return self._add(name, b"0", Sparse(size, pieces), **fields)

    def directory(self, name: str | bytes, **fields: Any) -> FakeLayer:
        """A directory."""
        return self._add(name, b"5", **{"mode": 0o755, **fields})

    def directories(self, *names: str) -> FakeLayer:
        """Directories with mode 0755 that are root's."""
        for name in names:
            self.directory(name)
        return self

    def symlink(self, name: str | bytes, target: str | bytes, **fields: Any) -> FakeLayer:
        """A symbolic link."""
        return self._add(name, b"2", target=os.fsencode(target), **{"mode": 0o777, **fields})

    def hardlink(self, name: str | bytes, target: str | bytes) -> FakeLayer:
        """Another name of an earlier file of this layer."""
        return self._add(name, b"1", target=os.fsencode(target))

    def fifo(self, name: str | bytes, **fields: Any) -> FakeLayer:
        """A named pipe."""
        return self._add(name, b"6", **fields)

    def device(self, name: str | bytes, kind: str, major: int, minor: int, **fields: Any) -> FakeLayer:
        """A device node; `kind` is `c` or `b`."""
        return self._add(name, {"c": b"3", "b": b"4"}[kind], device=(major, minor), **fields)

    def whiteout(self, name: str) -> FakeLayer:
        """What lower layers have there is gone (OCI image layer specification, whiteouts)."""
        directory, _, last = name.rpartition("/")
        return self.file(f"{directory}/{_WHITEOUT.decode()}{last}".lstrip("/"))

    def opaque(self, name: str) -> FakeLayer:
        """What lower layers have in this directory is gone."""
        return self.file(f"{name}/{_OPAQUE.decode()}")

    @property
    def data(self) -> bytes:
        """The tar archive."""
        return b"".join(packed(entry.member, entry.sparse) for entry in self.entries) + end()

    @property
    def diff_id(self) -> Digest:
        """SHA-256 of the archive."""
        return Digest("sha256", hashlib.sha256(self.data).hexdigest())

    def _add(self, name: str | bytes, kind: bytes, sparse: Sparse | None = None, **fields: Any) -> FakeLayer:
        member = Member(name=os.fsencode(name), kind=kind, **{"mtime": TIME, **fields})
        self.entries.append(_Entry(member, sparse))
        return self


def fold(layers: Iterable[FakeLayer]) -> NormalTree:
    """The tree that layers make, the lowest first."""
    folding = _Folding()
    for layer in layers:
        for entry in layer.entries:
            folding.lay(entry)
    return folding.tree()


@define
class _Folding:
    """Files by path; names of one file hold the same object."""

    files: dict[bytes, list[Node]] = field(factory=dict)

    def lay(self, entry: _Entry) -> None:
        name = entry.member.name
        directory, _, last = name.rpartition(b"/")
        if last == _OPAQUE:
            self._clear(directory)
        elif last.startswith(_WHITEOUT):
            self._remove(os.path.join(directory, last.removeprefix(_WHITEOUT)))
        elif entry.member.kind == b"1":
            self._remove(name)
            self.files[name] = self.files[entry.member.target]
        else:
            if entry.member.kind != b"5" or not self._is_directory(name):
                self._remove(name)
            self.files[name] = [entry.node]

    def tree(self) -> NormalTree:
        names: Mapping[int, set[bytes]] = defaultdict(set)
        for path, file in self.files.items():
            names[id(file)].add(path)
        nodes = {path: evolve(node) for path, (node,) in self.files.items()}
        return NormalTree(nodes, frozenset(frozenset(group) for group in names.values() if len(group) > 1))

    def _is_directory(self, path: bytes) -> bool:
        return path in self.files and self.files[path][0].kind == "d"

    def _clear(self, path: bytes) -> None:
        for inner in [name for name in self.files if name.startswith(path + b"/")]:
            del self.files[inner]

    def _remove(self, path: bytes) -> None:
        self._clear(path)
        self.files.pop(path, None)
