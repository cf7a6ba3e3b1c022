"""The text form of a tree that `mkcomposefs --from-file` reads and `composefs-info dump` writes.

A line for each name, in which a parent comes before its children:
`PATH SIZE MODE NLINK UID GID RDEV MTIME PAYLOAD CONTENT DIGEST [KEY=VALUE ...]`. MODE is octal, with the
bits of the type and an `@` before it for hard links; MTIME is seconds, a dot and nanoseconds; PAYLOAD is the target of
a link or the path of an object; `-` means absent. What is written here also satisfies mkcomposefs' strict parser
(CFS_PARSE_STRICT).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator

from bootc.layers import printable
from bootc.layers.entry import NO_XATTRS
from bootc_composefs.collector import paused_collector
from bootc_composefs.escapes import ABSENT, escape, escape_xattr, unescape
from bootc_composefs.failures import DumpError, TreeError
from bootc_composefs.tree import (
    SECOND,
    Attributes,
    Content,
    Directory,
    File,
    HardLink,
    Kind,
    Node,
    Object,
    Special,
    Symlink,
    mode_of,
    walk,
)

_NODE = re.compile(
    rb"([^ ]+) ([0-9]+) ([0-7]+) ([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+) (-?[0-9]+)\.([0-9]{1,9})"
    rb"(?: ([^ ]+)(?: ([^ ]+)(?: ([^ ]+)((?: [^ ]+)*))?)?)?"
)
_LINK = re.compile(rb"([^ ]+) [^ ]+ @[0-7]+(?: [^ ]+){5} ([^ ]+)(?: [^ ]+)*")

_KINDS = {kind.value for kind in Kind}
_DIGEST = re.compile(rb"[0-9a-fA-F]{64}(?:[0-9a-fA-F]{64})?")


def write_dump(root: Directory) -> Iterator[bytes]:
    """The lines of a dump, each with its end, in order of names.

    Raises TreeError for a hard link to something outside of the tree.
    """
    paths = {id(child): path for path, child in walk(root)}
    for path, child in walk(root):
        if isinstance(child, HardLink):
            target = paths.get(id(child.target))
            if target is None:
                raise TreeError(printable(path), "hard link to something that is no file of this tree")
            yield b"%s 0 @%o 1 0 0 0 0.0 %s - -\n" % (escape(path), mode_of(child.target), escape(target))
        else:
            yield _line(path, child)


@paused_collector()
def read_dump(lines: Iterable[bytes]) -> Directory:
    """The tree that a dump describes; `lines` as a binary file gives them.

    Raises DumpError for what mkcomposefs refuses too, and for hard links to directories and damaged digests.
    """
    reading = _Reading()
    for number, line in enumerate(lines, 1):
        try:
            reading.take(number, line.removesuffix(b"\n"))
        except ValueError as error:
            raise DumpError(number, str(error)) from error
    return reading.finish()


def _line(path: bytes, node: Node) -> bytes:
    size, nlink, rdev = 0, 1, 0
    payload = content = digest = ABSENT
    match node:
        case Directory():
            nlink = 2 + sum(isinstance(child, Directory) for child in node.children.values())
        case File():
            size, nlink = node.size, node.nlink
            if isinstance(node.content, Object):
                payload = escape(node.content.path) or ABSENT
                digest = node.content.digest.hex().encode() or ABSENT
            else:
                content = escape(node.content) or ABSENT
        case Symlink():
            size, nlink, payload = len(node.target), node.nlink, escape(node.target)
        case Special():
            nlink, rdev = node.nlink, node.rdev
    owner = node.attributes
    numbers = (size, mode_of(node), nlink, owner.uid, owner.gid, rdev, *divmod(owner.mtime, SECOND))
    front = b"%s %d %o %d %d %d %d %d.%d " % (escape(path), *numbers)
    xattrs = [escape_xattr(key) + b"=" + escape_xattr(owner.xattrs[key]) for key in sorted(owner.xattrs)]
    return front + b" ".join([payload, content, digest, *xattrs]) + b"\n"


class _Reading:
    """What was read of a dump so far."""

    def __init__(self) -> None:
        self._directories: dict[bytes, Directory] = {}
        self._links: list[tuple[int, Directory, bytes, bytes]] = []
        self._seen: dict[bytes, Node | bytes] = {}

    def take(self, number: int, line: bytes) -> None:
        """One line. Raises ValueError for what is wrong with it."""
        if link := _LINK.fullmatch(line):
            path, target = _clean(link[1]), _clean(link[2])
            if not self._seen:
                raise ValueError("the first line is not the root directory")
            self._links.append((number, *self._place(path), target))
            self._seen[path] = target
            return
        found = _NODE.fullmatch(line)
        if found is None:
            raise ValueError("not `PATH SIZE MODE NLINK UID GID RDEV MTIME PAYLOAD CONTENT DIGEST [KEY=VALUE ...]`")
        path, node = _clean(found[1]), _node(found)
        if self._seen:
            parent, name = self._place(path)
            parent.children[name] = node
        elif path or not isinstance(node, Directory):
            raise ValueError("the first line is not the root directory")
        self._seen[path] = node
        if isinstance(node, Directory):
            self._directories[path] = node

    def finish(self) -> Directory:
        """The root, with all hard links resolved."""
        if not self._directories:
            raise DumpError(1, "there is no root directory")
        for number, parent, name, target in self._links:
            found: Node | bytes | None = target
            for _ in range(len(self._links) + 1):
                if not isinstance(found, bytes):
                    break
                found = self._seen.get(found)
            if found is None or isinstance(found, (bytes, Directory)):
                raise DumpError(number, "hard link to a directory, to itself, or to nothing")
            parent.children[name] = HardLink(found)
        return self._directories[b""]

    def _place(self, path: bytes) -> tuple[Directory, bytes]:
        """Parent and name for a path that may be added."""
        parent, _, name = path.rpartition(b"/")
        directory = self._directories.get(parent)
        if path in self._seen:
            raise ValueError("this path came before")
        if directory is None:
            raise ValueError("its parent is no directory that came before")
        if name in (b".", b".."):
            raise ValueError("`.` or `..` in a path")
        return directory, name


def _clean(field: bytes) -> bytes:
    """A path without its leading slash; the root is empty."""
    path = unescape(field)
    path = path[1:] if path[:1] == b"/" else path
    if path[-1:] == b"/" or path[:1] == b"/":
        raise ValueError("an empty component in a path")
    return path


def _node(found: re.Match[bytes]) -> Node:
    size, nlink, uid, gid, rdev = map(int, found.group(2, 4, 5, 6, 7))
    mode, mtime = int(found[3], 8), int(found[8]) * SECOND + int(found[9])
    payload, content, digest = map(_optional, found.group(10, 11, 12))
    xattrs = dict(map(_xattr, found[13].split())) if found[13] else NO_XATTRS
    attributes = Attributes(stat.S_IMODE(mode), uid, gid, mtime, xattrs)
    type = stat.S_IFMT(mode)
    if type == stat.S_IFREG:
        return File(attributes, size, _content(size, payload, content, digest), nlink)
    if type == stat.S_IFDIR:
        return Directory(attributes)
    if type == stat.S_IFLNK:
        return Symlink(attributes, payload or b"", nlink)
    if type not in _KINDS:
        raise ValueError("a mode with no type of file")
    return Special(attributes, Kind(type), rdev, nlink)


def _optional(field: bytes | None) -> bytes | None:
    return None if field is None or field == ABSENT else unescape(field)


def _content(size: int, payload: bytes | None, content: bytes | None, digest: bytes | None) -> Content:
    if content is not None:
        if len(content) != size:
            raise ValueError(f"contents of {len(content)} bytes for a size of {size}")
        return content
    if not size:
        return b""
    if digest is not None and _DIGEST.fullmatch(digest) is None:
        raise ValueError("a digest that is no 64 or 128 hexadecimal digits")
    return Object.at(bytes.fromhex((digest or b"").decode()), payload or b"")


def _xattr(field: bytes) -> tuple[bytes, bytes]:
    key, separator, value = field.partition(b"=")
    if not separator or not key:
        raise ValueError("an extended attribute that is not KEY=VALUE")
    return unescape(key), unescape(value)
