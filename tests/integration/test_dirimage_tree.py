"""Trees that the dirimage backend makes of layers: equal to what `flatten` says, on their own ground, shared or not."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import random
import stat
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from bootc_dirimage.deployer import DirimageDeployer
from bootc_dirimage.images import SlotImages
from bootc_dirimage.layout import LAYOUT
from bootc_dirimage.options import DirimageOptions
from bootc_dirimage.store import DirimageStore

from bootc.durable import DirectoryVolume
from bootc.errors import FileSystemError, NoSpaceError
from bootc.hookspec import Context
from bootc.layers import EntryKind, read_layer
from bootc.layers.flatten import Node, flatten
from bootc.machine import Machine
from bootc.roots.sysroot import Sysroot
from bootc.roots.trees import Directories, Sharing, TreeWriter
from bootc.storage import MenuFormat
from tests.integration.nasty_image import nasty_layers
from tests.integration.sysroots import MIB, make_disk, mounted
from tests.ostree_images import Streams, Tar, make_image, normal_form

pytestmark = pytest.mark.root

State = tuple[object, ...]
SOME = b"the same content, more than a block of it\n" * 500


@contextmanager
def writer(root: Path, other: Path | None = None, *, links: bool = False) -> Iterator[TreeWriter]:
    root.mkdir(mode=0o700)
    with ExitStack() as stack:
        made = stack.enter_context(Directories(root))
        shared = stack.enter_context(Directories(other)) if other else None
        sharing = Sharing(shared, PurePosixPath(other.name), links=links) if other and shared else None
        yield TreeWriter(DirectoryVolume(root.parent), PurePosixPath(root.name), made, sharing)


def write(layers: Sequence[bytes], root: Path, other: Path | None = None, *, links: bool = False) -> dict[bytes, bytes]:
    with writer(root, other, links=links) as target:
        for layer in layers:
            target.lay(read_layer(io.BytesIO(layer)))
        return dict(target.finish(None))


def expected(layers: Sequence[bytes]) -> tuple[dict[bytes, State], set[frozenset[bytes]]]:
    """Every path with all that it has, and which names are one file, as `flatten` says."""
    contents = [[(entry, content.read()) for entry, content in read_layer(io.BytesIO(layer))] for layer in layers]
    found: dict[bytes, State] = {}
    names: dict[int, set[bytes]] = defaultdict(set)
    waiting = [(b"", flatten(contents))]
    while waiting:
        path, node = waiting.pop()
        found[path] = _state_of(node)
        names[id(node)].add(path)
        waiting += [(path + b"/" + name if path else name, child) for name, child in node.children.items()]
    return found, {frozenset(group) for group in names.values() if len(group) > 1}


def _state_of(node: Node[bytes]) -> State:
    entry = node.entry
    link = entry.kind is EntryKind.SYMLINK
    content = entry.target if link else (node.content if entry.kind is EntryKind.FILE else None)
    is_device = entry.kind in (EntryKind.CHARACTER, EntryKind.BLOCK)
    device = os.makedev(*entry.device) if is_device else 0
    mode = None if link else entry.mode
    return entry.kind, mode, entry.uid, entry.gid, entry.mtime, dict(entry.xattrs), content or None, device


_KINDS = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
    stat.S_IFIFO: EntryKind.FIFO,
    stat.S_IFCHR: EntryKind.CHARACTER,
    stat.S_IFBLK: EntryKind.BLOCK,
}


def actual(root: Path) -> tuple[dict[bytes, State], set[frozenset[bytes]]]:
    found: dict[bytes, State] = {}
    names: dict[int, set[bytes]] = defaultdict(set)
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        full = os.fsencode(root) + (b"/" + path if path else b"")
        status = os.lstat(full)
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        found[path] = _state(full, status, kind)
        names[status.st_ino].add(path)
        if kind is EntryKind.DIRECTORY:
            waiting += [path + b"/" + name if path else name for name in os.listdir(full)]
    return found, {frozenset(group) for group in names.values() if len(group) > 1}


def _state(path: bytes, status: os.stat_result, kind: EntryKind) -> State:
    content: bytes | None = None
    if kind is EntryKind.FILE:
        content = Path(os.fsdecode(path)).read_bytes()
    elif kind is EntryKind.SYMLINK:
        content = os.readlink(path)
    xattrs = {
        os.fsencode(name): os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
    }
    mode = None if kind is EntryKind.SYMLINK else stat.S_IMODE(status.st_mode)
    return kind, mode, status.st_uid, status.st_gid, status.st_mtime_ns, xattrs, content or None, status.st_rdev


def test_the_nasty_image_is_written_as_flatten_says(tmp_path: Path) -> None:
    layers = nasty_layers(tmp_path)
    digests = write(layers, tmp_path / "tree")
    nodes, links = expected(layers)
    assert actual(tmp_path / "tree") == (nodes, links)
    files = {path: bytes(state[6] or b"") for path, state in nodes.items() if state[0] is EntryKind.FILE}  # type: ignore[call-overload]
    assert digests == {path: hashlib.sha256(content).digest() for path, content in files.items()}
    assert list(digests) == sorted(digests, key=lambda path: path.split(b"/"))


def write_one_by_one(layers: Sequence[bytes], root: Path) -> None:
    """Each layer by a writer of its own, which goes on with the finished tree of those below."""
    root.mkdir(mode=0o700)
    for number, layer in enumerate(layers):
        with Directories(root) as made:
            target = TreeWriter(DirectoryVolume(root.parent), PurePosixPath(root.name), made, None)
            if number:
                target.take_over()
            target.lay(read_layer(io.BytesIO(layer)))
            list(target.finish(None))


def test_a_finished_tree_can_be_gone_on_with(tmp_path: Path) -> None:
    layers = nasty_layers(tmp_path)
    write_one_by_one(layers, tmp_path / "tree")
    assert actual(tmp_path / "tree") == expected(layers)


def test_nothing_is_inherited_from_a_tree_that_is_gone_on_with(tmp_path: Path) -> None:
    acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff"
    shared = Tar().directory(
        "usr", mode=0o2775, gid=10, xattrs={"system.posix_acl_default": acl.decode(errors="surrogateescape")}
    )
    layers = [shared.data, Tar().add("usr/file", data=b"f", mode=0o666).directory("usr/d", mode=0o755).data]
    write_one_by_one(layers, tmp_path / "tree")
    assert actual(tmp_path / "tree") == expected(layers)


@pytest.mark.parametrize("seed", range(40))
def test_random_stacks_of_layers_are_written_as_flatten_says(tmp_path: Path, seed: int) -> None:
    layers = random_layers(random.Random(seed))
    for number, links in enumerate((False, True, False)):
        other = tmp_path / f"tree{number - 1}" if number else None
        write(layers[: len(layers) - (number == 0)], tmp_path / f"tree{number}", other, links=links)
    assert actual(tmp_path / "tree2") == expected(layers)
    assert actual(tmp_path / "tree1")[0] == expected(layers)[0]
    write_one_by_one(layers, tmp_path / "gone-on-with")
    assert actual(tmp_path / "gone-on-with") == expected(layers)


def random_layers(choose: random.Random) -> list[bytes]:
    """Few names, so that layers meet each other; every entry is one that the reader accepts."""
    return [_random_layer(choose) for _ in range(choose.randint(2, 5))]


def _random_layer(choose: random.Random) -> bytes:
    tar, kinds = Tar(), {"": "directory"}
    for _ in range(choose.randint(1, 14)):
        depth = choose.randint(1, 4)
        path = "/".join(choose.choice("abc") for _ in range(depth))
        above = [path.rsplit("/", number)[0] for number in range(1, depth)]
        if path in kinds or any(kinds.get(parent, "directory") != "directory" for parent in above):
            continue
        kind = choose.choice(["directory", "file", "file", "link", "hardlink", "whiteout", "opaque", "fifo"])
        kinds |= dict.fromkeys(above, "directory")
        kinds[path] = _add(tar, choose, path, kind, [name for name, known in kinds.items() if known == "file"])
    return tar.data


def _add(tar: Tar, choose: random.Random, path: str, kind: str, files: list[str]) -> str:
    fields: dict[str, Any] = {
        "uid": choose.randint(0, 3),
        "gid": choose.randint(0, 3),
        "mtime": choose.randint(0, 1 << 31),
    }
    mode = choose.choice([0o644, 0o755, 0o4755, 0o2770, 0o1777, 0])
    if kind == "hardlink" and files:
        tar.hardlink(path, choose.choice(files))
        return "hardlink"
    match kind:
        case "directory":
            tar.directory(path, mode=mode, **fields)
        case "link":
            tar.symlink(path, choose.choice(["/", "..", "a", "../../..", "b/c"]), **fields)
        case "whiteout":
            tar.whiteout(path)
        case "opaque":
            tar.directory(path, mode=mode, **fields).opaque(path)
            return "directory"
        case "fifo":
            tar.add(path, b"6", mode=mode, **fields)
        case _:
            tar.add(path, data=choose.choice([b"", b"x", SOME]), mode=mode, xattrs={"user.n": "v"}, **fields)
            return "file"
    return kind


def test_links_of_lower_layers_lead_nowhere(tmp_path: Path) -> None:
    """A link to outside, below which later layers write, remove and clear."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "file").write_text("untouched")
    lower = Tar().symlink("up", "../outside").symlink("abs", str(outside)).directory("d").symlink("d/l", str(outside))
    upper = Tar().add("up/file", data=b"new").whiteout("abs/file").add("d/l/sub/deep", data=b"new").opaque("d/l")
    before = normal_form(outside)
    write([lower.data, upper.data], tmp_path / "tree")
    assert normal_form(outside) == before
    assert (tmp_path / "tree/up/file").read_bytes() == b"new"
    assert not (tmp_path / "tree/up").is_symlink()
    assert (tmp_path / "tree/abs").is_dir()


def test_twins_are_not_looked_for_behind_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(SOME)
    write([Tar().symlink("d", str(tmp_path / "outside")).data], tmp_path / "old")
    write([Tar().directory("d").add("d/file", data=SOME).data], tmp_path / "new", tmp_path / "old", links=True)
    assert (tmp_path / "new/d/file").stat().st_nlink == 1


def test_hard_links_between_trees_only_where_all_is_alike_and_never_two_to_one(tmp_path: Path) -> None:
    old = Tar().add("same", data=SOME).add("mode", data=SOME).add("content", data=SOME).add("twice", data=SOME)
    old.hardlink("again", "twice")
    new = Tar().add("same", data=SOME).add("mode", data=SOME, mode=0o600).add("content", data=b"X" + SOME[1:])
    new.add("twice", data=SOME).add("again", data=SOME)
    write([old.data], tmp_path / "old")
    write([new.data], tmp_path / "new", tmp_path / "old", links=True)
    shared = {path.name for path in (tmp_path / "new").iterdir() if path.samefile(tmp_path / "old" / path.name)}
    assert shared & {"same", "mode", "content"} == {"same"}
    assert not (tmp_path / "new/twice").samefile(tmp_path / "new/again")
    assert actual(tmp_path / "new") == expected([new.data])


def extents(path: Path) -> list[tuple[int, int]]:
    """Physical offset and flags of a file's extents (FS_IOC_FIEMAP)."""
    request = bytearray(32 + 56 * 8)
    request[8:16] = (1 << 62).to_bytes(8, "little")
    request[16:20] = (1).to_bytes(4, "little")  # sync first
    request[24:28] = (8).to_bytes(4, "little")
    with path.open("rb") as file:
        fcntl.ioctl(file, 0xC020660B, request)
    count = int.from_bytes(request[20:24], "little")
    return [
        (int.from_bytes(request[at + 8 : at + 16], "little"), int.from_bytes(request[at + 40 : at + 44], "little"))
        for at in range(32, 32 + 56 * count, 56)
    ]


def test_on_btrfs_unchanged_files_share_their_blocks(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 128 * MIB)
    subprocess.run(["mkfs.btrfs", "-q", str(disk)], check=True)
    data = os.urandom(MIB)
    old = Tar().add("same", data=data).add("other", data=data)
    new = Tar().add("same", data=data, mode=0o600).add("other", data=data[:-1] + bytes([data[-1] ^ 1]))
    with mounted(disk, tmp_path / "mount") as root:
        write([old.data], root / "old")
        write([new.data], root / "new", root / "old")
        assert extents(root / "new/same") == extents(root / "old/same")
        assert extents(root / "new/other") != extents(root / "old/other")
        assert actual(root / "new") == expected([new.data])


def test_a_filesystem_without_attributes_is_an_error_with_a_hint(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "ramfs", "none", tmp_path], check=True)
    try:
        with pytest.raises(FileSystemError, match=r"usr/x: the filesystem cannot hold") as failure:
            write([Tar().add("usr/x", xattrs={"user.a": "b"}).data], tmp_path / "tree")
        assert failure.value.hint
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def store_on(root: Path) -> DirimageStore:
    context = Context(Machine(DirectoryVolume(root), PurePosixPath("dirimage/bootc")), lambda event: None, lambda: None)
    sysroot, options = Sysroot(context.machine, LAYOUT), DirimageOptions()
    DirimageDeployer(sysroot, SlotImages(sysroot.volume), options).initialize("default", MenuFormat.BLS)
    return DirimageStore(context, options, sysroot)


@pytest.mark.parametrize(
    ("options", "layer"),
    [
        ((), Tar().add("big", data=os.urandom(48 * MIB)).data),
        (("-N", "64"), b""),
    ],
    ids=["bytes", "inodes"],
)
def test_a_full_disk_is_a_typed_error_and_leaves_no_tree(tmp_path: Path, options: Sequence[str], layer: bytes) -> None:
    if not layer:
        many = Tar()
        for number in range(100):
            many.add(f"file{number}")
        layer = many.data
    small = Tar().add("small", data=b"small").data
    with mounted(make_disk(tmp_path / "disk", 40 * MIB, *options), tmp_path / "mount") as root:
        store = store_on(root)
        first = store.import_image(make_image([small]), Streams([small]))
        with pytest.raises(NoSpaceError):
            store.import_image(make_image([layer]), Streams([layer]))
        assert [path.name for path in (root / "dirimage/slots").iterdir()] == []
        store.prune([])
        again = store.import_image(make_image([small]), Streams([small]))
        assert again.key != first.key
        assert list(store.check()) == []


def test_an_interrupted_import_goes_on_where_it_was(tmp_path: Path) -> None:
    one, two = Tar().add("a", data=SOME).data, Tar().add("b", data=SOME).data
    image = make_image([one, two])
    broken = Streams([one])
    with pytest.raises(KeyError):
        store_on(tmp_path).import_image(image, broken)
    streams = Streams([one, two])
    store = store_on(tmp_path)
    imported = store.import_image(image, streams)
    assert streams.opened == [image.layers[1].diff_id]
    assert store.find(image) == imported
    with store.open_tree(imported) as tree:
        assert tree.names(PurePosixPath()) == ("a", "b")


def test_labels_of_the_image_s_policy_are_set(tmp_path: Path) -> None:
    contexts = b"/.* u:r:default_t:s0\n/usr(/.*)? u:r:usr_t:s0\n/usr/bin -d u:r:bin_t:s0\n"
    policy = Tar().add("etc/selinux/config", data=b"SELINUXTYPE=demo\n")
    policy.add("etc/selinux/demo/contexts/files/file_contexts", data=contexts)
    policy.directory("usr/bin").symlink("usr/link", "bin").add("usr/file", data=b"x")
    store = store_on(tmp_path)
    imported = store.import_image(make_image([policy.data]), Streams([policy.data]))
    root = tmp_path / "dirimage/slots" / imported.key / "tree"

    def label(path: str) -> bytes:
        return os.getxattr(root / path, "security.selinux", follow_symlinks=False).rstrip(b"\0")

    assert [label(path) for path in ("", "usr", "usr/bin", "usr/link", "usr/file")] == [
        b"u:r:default_t:s0",
        b"u:r:usr_t:s0",
        b"u:r:bin_t:s0",
        b"u:r:usr_t:s0",
        b"u:r:usr_t:s0",
    ]
