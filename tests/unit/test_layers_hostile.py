"""Archives that mean harm or are broken: each is refused with a LayerError that names the entry, and nothing else."""

from __future__ import annotations

import io
from itertools import islice

import pytest

from bootc.errors import LayerError
from bootc.layers import Entry, Limits, read_layer
from tests.unit.layer_samples import (
    END,
    directory,
    entries,
    entry,
    file,
    fill,
    header,
    long_name,
    pax,
    read,
    record,
    with_checksum,
)

SPARSE_1_0 = {
    b"GNU.sparse.major": b"1",
    b"GNU.sparse.minor": b"0",
    b"GNU.sparse.name": b"f",
    b"GNU.sparse.realsize": b"100",
}


def link(name: bytes, target: bytes) -> bytes:
    return header(name, b"1", target=target)


def xattr(name: bytes, value: bytes = b"") -> bytes:
    return pax({b"SCHILY.xattr." + name: value}) + file(b"f")


def sparse_0_1(plan: bytes, size: bytes, blocks: bytes = b"1", data: bytes = b"x") -> bytes:
    return pax({b"GNU.sparse.size": size, b"GNU.sparse.numblocks": blocks, b"GNU.sparse.map": plan}) + file(b"f", data)


def sparse_0_0(*records: tuple[bytes, bytes]) -> bytes:
    pairs = b"".join(record(b"GNU.sparse." + key, value) for key, value in records)
    return pax(record(b"GNU.sparse.size", b"100") + record(b"GNU.sparse.numblocks", b"1") + pairs) + file(b"f", b"x")


def sparse_1_0(plan: bytes, data: bytes = b"x") -> bytes:
    return pax(SPARSE_1_0) + file(b"f", fill(plan) + data)


def sparse_old(plan: bytes, size: bytes = b"00000000144\0", data: bytes = b"x", more: bytes = b"") -> bytes:
    rest = bytes(41) + plan.ljust(96, b"\0") + (b"\1" if more else b"\0") + size
    return header(b"f", b"S", size=len(data), magic=b"ustar  \0", rest=rest) + more + fill(data)


def number(value: int) -> bytes:
    return b"%011o\0" % value


def patched(block: bytes, position: int, data: bytes) -> bytes:
    return with_checksum(block[:position] + data + block[position + len(data) :])


NAMES = {
    "empty": (file(b""), "the name is empty"),
    "dot file": (file(b"."), "only a directory"),
    "slash file": (file(b"/"), "only a directory"),
    "parent": (file(b".."), "contains `..`"),
    "absolute parent": (file(b"/../f"), "contains `..`"),
    "parent after dot": (file(b"./../f"), "contains `..`"),
    "parent in the middle": (directory(b"a") + file(b"a/../f"), "contains `..`"),
    "parent at the end": (directory(b"a") + directory(b"a/.."), "contains `..`"),
    "parent in the prefix": (file(b"f", rest=b"a/.."), "contains `..`"),
    "parent in a long name": (long_name(b"../f") + file(b"f"), "contains `..`"),
    "parent in pax": (pax({b"path": b"a/../../f"}) + file(b"f"), "contains `..`"),
    "empty in pax": (pax({b"path": b""}) + file(b"f"), "the name is empty"),
    "nul in pax": (pax({b"path": b"a\0b"}) + file(b"f"), "a NUL byte"),
    "nul in a long name": (long_name(b"a\0b") + file(b"f"), "a NUL byte"),
    "nul in a target": (pax({b"linkpath": b"a\0b"}) + header(b"l", b"2"), "a NUL byte"),
    "long component": (pax({b"path": b"n" * 256}) + file(b"f"), "longer than 255 bytes"),
    "long component, known parent": (
        directory(b"d") + pax({b"path": b"d/" + b"n" * 256}) + file(b"f"),
        "longer than 255",
    ),
    "long path": (pax({b"path": b"/".join([b"n" * 100] * 41)}) + file(b"f"), "longer than 4096 bytes"),
    "deep path": (pax({b"path": b"d/" * 300}) + header(b"d", b"5"), "more than 256 components"),
    "a million components": (pax({b"path": b"d/" * 500_000}) + header(b"d", b"5"), "more than 256 components"),
    "file with a slash": (file(b"f/"), "only a directory"),
    "file with slash and dot": (file(b"f/."), "only a directory"),
    "symbolic link with a slash": (header(b"l/", b"2", target=b"x"), "only a directory"),
    "two names": (pax({b"path": b"a"}) + long_name(b"b") + file(b"f"), "different names"),
    "prefix in a gnu header": (file(b"f", magic=b"ustar  \0", rest=b"usr/lib"), "a prefix where its form has none"),
    "prefix in a v7 header": (file(b"f", magic=bytes(8), rest=b"usr/lib"), "a prefix where its form has none"),
    "star": (file(b"f", rest=b"usr".ljust(163, b"\0") + b"tar\0"), "star's own form"),
}

SETS = {
    "file twice": (file(b"f") + file(b"f"), "twice"),
    "file twice, spelt differently": (file(b"f") + file(b".//f"), "twice"),
    "directory twice": (directory(b"d") + directory(b"d/"), "twice"),
    "root twice": (directory(b".") + directory(b"/"), "twice"),
    "file, then directory": (file(b"f") + directory(b"f"), "twice"),
    "directory, then file": (directory(b"d") + file(b"d"), "twice"),
    "directory, then link": (directory(b"d") + header(b"d", b"2", target=b"/"), "twice"),
    "link, then directory": (header(b"d", b"2", target=b"/") + directory(b"d"), "twice"),
    "implied directory, then link": (file(b"d/f") + header(b"d", b"2", target=b"/"), "twice"),
    "implied directory, then file": (file(b"d/e/f") + file(b"d/e"), "twice"),
    "below a link": (header(b"d", b"2", target=b"/etc") + file(b"d/f"), "this path is below it"),
    "far below a link": (header(b"d", b"2", target=b"/etc") + file(b"d/e/f"), "this path is below it"),
    "below a file": (file(b"d") + file(b"d/f"), "this path is below it"),
    "below a hard link": (file(b"f") + link(b"d", b"f") + file(b"d/f"), "this path is below it"),
}

LINKS = {
    "hard link to nothing": (link(b"g", b""), "the name is empty"),
    "hard link to the root": (link(b"g", b"/"), "a directory"),
    "hard link to itself": (link(b"g", b"g"), "no earlier entry"),
    "hard link to itself, again": (file(b"g") + link(b"g", b"./g"), "twice"),
    "hard link outside": (link(b"g", b"../f"), "contains `..`"),
    "hard link through the outside": (file(b"f") + link(b"g", b"../f"), "contains `..`"),
    "hard link to the host": (link(b"g", b"/etc/shadow"), "no earlier entry"),
    "hard link to a later entry": (link(b"g", b"f") + file(b"f"), "no earlier entry"),
    "hard link to a directory": (directory(b"d") + link(b"g", b"d"), "which is a directory"),
    "hard link to an implied directory": (file(b"d/f") + link(b"g", b"d"), "which is a directory"),
    "hard link through a link": (
        directory(b"d") + file(b"d/f") + header(b"s", b"2", target=b"d") + link(b"g", b"s/f"),
        "no earlier entry",
    ),
    "hard link to a whiteout": (file(b".wh.f") + link(b"g", b".wh.f"), "which is a whiteout"),
    "hard link to an opaque marker": (file(b"a/.wh..wh..opq") + link(b"g", b"a/.wh..wh..opq"), "which is a whiteout"),
    "hard link with content": (file(b"f") + header(b"g", b"1", target=b"f", size=3) + fill(b"abc"), "only a file"),
    "symbolic link without target": (header(b"l", b"2"), "without a target"),
    "symbolic link with a long target": (pax({b"linkpath": b"t" * 4097}) + header(b"l", b"2"), "without a target"),
    "symbolic link with content": (header(b"l", b"2", target=b"x", size=1) + fill(b"x"), "only a file"),
    "two targets": (pax({b"linkpath": b"a"}) + long_name(b"b", b"K") + header(b"l", b"2"), "different names"),
}

WHITEOUTS = {
    "of nothing": (file(b".wh."), "removes nothing"),
    "of the directory itself": (file(b".wh.."), "removes nothing"),
    "of the parent": (file(b"a/.wh..."), "removes nothing"),
    "of a whiteout": (file(b".wh..wh.f"), "removes nothing"),
    "aufs links": (directory(b".wh..wh.plnk"), "must be a regular file"),
    "aufs orphans": (file(b".wh..wh.orph"), "removes nothing"),
    "aufs": (file(b".wh..wh.aufs"), "removes nothing"),
    "directory": (directory(b".wh.f"), "must be a regular file"),
    "symbolic link": (header(b".wh.f", b"2", target=b"x"), "must be a regular file"),
    "hard link": (file(b"f") + link(b".wh.g", b"f"), "must be a regular file"),
    "device": (header(b".wh.f", b"3", major=b"0000001\0"), "must be a regular file"),
    "with content": (file(b".wh.f", b"x"), "without content"),
    "with a hole": (pax(SPARSE_1_0 | {b"GNU.sparse.name": b".wh.f"}) + file(b"f", fill(b"0\n")), "without content"),
    "opaque root": (file(b"./.wh..wh..opq"), "for the whole image"),
    "opaque directory": (directory(b"a/.wh..wh..opq"), "must be a regular file"),
    "opaque symbolic link": (header(b"a/.wh..wh..opq", b"2", target=b"x"), "must be a regular file"),
    "opaque with content": (file(b"a/.wh..wh..opq", b"x"), "without content"),
    "below a whiteout": (file(b".wh.a") + file(b".wh.a/f"), "this path is below it"),
    "below an absent whiteout": (file(b".wh.a/f"), "nothing can be below a whiteout"),
    "below an opaque marker": (file(b".wh..wh..opq/b/f"), "nothing can be below a whiteout"),
    "twice": (file(b".wh.a") + file(b".wh.a"), "twice"),
    "of what the layer brought": (file(b"a") + file(b".wh.a"), "brings this path and then removes it"),
    "of what the layer implied": (file(b"a/f") + file(b".wh.a"), "brings this path and then removes it"),
}

NUMBERS = {
    "negative size": (header(b"f", size=b"\xff" * 12), "negative"),
    "huge size": (header(b"f", size=b"\x80" + b"\x7f" * 11), "over"),
    "size in words": (header(b"f", size=b"00000000zzz\0"), "neither octal nor base-256"),
    "size with a sign": (header(b"f", size=b"-0000000001\0"), "neither octal nor base-256"),
    "size with an underscore": (header(b"f", size=b"0000000_001\0"), "neither octal nor base-256"),
    "size in decimal": (header(b"f", size=b"00000000008\0"), "neither octal nor base-256"),
    "size after a nul": (header(b"f", size=b"1\x000000000000"), "neither octal nor base-256"),
    "negative user": (header(b"f", uid=b"\xff" * 8), "negative"),
    "user that chown ignores": (header(b"f", uid=b"\x80\0\0\0" + b"\xff" * 4), "no user or group"),
    "user beyond 32 bits": (header(b"f", uid=b"\x80\0\0\1" + bytes(4)), "no user or group"),
    "group in pax": (pax({b"gid": b"4294967295"}) + file(b"f"), "no user or group"),
    "user in words": (pax({b"uid": b"root"}) + file(b"f"), "not a number"),
    "user with a sign": (pax({b"uid": b"-1"}) + file(b"f"), "not a number"),
    "user without end": (pax({b"uid": b"1" * 5000}) + file(b"f"), "not a number"),
    "negative mode": (header(b"f", mode=b"\xff" * 8), "negative"),
    "time of another age": (header(b"f", mtime=b"\x80" + b"\x7f" * 11), "hundreds of years"),
    "time of another age in pax": (pax({b"mtime": b"9" * 20}) + file(b"f"), "hundreds of years"),
    "time that is none": (pax({b"mtime": b"NaN"}) + file(b"f"), "not a time"),
    "infinite time": (pax({b"mtime": b"1e400"}) + file(b"f"), "not a time"),
    "checksum": (header(b"f", checksum=b"000000\0 "), "checksum"),
    "checksum in words": (header(b"f", checksum=b"checksum"), "neither octal nor base-256"),
    "negative checksum": (header(b"f", checksum=b"\xff" * 8), "negative"),
    "magic": (header(b"f", magic=b"rustar00"), "not a tar header"),
    "device without a place": (header(b"d", b"3", major=b"7777777\0"), "device number"),
    "device too small": (header(b"d", b"4", minor=b"\xff" * 8), "negative"),
    "overlayfs whiteout": (header(b"d", b"3"), "whiteout to overlayfs"),
}

TYPES = {
    f"type {flag!r}": (header(b"f", flag), "unknown type")
    for flag in (b"7", b"8", b"9", b"A", b"D", b"M", b"N", b"V", b"X", b"s", b"\x1b", b"\xff")
} | {
    "directory with content": (header(b"d", b"5", size=5) + fill(b"abcde"), "only a file"),
    "device with content": (header(b"d", b"4", size=5) + fill(b"abcde"), "only a file"),
}

RECORDS = {
    "no length": (pax(b"path=f\n") + file(b"f"), "broken extended header"),
    "no space": (pax(b"12path=fffff\n") + file(b"f"), "broken extended header"),
    "no equals sign": (pax(b"8 path\n\n") + file(b"f"), "broken extended header"),
    "no key": (pax(b"5 =f\n") + file(b"f"), "broken extended header"),
    "no newline": (pax(b"9 path=fx") + file(b"f"), "broken extended header"),
    "zero": (pax(b"0 path=f\n") + file(b"f"), "broken extended header"),
    "negative": (pax(b"-9 path=f\n") + file(b"f"), "broken extended header"),
    "signed": (pax(b"+10 path=f\n") + file(b"f"), "broken extended header"),
    "too long": (pax(b"99 path=f\n") + file(b"f"), "broken extended header"),
    "too short": (pax(b"4 path=f\n") + file(b"f"), "broken extended header"),
    "endless digits": (pax(b"9" * 5000) + file(b"f"), "broken extended header"),
    "garbage after a record": (pax(record(b"a", b"b") + bytes(3)) + file(b"f"), "broken extended header"),
    "two values": (pax(record(b"path", b"a") + record(b"path", b"b")) + file(b"f"), "two values"),
    "size differs": (pax({b"size": b"512"}) + file(b"f", b"x" * 1024), "1024 in the header and 512"),
    "size differs, smuggling": (pax({b"size": b"2048"}) + file(b"f", file(b"inner")), "512 in the header and 2048"),
    "size of a directory": (pax({b"size": b"1"}) + directory(b"d"), "only a file"),
    "too large": (header(b"x", b"x", size=(1 << 20) + 1), "more than 1048576"),
    "too large global": (header(b"x", b"g", size=1 << 30), "more than 1048576"),
    "too long name": (header(b"x", b"L", size=5000), "more than 4097"),
    "twice": (pax({b"uid": b"1"}) + pax({b"gid": b"1"}) + file(b"f"), "two extended headers"),
    "two long names": (long_name(b"a") + long_name(b"b") + file(b"f"), "two extended headers"),
    "two long targets": (long_name(b"a", b"K") + long_name(b"b", b"K") + file(b"f"), "two extended headers"),
    "for nothing": (pax({b"uid": b"1"}) + END, "without an entry"),
    "name for nothing": (long_name(b"a"), "without an entry"),
    "global path": (pax({b"path": b"a"}, b"g") + file(b"f"), "global extended header"),
    "global size": (pax({b"size": b"0"}, b"g") + file(b"f"), "global extended header"),
    "global owner": (pax({b"comment": b"x", b"uid": b"0"}, b"g") + file(b"f"), "global extended header"),
    "global xattr": (pax({b"SCHILY.xattr.user.a": b"0"}, b"g") + file(b"f"), "global extended header"),
    "broken global": (pax(b"x", b"g") + file(b"f"), "broken extended header"),
}

XATTRS = {
    "trusted.overlay.opaque": (xattr(b"trusted.overlay.opaque", b"y"), "steer overlayfs"),
    "trusted.overlay.redirect": (xattr(b"trusted.overlay.redirect", b"/etc"), "steer overlayfs"),
    "trusted.overlay.metacopy": (xattr(b"trusted.overlay.metacopy"), "steer overlayfs"),
    "escaped trusted.overlay": (xattr(b"trusted.overlay.overlay.opaque"), "steer overlayfs"),
    "user.overlay.whiteout": (xattr(b"user.overlay.whiteout"), "steer overlayfs"),
    "user.overlay of libarchive": (pax({b"LIBARCHIVE.xattr.user%2Eoverlay%2Ea": b""}) + file(b"f"), "steer overlayfs"),
    "no name": (xattr(b""), "has no name"),
    "nul": (xattr(b"user.\0a"), "has no name, or one with NUL"),
    "equals sign": (pax({b"LIBARCHIVE.xattr.user.%3D": b""}) + file(b"f"), "has no name, or one with NUL or `=`"),
    "long name": (xattr(b"user." + b"n" * 251), "longer than 255"),
    "large value": (xattr(b"user.a", b"v" * 65537), "larger than 65536"),
    "many": (pax({b"SCHILY.xattr.user.%d" % n: b"" for n in range(129)}) + file(b"f"), "more than 128"),
    "two values": (
        pax(record(b"SCHILY.xattr.user.a", b"1") + record(b"SCHILY.xattr.user.a", b"2")) + file(b"f"),
        "two values",
    ),
    "two values in two forms": (
        pax({b"SCHILY.xattr.user.a": b"1", b"LIBARCHIVE.xattr.user.a": b"Mg"}) + file(b"f"),
        "two values",
    ),
    "no base64": (pax({b"LIBARCHIVE.xattr.user.a": b"!"}) + file(b"f"), "not base64"),
}

SPARSE = {
    "no map": (pax({b"GNU.sparse.name": b"f"}) + file(b"f", b"x"), "not a number"),
    "unknown version": (pax({b"GNU.sparse.major": b"2", b"GNU.sparse.minor": b"0"}) + file(b"f"), "unknown form"),
    "0.1 overlap": (sparse_0_1(b"0,1,0,1", b"9", b"2", b"xx"), "overlap"),
    "0.1 descending": (sparse_0_1(b"5,1,0,1", b"9", b"2", b"xx"), "overlap"),
    "0.1 outside": (sparse_0_1(b"9,1", b"9"), "does not fit"),
    "0.1 overflow": (sparse_0_1(b"18446744073709551615,1", b"9"), "does not fit"),
    "0.1 more data": (sparse_0_1(b"0,1", b"9", b"1", b"xx"), "does not fit"),
    "0.1 less data": (sparse_0_1(b"0,2", b"9"), "does not fit"),
    "0.1 odd": (sparse_0_1(b"0,1,2", b"9"), "does not fit"),
    "0.1 other count": (sparse_0_1(b"0,1", b"9", b"7"), "than announced"),
    "0.1 negative": (sparse_0_1(b"-1,1", b"9"), "not a number"),
    "0.1 empty": (sparse_0_1(b"", b"9", b"0"), "not a number"),
    "0.1 huge": (sparse_0_1(b"0,1", b"9" * 19), "over"),
    "0.0 order": (sparse_0_0((b"numbytes", b"1"), (b"offset", b"0")), "broken map"),
    "0.0 half": (sparse_0_0((b"offset", b"0")), "broken map"),
    "0.0 and a map": (sparse_0_0((b"offset", b"0"), (b"numbytes", b"1"), (b"map", b"0,1")), "broken map"),
    "1.0 overlap": (sparse_1_0(b"2\n0\n1\n0\n0\n"), "overlap"),
    "1.0 outside": (sparse_1_0(b"1\n100\n1\n"), "does not fit"),
    "1.0 words": (sparse_1_0(b"one\n"), "not a number"),
    "1.0 endless number": (sparse_1_0(b"1" * 2000), "broken or too large"),
    "1.0 endless map": (sparse_1_0(b"9999999\n"), "broken or too large"),
    "1.0 map beyond the file": (pax(SPARSE_1_0) + file(b"f", b"1\n0\n1\n"), "broken or too large"),
    "1.0 long map": (sparse_1_0(b"999999\n" + b"1\n" * 2_000_000), "broken or too large"),
    "old overlap": (sparse_old(number(5) + number(1) + number(0) + number(1), data=b"xx"), "overlap"),
    "old outside": (sparse_old(number(500) + number(1)), "does not fit"),
    "old negative": (sparse_old(b"\xff" * 12 + number(1)), "negative"),
    "old words": (sparse_old(b"zzzzzzzzzzzz"), "neither octal nor base-256"),
    "old endless": (sparse_old(b"", more=(number(1) * 42 + b"\1").ljust(512, b"\0") * 3000), "larger than 1048576"),
    "old and new": (pax({b"GNU.sparse.size": b"1"}) + sparse_old(b""), "sparse in two ways"),
    "directory": (pax(SPARSE_1_0) + directory(b"d"), "only a file can have content"),
}

ENDS = {
    "garbage": (b"garbage" * 1000, "checksum|neither octal"),
    "text": (b"#!/bin/sh\n", "in the middle of the header"),
    "gzip": (b"\x1f\x8b\x08" + bytes(2000), "neither octal|checksum"),
    "one zero block, then an entry": (file(b"a") + bytes(512) + file(b"b"), "data or endless padding"),
    "entry after the end": (file(b"a") + END + file(b"b"), "data or endless padding"),
    "garbage after the end": (file(b"a") + END + b"x", "data or endless padding"),
    "no padding after the content": (file(b"a", b"x")[:-100], "in the middle of this entry"),
    "content is missing": (header(b"a", size=1 << 30) + fill(b"x"), "in the middle of this entry"),
    "long name is missing": (header(b"a", b"L", size=100), "in the middle of this entry"),
    "records are missing": (header(b"a", b"x", size=100) + b"12 path=", "in the middle of this entry"),
    "sparse map is missing": (pax(SPARSE_1_0) + header(b"f", size=5000), "in the middle of this entry"),
}

TABLES = {
    "name": NAMES,
    "set": SETS,
    "link": LINKS,
    "whiteout": WHITEOUTS,
    "number": NUMBERS,
    "type": TYPES,
    "records": RECORDS,
    "xattr": XATTRS,
    "sparse": SPARSE,
    "end": ENDS,
}
CASES = {f"{subject}: {case}": table[case] for subject, table in TABLES.items() for case in table}


@pytest.mark.parametrize(("archive", "problem"), CASES.values(), ids=CASES.keys())
def test_hostile_archives_are_refused(archive: bytes, problem: str) -> None:
    with pytest.raises(LayerError, match=problem) as caught:
        read(archive)
    assert caught.value.problem
    assert caught.value.entry


@pytest.mark.parametrize(("archive", "problem"), CASES.values(), ids=CASES.keys())
def test_hostile_archives_are_refused_when_nothing_is_read(archive: bytes, problem: str) -> None:
    with pytest.raises(LayerError, match=problem):
        list(read_layer(io.BytesIO(archive)))


def test_an_endless_stream_of_padding_is_left() -> None:
    class Zeros:
        def read(self, size: int, /) -> bytes:
            return bytes(size)

    with pytest.raises(LayerError, match="endless padding"):
        entries_of(Zeros(), Limits(total=1 << 24))


def entries_of(stream: object, limits: Limits) -> list[Entry]:
    return [item for item, _ in read_layer(stream, limits)]  # type: ignore[arg-type]


SAMPLE = [
    directory(b"./"),
    file(b"a", b"x" * 700),
    pax({b"SCHILY.xattr.user.a": b"1" * 600, b"mtime": b"1.5"}) + file(b"b"),
    long_name(b"c" * 200) + file(b"c", b"y" * 512),
    header(b"l", b"2", target=b"a"),
    pax({b"GNU.sparse.size": b"5000", b"GNU.sparse.numblocks": b"1", b"GNU.sparse.map": b"9,600"})
    + file(b"s", b"z" * 600),
]


@pytest.mark.parametrize("step", [512, 307])
def test_a_cut_archive_is_refused_or_ends_between_entries(step: int) -> None:
    archive = b"".join(SAMPLE)
    whole = read(archive)
    boundaries = {sum(map(len, SAMPLE[:count])): count for count in range(len(SAMPLE) + 1)}
    for size in range(0, len(archive), step):
        if size in boundaries:
            assert read(archive[:size]) == whole[: boundaries[size]]
        else:
            with pytest.raises(LayerError):
                read(archive[:size])


def test_a_cut_archive_gives_no_short_content() -> None:
    archive = file(b"a", b"x" * 5000)
    for size in range(512, len(archive), 512):
        _, content = next(iter(read_layer(io.BytesIO(archive[:size]))))
        if size < 512 + 5000:
            with pytest.raises(LayerError, match="in the middle of this entry"):
                content.read()


SMALL = Limits(
    entries=4, names=40, file=100, total=150, path=30, component=10, depth=3, records=200, xattrs=1, xattr_value=9
)
EXCESS = {
    "entries": b"".join(file(b"%d" % n) for n in range(4)),
    "implied entries": file(b"a/b/c") + file(b"d/e"),
    "names": b"".join(file(b"%09d" % n) for n in range(4)) + file(b"x" * 5),
    "file": file(b"f", b"x" * 101),
    "total": file(b"f", b"x" * 100) + file(b"g", b"x" * 51),
    "path": file(b"a" * 10 + b"/" + b"b" * 10 + b"/" + b"c" * 10),
    "component": file(b"n" * 11),
    "depth": file(b"a/b/c/d"),
    "records": pax({b"comment": b"x" * 200}) + file(b"f"),
    "xattrs": pax({b"SCHILY.xattr.user.a": b"", b"SCHILY.xattr.user.b": b""}) + file(b"f"),
    "xattr value": pax({b"SCHILY.xattr.user.a": b"x" * 10}) + file(b"f"),
    "holes": pax({b"GNU.sparse.size": b"101", b"GNU.sparse.numblocks": b"1", b"GNU.sparse.map": b"0,1"})
    + file(b"f", b"x"),
}


@pytest.mark.parametrize("archive", EXCESS.values(), ids=EXCESS.keys())
def test_excess_is_refused(archive: bytes) -> None:
    assert entries(archive)
    with pytest.raises(LayerError):
        entries(archive, SMALL)


def test_what_is_just_within_the_limits_is_taken() -> None:
    archive = file(b"%09d" % 1, b"x" * 100) + file(b"%09d" % 2, b"x" * 50) + directory(b"a/")
    assert len(entries(archive, SMALL)) == 3


def test_entries_before_a_refused_one_were_given_out() -> None:
    reader = read_layer(io.BytesIO(file(b"a", b"data") + file(b"..")))
    assert [item for item, _ in islice(reader, 1)] == [entry(b"a", size=4)]
    with pytest.raises(LayerError):
        next(reader)
