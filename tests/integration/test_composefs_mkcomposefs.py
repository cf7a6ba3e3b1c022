"""Images, dumps and digests against the real mkcomposefs and composefs-info 1.0.8, byte for byte.

BOOTC_COMPOSEFS_TREES sets how many random trees are compared; 2000 otherwise.
"""

from __future__ import annotations

import os
import random
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from bootc_composefs.build import from_directory
from bootc_composefs.dump import read_dump
from bootc_composefs.erofs import Versions, make_image, read_image
from bootc_composefs.fsverity import VerityHash, digest_of
from bootc_composefs.tree import Attributes, Child, Content, Directory, File, HardLink, Kind, Object, Special, Symlink

from tests.composefs_trees import (
    SECOND,
    TreeMaker,
    attributes,
    directory,
    dump_of,
    external,
    inline,
    symlink,
    whiteout,
)
from tests.integration.get_mkcomposefs import command, mkcomposefs, run

TREES = int(os.environ.get("BOOTC_COMPOSEFS_TREES", "2000"))
BATCH = 250
INLINE = 64
"""bytes of a file that mkcomposefs puts into the image when it reads a directory"""


def compare(tree: Directory, versions: Versions, folder: Path) -> None:
    """Our image is theirs; so it is by way of our dump, read by both, and once more after it was read back."""
    dump, image = dump_of(tree), make_image(tree, versions)
    assert image == mkcomposefs(dump, versions.value, folder)
    assert dump_of(read_dump(dump.splitlines(keepends=True))) == dump
    assert make_image(read_image(image).root, versions) == image


@pytest.mark.parametrize("start", range(0, TREES, BATCH))
def test_random_trees_give_the_same_bytes(start: int, tmp_path: Path) -> None:
    for seed in range(start, min(start + BATCH, TREES)):
        compare(TreeMaker(seed).make(), tuple(Versions)[seed % 3], tmp_path)


def names_of_total_size(size: int) -> dict[bytes, Child]:
    """Entries that, with `.` and `..`, fill a directory with this many bytes."""
    found: dict[bytes, Child] = {}
    left = size - 12 - 1 - 12 - 2
    while left:
        step = left if left <= 12 + 255 else min(left - 13, 12 + 200)
        found[(b"%03d" % len(found)).ljust(step - 12, b"x")[: step - 12]] = inline()
        left -= step
    return found


def shared(count: int) -> dict[bytes, bytes]:
    return {b"user.%04d" % number: b"%d" % number for number in range(count)}


def linked_both_ways() -> dict[bytes, Child]:
    """Names of one file before and after it, in its directory and in others."""
    several = File(attributes(), 3, b"abc", 4)
    link = HardLink(several)
    return {b"a": link, b"d": directory({b"x": link}), b"m": several, b"z": link, b"0": directory({b"x": link})}


def swept(make: Callable[[int], Child], sizes: range) -> dict[bytes, Child]:
    return {b"%06d" % size: make(size) for size in sizes}


CORNERS: dict[str, dict[bytes, Child]] = {
    **{f"directory of {size} bytes": {b"d": directory(names_of_total_size(size))} for size in (2047, 2048, 2049, 2050)},
    **{f"directory of {size} bytes": {b"d": directory(names_of_total_size(size))} for size in (4095, 4096, 4097, 6145)},
    "directory with names of 255 bytes": {
        b"d": directory({b"%03d" % number + b"x" * 252: inline() for number in range(60)})
    },
    "names that sort before the dots": {
        b"!": inline(),
        b"#": directory({b"-": inline(), b"!": directory()}),
        b"-": inline(),
    },
    "names of all bytes": {bytes([byte]): inline() for byte in range(1, 256) if byte not in b"./"},
    "symbolic links of all lengths": swept(lambda size: symlink(b"x" * size), range(1, 4096, 37)),
    "symbolic links around a block": swept(lambda size: symlink(b"x" * size), range(3960, 4096)),
    "long links with attributes": swept(
        lambda size: symlink(b"x" * 1000, xattrs={b"user.a": bytes(size)}), range(2900, 3200, 7)
    ),
    "small files of all sizes": swept(lambda size: inline(bytes(size)), range(0, 5001, 53)),
    "small files around half a block": swept(lambda size: inline(b"x" * size), range(2040, 2056)),
    "small files around a block": swept(lambda size: inline(b"x" * size), range(4090, 4102)),
    "attributes of many sizes": swept(
        lambda size: inline(b"y" * 900, xattrs={b"user.a": bytes(size)}), range(0, 5000, 97)
    ),
    "the largest attributes": {
        b"a": inline(xattrs={b"user.a": b"x" * 32742}),
        b"b": symlink(b"x", xattrs={b"t": b"x" * 32747}),
    },
    "names of attributes at the limits": {
        b"a": inline(xattrs=dict.fromkeys((b"user.", b"trusted.", b"security.", b"x", b"y" * 255), b"1")),
        b"b": inline(
            xattrs={b"trusted.overlay." + b"z" * 239: b"1", b"trusted.overlay.": b"2", b"trusted.overlay": b"3"}
        ),
        b"c": inline(xattrs={b"system.posix_acl_accessible": b"1", b"system.posix_acl_defaults": b"2"}),
    },
    **{
        f"{count} shared attributes": {b"a": inline(xattrs=shared(count)), b"b": directory(xattrs=shared(count))}
        for count in (127, 128, 129, 200)
    },
    "access control lists": {b"a": inline(xattrs={b"system.posix_acl_access": b"x"})},
    "default access control lists": {b"a": directory(xattrs={b"system.posix_acl_default": b"x"})},
    "values that differ only in length": {
        b"%d" % number: inline(xattrs={b"user.a": b"x" * (number // 2), b"user.b": b"y" * (number // 3)})
        for number in range(12)
    },
    "objects of all powers of two": swept(lambda bits: external((1 << bits) + 1, Object.of(bytes(32))), range(53)),
    "large objects with maps of chunks around a block": swept(
        lambda chunks: external(chunks << 43, Object(b"", b"a")), range(1000, 1025)
    ),
    "objects without digest or path": {b"a": external(5, Object(b"", b"")), b"b": external(5, Object(bytes(32), b""))},
    "a path from the root": {b"a": external(5, Object(b"", b"/aa/b")), b"b": external(5, Object(b"", b"x" * 4095))},
    "whiteouts": {b"w": whiteout(), b"d": directory({b"w": whiteout(mode=0o7777), b"00": whiteout()})},
    "whiteout with attributes": {
        b"d": directory({b"w": whiteout(xattrs={b"user.a": b"1", b"trusted.overlay.whiteout": b""})})
    },
    "all names of the root that would be hidden": {b"%02x" % number: inline(b"%d" % number) for number in range(256)},
    "a hidden name is a directory": {b"7f": directory({b"7f": inline()})},
    "hard links": linked_both_ways(),
    "owners": {b"%d" % owner: inline(uid=owner, gid=65535 - owner % 3) for owner in (0, 65535, 65536, 2**32 - 1)},
    "links": {b"%d" % nlink: File(attributes(), 0, b"", nlink) for nlink in (0, 65535, 65536, 2**32 - 1)},
    "times": {b"%d" % number: inline(mtime=number) for number in (-1, -SECOND, 1, -(2**62) * SECOND, 2**62 * SECOND)},
    "devices": {b"%d" % rdev: Special(attributes(), Kind.BLOCK, rdev) for rdev in (0, 1, 2**20, 2**32 - 1)},
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    for versions in Versions:
        compare(directory(CORNERS[name]), versions, tmp_path)


def test_the_attributes_of_the_root_reach_what_is_hidden_in_it(tmp_path: Path) -> None:
    xattrs = {b"security.selinux": b"root_t\0", b"user.a": b"1", b"trusted.overlay.opaque": b"y"}
    root = Directory(Attributes(0o1777, 70000, 5, 3 * SECOND + 1, xattrs), {b"later": inline(mtime=4 * SECOND)})
    for versions in Versions:
        compare(root, versions, tmp_path)


def test_a_large_tree_of_this_machine_gives_the_same_bytes(tmp_path: Path) -> None:
    tree = from_directory(Path(sysconfig.get_path("stdlib")), keep)
    compare(tree, Versions.ONLY_1, tmp_path)


def keep(stream: BinaryIO) -> tuple[Content, int]:
    """What mkcomposefs keeps of a file: the contents of a small one, the digest of others."""
    verity = VerityHash()
    data = b""
    while piece := stream.read(1 << 20):
        verity.update(piece)
        data = data + piece if verity.size <= INLINE else b""
    return (data if verity.size <= INLINE else Object.of(verity.digest())), verity.size


def test_a_directory_is_read_as_mkcomposefs_reads_it(tmp_path: Path) -> None:
    """Except for hard links, which it takes for separate files."""
    source, chance = tmp_path / "source", random.Random(9)
    source.mkdir()
    for number, size in enumerate((0, 1, 64, 65, 4096, 4097, 600_000)):
        file = source / f"file {number}"
        file.write_bytes(chance.randbytes(size))
        file.chmod(0o4750 - number)
        os.chown(file, 1000 + number, 70000)
        os.utime(file, ns=(0, chance.getrandbits(61)))
        os.setxattr(file, "user.number", b"%d" % (number // 2))
    (source / "sub").mkdir(mode=0o700)
    (source / "sub/link").symlink_to("../file 1")
    (source / "sub/-").mkdir()
    os.mkfifo(source / "sub/fifo")
    os.mknod(source / "sub/loop", 0o60660, os.makedev(7, 300))
    os.setxattr(source / "sub", "trusted.overlay.opaque", b"y")
    image = tmp_path / "image"
    run([*command("mkcomposefs"), str(source), str(image)])
    assert make_image(from_directory(source, keep), Versions.FROM_0) == image.read_bytes()


def test_an_image_says_to_composefs_what_it_says_to_us(tmp_path: Path) -> None:
    """Except for the marks around whiteouts, of which composefs-info leaves two."""
    several = File(Attributes(0o644, 1, 2, 3 * SECOND, {b"user.a": b"= "}), 70, Object.of(b"\1" * 32), 2)
    children: dict[bytes, Child] = {
        b"a": several,
        b"b c": HardLink(several),
        b"d": directory({b"w": whiteout()}),
        b"l": Symlink(attributes(), b"t"),
    }
    tree = directory(children, xattrs={b"trusted.overlay.x": b"1"})
    image = tmp_path / "image"
    image.write_bytes(make_image(tree))
    theirs = run([*command("composefs-info"), "dump", str(image)])
    plain, marked = b"/d 0 40755 2 0 0 0 0.0 - - -", b" trusted.overlay.opaque=x user.overlay.opaque=x"
    assert dump_of(read_dump(theirs.splitlines(keepends=True))) == dump_of(tree).replace(plain, plain + marked)


@pytest.mark.parametrize("size", [1, 4096, 4097, 128 * 4096, 128 * 4096 + 1, 3_000_001])
def test_the_digest_of_a_file_is_what_composefs_measures(size: int, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(random.Random(size).randbytes(size))
    measured = run([*command("composefs-info"), "measure-file", str(file)])
    assert measured.decode().strip() == digest_of(file.read_bytes()).hex()
