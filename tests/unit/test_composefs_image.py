"""Images of composefs: known digests, what is refused, and the way back."""

from __future__ import annotations

import random
import struct
import tracemalloc

import pytest
from bootc_composefs.erofs import Versions, make_image, read_image
from bootc_composefs.erofs.xxhash import xxh32
from bootc_composefs.failures import ImageDamageError, TreeError
from bootc_composefs.fsverity import Algorithm, digest_of
from bootc_composefs.tree import Attributes, Child, Directory, File, HardLink, Kind, Object, Special, Symlink, walk

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

V0, EITHER, V1 = Versions.ONLY_0, Versions.FROM_0, Versions.ONLY_1
EMPTY = "8f589e8f57ecb88823736b0d857ddca1e1068a23e264fad164b28f7038eb3682"
FILES = "0c076a018705c8ec079365184268b85ec6cc1a82b8f35b7c845f3ee4f541c225"
OBJECTS = "0a1a61b4f7dd3f9b89febe826eba2fc215ce03bfdb836fdb17e31da85047dfcc"
MARKED = "eac8d2330027be4454a602fb0f5c216e0451a0f5e35891d6d03b0401f736b57a"
LABELLED = "693cbd29029e19400d97e8ba7740b625731fc8414d14231ec9232facbff016cb"
LINKED = "b059edb112aa593325ab9425fc4a847faeec5b86eb6eb5c352f40d86399f0cac"
MANY = "0a06b9b9b3520d34e68268e57f425247ecc9215c55c7259e3fcef37305857c67"
LABEL, STAMP, EARLY = {b"security.selinux": b"x\0"}, 1000 * SECOND, 7 * SECOND + 9
SEVERAL = File(attributes(), 3, b"abc", 2)

VECTORS: dict[str, tuple[Directory, dict[Versions, str]]] = {
    "empty": (
        directory(),
        {V0: EMPTY, EITHER: EMPTY, V1: "14a26c957c84f6eb774b91205476adc13196c7c33b9dd97d08d43725ecb90b63"},
    ),
    "file and link": (
        directory({b"hello": inline(b"hello\n", mtime=STAMP), b"link": symlink(b"hello", mtime=STAMP)}, mtime=STAMP),
        {V0: FILES, EITHER: FILES, V1: "37ac3aa255c8b711aae9779f320349eb3f7c21e119118d0f78246a8b6b0bf1da"},
    ),
    "objects": (
        directory(
            {
                b"big": external(200_000, Object(b"\xab" * 32, b"aa/bb.file")),
                b"nodig": external(5000, Object(b"", b"cc/dd"), mode=0o755, mtime=5),
            }
        ),
        {V0: OBJECTS, EITHER: OBJECTS, V1: "1a9dcf0a75b250b71dd9795c8d85df01b478ff1b6a893bc7f2f83005d13365db"},
    ),
    "whiteout": (
        directory({b"d": directory({b"wh": whiteout(mode=0)})}),
        {V0: "e0c435baeba7a3fe671349fa488698bc4a7ce970441ff678d704208bdeadbce6", EITHER: MARKED, V1: MARKED},
    ),
    "attributes and a device": (
        directory(
            {
                b"a": inline(mtime=EARLY, xattrs=LABEL | {b"user.z": b"1", b"trusted.overlay.opaque": b"y"}),
                b"b": inline(mtime=EARLY + SECOND, xattrs=LABEL | {b"system.posix_acl_access": b"abcd"}),
                b"c": Special(attributes(0o666, 70000, 0, EARLY + SECOND), Kind.CHARACTER, 1281),
            },
            mtime=EARLY,
            xattrs={b"security.selinux": b"system_u:object_r:root_t:s0\0"},
        ),
        {V0: LABELLED, EITHER: LABELLED, V1: "6b23166cfc49d23e770b20ac63c114460ae8d96c559210f9a6c09c78d868010a"},
    ),
    "hard link": (
        directory({b"a": SEVERAL, b"z": HardLink(SEVERAL)}),
        {V0: LINKED, EITHER: LINKED, V1: "b3f80268596a7e0b052e28f169a51249d0c505a73c71d2ff003c9add327be529"},
    ),
    "large directory": (
        directory({b"d": directory({b"file-%04d" % number: inline() for number in range(300)})}),
        {V0: MANY, EITHER: MANY, V1: "eb5a95aab79fb477c3079d00baf2f9717a9b6777b7f635d2997a805e309e3968"},
    ),
}
"""Trees with the digests of the images that mkcomposefs 1.0.8 makes of them."""


@pytest.mark.parametrize("name", VECTORS)
def test_known_trees_have_the_digests_that_mkcomposefs_gives_them(name: str) -> None:
    tree, digests = VECTORS[name]
    assert {versions: digest_of(make_image(tree, versions)).hex() for versions in digests} == digests


def test_the_digest_of_an_image_can_be_sha512() -> None:
    found = [digest_of(make_image(directory(), each), Algorithm.SHA512).hex()[:32] for each in Versions]
    assert found == ["ae399f4c2c5c1fed2238affa1ca9240f"] * 2 + ["ee192e5a91c70428c8f2ca7abf8274b6"]


def test_objects_can_be_named_by_sha512() -> None:
    content = Object.of(bytes(range(64)))
    image = make_image(directory({b"f": external(10, content)}))
    assert b"overlay.metacopy\x00\x44\x00\x02" + bytes(range(64)) in image
    assert b"overlay.redirect/00/0102" in image
    file = read_image(image).root.children[b"f"]
    assert isinstance(file, File)
    assert file.content == content


def test_the_order_in_which_a_tree_was_built_does_not_matter() -> None:
    names = [b"%d" % number for number in range(50)]
    shuffled = random.Random(1).sample(names, len(names))
    assert make_image(directory({name: inline(name) for name in names})) == make_image(
        directory({name: inline(name) for name in shuffled})
    )


def test_making_an_image_takes_less_than_a_kilobyte_of_memory_for_each_file() -> None:
    count = 5000
    files = {b"%d" % number: external(400 + number, Object.of(number.to_bytes(32, "big"))) for number in range(count)}
    root = directory({b"d": directory(files)})
    tracemalloc.start()
    try:
        make_image(root)
        assert tracemalloc.get_traced_memory()[1] < 1000 * count
    finally:
        tracemalloc.stop()


REFUSED: dict[str, tuple[Child, str]] = {
    "name with a slash": (directory({b"a/b": inline()}), "a name that is empty"),
    "empty name": (directory({b"": inline()}), "a name that is empty"),
    "dots": (directory({b"..": inline()}), "a name that is empty"),
    "long name": (directory({b"x" * 256: inline()}), "over 255 bytes"),
    "NUL in a name": (directory({b"a\0": inline()}), "contains NUL"),
    "empty target": (symlink(b""), "target is empty"),
    "long target": (symlink(b"x" * 4096), "over 4095 bytes"),
    "wrong size": (File(attributes(), 4, b"abc"), "contents of 3 bytes for a size of 4"),
    "large inline file": (inline(bytes(5001)), "contents of 5001 bytes in the image"),
    "large file": (external(2**53 + 1, Object(b"", b"a")), "contents of 9007199254740993 bytes"),
    "odd digest": (external(1, Object(b"abc", b"a")), "a digest of 3 bytes"),
    "long path of an object": (external(1, Object(b"", b"a" * 4096)), "the path of an object"),
    "attribute without name": (inline(xattrs={b"": b"x"}), "extended attribute is empty"),
    "too many attributes": (inline(xattrs={b"user.a": bytes(32743)}), "extended attributes of 32768 bytes"),
    "link to a whiteout": (HardLink(whiteout()), "hard link to something that is no file of this tree"),
    "owner": (inline(uid=2**32), "a mode, owner, count of links or device number"),
    "negative count of links": (File(attributes(), 0, b"", -1), "a mode, owner, count of links or device number"),
    "type in the mode": (inline(mode=0o100644), "a mode, owner"),
    "device number": (Special(attributes(), Kind.BLOCK, 2**32), "a mode, owner, count of links or device number"),
    "time": (inline(mtime=2**63 * SECOND), "a modification time over 64 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_image_can_hold_is_refused(name: str) -> None:
    child, problem = REFUSED[name]
    with pytest.raises(TreeError, match=problem):
        make_image(directory({b"it": child}))


def test_a_refusal_names_the_path() -> None:
    with pytest.raises(TreeError, match="composefs: /usr/li\\\\x1bnk: a symbolic link's target is empty") as caught:
        make_image(directory({b"usr": directory({b"li\x1bnk": symlink(b"")})}))
    assert caught.value.path == "/usr/li\\x1bnk"


def test_a_hard_link_to_a_whiteout_is_refused() -> None:
    hidden = whiteout()
    with pytest.raises(TreeError, match="/b: hard link to a whiteout"):
        make_image(directory({b"a": hidden, b"b": HardLink(hidden)}))


@pytest.mark.parametrize("seed", range(40))
def test_a_tree_comes_back_from_its_image(seed: int) -> None:
    tree = TreeMaker(seed).make()
    image = make_image(tree, Versions.FROM_0)
    found = read_image(image)
    assert resolved(found.root) == resolved(tree)
    assert found.version in (0, 1)
    assert make_image(found.root, Versions.FROM_0) == image


def resolved(root: Directory) -> list[tuple[bytes, bytes]]:
    """Every path with what it leads to: where that stands first, and what the dump says of it. An image does not
    tell which of several names of a file was the link.
    """
    first: dict[int, bytes] = {}
    found = []
    for path, child in walk(root):
        node = child.target if isinstance(child, HardLink) else child
        place = first.setdefault(id(node), path)
        alone = Directory(node.attributes) if isinstance(node, Directory) else node
        found.append((path, place + dump_of(Directory(root.attributes, {b"x": alone}))))
    return found


def test_the_directories_of_objects_do_not_come_back_but_real_names_like_theirs_do() -> None:
    tree = directory({b"00": inline(b"x"), b"fe": directory(), b"d": directory({b"00": whiteout()})})
    assert dump_of(read_image(make_image(tree)).root) == dump_of(tree)


@pytest.mark.parametrize("size", [0, 31, 1023, 1151, 1300, 8192, 12287])
def test_a_truncated_image_is_damaged(size: int) -> None:
    with pytest.raises(ImageDamageError):
        read_image(make_image(directory({b"a": inline(b"x" * 3000)}))[:size])


def test_an_altered_image_is_a_tree_or_damaged_but_nothing_else() -> None:
    chance = random.Random(4)
    several = File(Attributes(0o644, 0, 0, 5, {b"user.a": b"1"}), 3, b"abc", 2)
    tree = directory(
        {
            b"a": several,
            b"b": HardLink(several),
            b"d": directory({b"%d" % number: inline(xattrs={b"user.a": b"1"}) for number in range(200)}),
            b"e": external(10, Object.of(bytes(32))),
            b"l": Symlink(attributes(), b"t" * 3000),
            b"w": whiteout(),
        }
    )
    image = make_image(tree)
    refused = 0
    for _ in range(400):
        damaged = bytearray(image)
        for _ in range(chance.randint(1, 3)):
            position = chance.randrange(len(image))
            struct.pack_into("<B", damaged, position, chance.choice((0, 1, 0x7F, 0xFF, damaged[position] ^ 1 << 3)))
        try:
            dump_of(read_image(bytes(damaged)).root)
        except ImageDamageError:
            refused += 1
    assert 30 < refused < 400


@pytest.mark.parametrize(
    ("data", "seed", "expected"),
    [
        (b"", 0, 0x02CC5D05),
        (b"a", 0, 0x550D7456),
        (b"abc", 0, 0x32D153FF),
        (b"Nobody inspects the spammish repetition", 0, 0xE2293B2F),
    ],
)
def test_xxh32_gives_the_published_values(data: bytes, seed: int, expected: int) -> None:
    assert xxh32(data, seed) == expected
