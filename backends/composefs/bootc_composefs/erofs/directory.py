"""Data of directories: blocks that can each be read alone, with entries of 12 bytes first and then their names."""

from __future__ import annotations

from collections.abc import Iterator

from bootc_composefs.erofs.format import BLOCK, ENTRY
from bootc_composefs.erofs.inode import MAX_TAIL, Inode


def measure(inode: Inode) -> tuple[int, int]:
    """Blocks, and bytes of the tail, that a directory's entries need."""
    sizes = [size for _, _, size in _spans(inode)]
    return (len(sizes), 0) if sizes[-1] > MAX_TAIL else (len(sizes) - 1, sizes[-1])


def encode(inode: Inode) -> tuple[bytes, bytes]:
    """The blocks and the tail, when all inodes have their places."""
    pieces = [_encode_span(inode, start, end) for start, end, _ in _spans(inode)]
    tail = b"" if len(pieces[-1]) > MAX_TAIL else pieces.pop()
    return b"".join([piece.ljust(BLOCK, b"\0") for piece in pieces]), tail


def _spans(inode: Inode) -> Iterator[tuple[int, int, int]]:
    """First entry, last entry + 1 and size of each block: as many entries as fit."""
    start = number = used = 0
    for number, (name, _) in enumerate(inode.children):
        size = ENTRY.size + len(name)
        if used + size > BLOCK:
            yield start, number, used
            start, used = number, 0
        used += size
    yield start, number + 1, used


def _encode_span(inode: Inode, start: int, end: int) -> bytes:
    entries, names = [], []
    offset = ENTRY.size * (end - start)
    for name, child in inode.children[start:end]:
        entries.append(ENTRY.pack(child.nid, offset, child.type))
        names.append(name)
        offset += len(name)
    return b"".join(entries + names)
