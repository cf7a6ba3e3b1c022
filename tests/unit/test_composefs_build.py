"""Trees from layers and from directories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest
from bootc_composefs.build import from_directory, from_layers
from bootc_composefs.erofs import make_image
from bootc_composefs.fsverity import digest_of
from bootc_composefs.tree import Content, Object

from bootc.errors import FileSystemError
from bootc.layers import Entry, EntryKind
from bootc.layers.flatten import flatten
from tests.composefs_trees import dump_of
from tests.unit.layer_samples import directory, file, header, pax, read

LOWER = b"".join(
    [
        pax({b"mtime": b"1.5", b"SCHILY.xattr.user.a": b"1"}) + directory(b"usr/"),
        file(b"usr/removed", b"x"),
        file(b"usr/z", b"contents"),
        header(b"usr/link", b"2", target=b"z"),
        header(b"usr/fifo", b"6"),
        header(b"usr/null", b"3", major=b"0000001\0", minor=b"0000003\0"),
        header(b"usr/large", b"4", major=b"0000401\0", minor=b"0001001\0"),
        header(b"usr/hard", b"1", target=b"usr/z"),
        header(b"a", b"1", target=b"usr/z"),
    ]
)
UPPER = file(b"usr/.wh.removed") + file(b"usr/empty")


def stored(entry: Entry, content: bytes) -> Content | None:
    if entry.kind is not EntryKind.FILE or not content:
        return None
    return Object.of(digest_of(content))


def test_layers_become_a_tree_whose_files_stand_at_their_first_name() -> None:
    layers = [[(entry, stored(entry, content)) for entry, content in read(layer)] for layer in (LOWER, UPPER)]
    digest = digest_of(b"contents").hex()
    tree = from_layers(flatten(layers))
    assert dump_of(tree).decode().splitlines() == [
        "/ 0 40755 3 0 0 0 0.0 - - -",
        f"/a 8 100644 3 0 0 0 1000.0 {digest[:2]}/{digest[2:]} - {digest}",
        "/usr 0 40755 2 0 0 0 1.500000000 - - - user.a=1",
        "/usr/empty 0 100644 1 0 0 0 1000.0 - - -",
        "/usr/fifo 0 10644 1 0 0 0 1000.0 - - -",
        "/usr/hard 0 @100644 1 0 0 0 0.0 /a - -",
        f"/usr/large 0 60644 1 0 0 {os.makedev(0o401, 0o1001)} 1000.0 - - -",
        "/usr/link 1 120644 1 0 0 0 1000.0 z - -",
        "/usr/null 0 20644 1 0 0 259 1000.0 - - -",
        "/usr/z 0 @100644 1 0 0 0 0.0 /a - -",
    ]
    assert make_image(tree)


def keep(stream: BinaryIO) -> tuple[Content, int]:
    data = stream.read()
    return (data if len(data) <= 64 else Object.of(digest_of(data))), len(data)


def test_a_directory_is_read_with_its_links_and_attributes(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o700)
    (tmp_path / "d/small").write_bytes(b"abc")
    (tmp_path / "large").write_bytes(b"x" * 100)
    (tmp_path / "empty").touch()
    (tmp_path / "out").symlink_to("/etc/passwd")
    (tmp_path / "away").symlink_to("d")
    os.link(tmp_path / "large", tmp_path / "d/again")
    os.mkfifo(tmp_path / "d/fifo", 0o600)
    os.setxattr(tmp_path / "empty", "user.a", b"1")
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.utime(path, ns=(0, 1_000_000_007), follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o750 if path.is_dir() else 0o640)
    owner, digest = f"{os.getuid()} {os.getgid()}", digest_of(b"x" * 100).hex()
    assert dump_of(from_directory(tmp_path, keep)).decode().splitlines() == [
        f"/ 0 40750 3 {owner} 0 1.7 - - -",
        f"/away 1 120777 1 {owner} 0 1.7 d - -",
        f"/d 0 40750 2 {owner} 0 1.7 - - -",
        f"/d/again 100 100640 2 {owner} 0 1.7 {digest[:2]}/{digest[2:]} - {digest}",
        f"/d/fifo 0 10640 1 {owner} 0 1.7 - - -",
        f"/d/small 3 100640 1 {owner} 0 1.7 - abc -",
        f"/empty 0 100640 1 {owner} 0 1.7 - - - user.a=1",
        "/large 0 @100640 1 0 0 0 0.0 /d/again - -",
        f"/out 11 120777 1 {owner} 0 1.7 /etc/passwd - -",
    ]


def test_a_directory_that_is_none_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileSystemError, match="Not a directory") as caught:
        from_directory(tmp_path / "file", keep)
    assert caught.value.path == str(tmp_path / "file")
