"""Random file trees that go to the limits of composefs images."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from bootc_composefs.dump import write_dump
from bootc_composefs.tree import Attributes, Child, Content, Directory, File, HardLink, Kind, Object, Special, Symlink

SECOND = 10**9
INLINE = 5000
_U16, _U32 = 0xFFFF, 0xFFFFFFFF


def attributes(
    mode: int = 0o644, uid: int = 0, gid: int = 0, mtime: int = 0, xattrs: Mapping[bytes, bytes] | None = None
) -> Attributes:
    """Attributes of which only a few matter."""
    return Attributes(mode, uid, gid, mtime, xattrs or {})


def directory(children: Mapping[bytes, Child] | None = None, **owner: Any) -> Directory:
    """A directory with its entries, 0755 unless told otherwise."""
    return Directory(attributes(**{"mode": 0o755} | owner), dict(children or {}))


def inline(content: bytes = b"", **owner: Any) -> File:
    """A file that lies in the image; empty by default."""
    return File(attributes(**owner), len(content), content)


def external(size: int, content: Object, **owner: Any) -> File:
    """A file that lies in an object."""
    return File(attributes(**owner), size, content)


def symlink(target: bytes, **owner: Any) -> Symlink:
    """A symbolic link, 0777 unless told otherwise."""
    return Symlink(attributes(**{"mode": 0o777} | owner), target)


def whiteout(**owner: Any) -> Special:
    """What overlayfs takes for a removed name."""
    return Special(attributes(**owner), Kind.CHARACTER)


def dump_of(root: Directory) -> bytes:
    """The whole dump of a tree."""
    return b"".join(write_dump(root))


class TreeMaker:
    """Makes one tree from a seed; the same one each time."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._times = [self._time() for _ in range(self._chance.randint(1, 3))]
        self._xattrs = [(self._key(), self._value()) for _ in range(self._chance.randint(1, 12))]
        self._directories: list[Directory] = []
        self._files: list[File | Symlink | Special] = []

    def make(self) -> Directory:
        """A tree of up to some hundred nodes."""
        chance = self._chance
        root = Directory(self._attributes())
        self._directories.append(root)
        for _ in range(chance.choice((0, 3, 10, 30, 100, 300))):
            parent = chance.choice(self._directories[-5:] if chance.random() < 0.7 else self._directories)
            name = self._name()
            if name not in parent.children:
                self._add(parent, name)
        if chance.random() < 0.1:
            self._add_hexadecimal_names(root)
        if chance.random() < 0.05:
            self._add_many_shared()
        return root

    def _add(self, parent: Directory, name: bytes) -> None:
        chance = self._chance
        kind = chance.random()
        if kind < 0.25:
            below = parent.children[name] = Directory(self._attributes())
            self._directories.append(below)
        elif kind < 0.35 and self._files:
            parent.children[name] = HardLink(chance.choice(self._files))
        else:
            node = parent.children[name] = self._leaf()
            if not (isinstance(node, Special) and node.is_whiteout):
                self._files.append(node)

    def _leaf(self) -> File | Symlink | Special:
        chance = self._chance
        attributes, nlink, kind = self._attributes(), self._nlink(), chance.random()
        if kind < 0.6:
            size, content = self._content()
            return File(attributes, size, content, nlink)
        if kind < 0.8:
            return Symlink(attributes, self._target(), nlink)
        type = chance.choice(tuple(Kind))
        rdev = 0 if type in (Kind.FIFO, Kind.SOCKET) else chance.choice((0, 0, 1, 1281, chance.getrandbits(32)))
        return Special(attributes, type, rdev, nlink)

    def _content(self) -> tuple[int, Content]:
        chance = self._chance
        if chance.random() < 0.1:
            return 0, b""
        if chance.random() < 0.5:
            size = chance.choice((1, 64, 2047, 2048, 2049, 4095, 4096, 4097, INLINE, chance.randint(1, INLINE)))
            return size, chance.randbytes(size)
        size = chance.choice(
            (1, 4096, 4097, 1 << 32, (1 << 32) - 1, 1 << chance.randint(1, 44), chance.getrandbits(40) + 1)
        )
        if chance.random() < 0.02:
            size = chance.randint(1 << 50, 1 << 53)
        digest = b"" if chance.random() < 0.1 else chance.choice((chance.randbytes(32), b"\7" * 32))
        path = b"" if chance.random() < 0.1 else self._word(chance.choice((10, 64, 64, 64, 4000)))
        return size, Object(digest, path)

    def _add_hexadecimal_names(self, root: Directory) -> None:
        for number in self._chance.sample(range(256), 5):
            name = b"%02x" % number
            if name not in root.children:
                self._add(root, name)

    def _add_many_shared(self) -> None:
        """Files with more shared attributes than one inode may refer to."""
        common = {b"user.%03d" % number: b"%d" % number for number in range(self._chance.randint(120, 150))}
        for number in range(2):
            directory = self._chance.choice(self._directories)
            mtime = self._chance.choice(self._times)
            directory.children[b"shared%d" % number] = File(Attributes(0o644, 0, 0, mtime, common), 0, b"")

    def _attributes(self) -> Attributes:
        chance = self._chance
        owners = (0, 0, 0, 0, 0, 0, 0, 0, 1000, _U16, _U16 + 1, _U32)
        mtime = chance.choice(self._times) if chance.random() < 0.97 else self._time()
        xattrs = dict(chance.choices(self._xattrs, k=chance.choice((0, 0, 1, 2, 5))))
        if chance.random() < 0.2:
            xattrs[self._key()] = self._value()
        return Attributes(chance.getrandbits(12), chance.choice(owners), chance.choice(owners), mtime, xattrs)

    def _nlink(self) -> int:
        return self._chance.choice((1, 1, 1, 1, 1, 1, 1, 1, 2, _U16, _U16 + 1, _U32))

    def _time(self) -> int:
        chance = self._chance
        seconds = chance.choice((0, 1_700_000_000, chance.randint(-(1 << 33), 1 << 33)))
        return seconds * SECOND + chance.choice((0, 0, 1, chance.randrange(SECOND)))

    def _key(self) -> bytes:
        chance = self._chance
        prefixes = (b"user.", b"trusted.", b"security.", b"lustre.", b"other", b"trusted.overlay.", b"user.overlay.x")
        if chance.random() < 0.2:
            return chance.choice(
                (
                    b"security.selinux",
                    b"security.capability",
                    b"system.posix_acl_access",
                    b"system.posix_acl_default",
                    b"trusted.overlay.overlay.opaque",
                    b"trusted.overlay.redirect",
                    b"user.overlay.redirect",
                )
            )
        return chance.choice(prefixes) + self._word(chance.choice((1, 5, 20, 200)))

    def _value(self) -> bytes:
        chance = self._chance
        return chance.randbytes(chance.choice((0, 1, 2, 3, 4, 30, 30, 300, 3000)))

    def _name(self) -> bytes:
        chance = self._chance
        if chance.random() < 0.15:
            return chance.choice((b"!", b"#a", b"-", b"--", b" ", b"\n", b"a b", b"\\", b"=", b"\xff\xfe", b"..."))
        return self._word(chance.choice((2, 8, 8, 8, 20, 100, 255)))

    def _target(self) -> bytes:
        chance = self._chance
        size = chance.choice((1, 10, 30, 1000, 2500, chance.randint(3800, 4095), 4095))
        return b"-" if chance.random() < 0.05 else self._word(size)

    def _word(self, size: int) -> bytes:
        chance = self._chance
        alphabet = b"abcdefgh-_~%19" if chance.random() < 0.9 else bytes(range(1, 46)) + bytes(range(48, 256))
        return bytes(chance.choices(alphabet, k=size))
