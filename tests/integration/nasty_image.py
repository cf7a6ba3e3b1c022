"""An image with everything that makes layers hard, by two writers: GNU tar of real trees, and Python's tar library.

It keeps away from what `bootc.layers` shows otherwise than podman on purpose: names of one file repeat its header, and
directories are implied only where they are root's with mode 0755.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

from bootc.testing.attributes import ACCESS_LIST, CAPABILITY
from tests.ostree_images import Tar, base_layer

SPARSE, ISLAND = 8 << 20, 3 << 20
"""size of the sparse file, and where it has something other than zeros"""
NAMES = (
    "ä ö ü ß",
    "日本語",
    "emoji 🦊",
    "tab\tnewline\nquote\"'",
    "-rf",
    "back\\slash",
    "a" * 255,
    " ",
    "wh.plain",
    ".wh",
)


def nasty_layers(folder: Path) -> list[bytes]:
    """The layers, lowest first."""
    return [
        base_layer().data,
        _first(folder / "first"),
        _long_names(),
        _changes(),
        _by_gnu_tar(_upper(folder / "upper"), "--format=gnu"),
        _implied(),
    ]


def _first(root: Path) -> bytes:
    """A real tree, packed by GNU tar with PAX headers: attributes, capabilities, links, sparse files, odd modes."""
    for name in ("usr/bin", "usr/lib/sub", "usr/share/doc", "usr/changed", "opt", "srv", "etc/skel", "var/log", "dev"):
        (root / name).mkdir(parents=True, exist_ok=True)
    _file(root / "usr/bin/tool", b"#!/bin/sh\n", 0o4755)
    os.link(root / "usr/bin/tool", root / "usr/bin/alias")
    _file(root / "usr/bin/setuid", b"s", 0o4755)
    _file(root / "usr/bin/setgid", b"g", 0o2755, gid=50)
    _file(root / "usr/bin/all", b"bits", 0o7777, uid=7, gid=8)
    _file(root / "usr/bin/none", b"no bits", 0o000)
    _file(root / "usr/bin/capable", b"c", 0o755, xattrs={"security.capability": CAPABILITY})
    _file(root / "usr/lib/listed", b"l", 0o640, xattrs={"system.posix_acl_access": ACCESS_LIST})
    _file(root / "usr/lib/many", b"m", xattrs={"user.b": b"\xff\x00\x01", "user.a": b"1", "user.c": b""})
    _file(root / "usr/lib/far", b"f", uid=4_000_000_000, gid=3_000_000_000)
    _file(root / "usr/lib/linked", b"one file of three names")
    os.link(root / "usr/lib/linked", root / "usr/lib/sub/linked")
    os.link(root / "usr/lib/linked", root / "opt/linked")
    _file(root / "etc/linked", b"two names in etc")
    os.link(root / "etc/linked", root / "etc/skel/linked")
    _file(root / "usr/lib/empty", b"")
    os.link(root / "usr/lib/empty", root / "usr/lib/empty-too")
    _sparse(root / "usr/lib/sparse")
    for name in NAMES:
        _file(root / "usr/share" / name, name.encode())
    _file(root / "usr/share/doc/old", b"hidden by an opaque directory")
    _file(root / "usr/changed/kept", b"kept")
    _file(root / "usr/lib/goes", b"removed by a whiteout")
    _file(root / "var/log/first", b"in /var", 0o600, uid=3)
    _file(root / "etc/hostname", b"")
    _file(root / "etc/shadow", b"root:*\n", 0o640, gid=42)
    (root / "srv/to").symlink_to("../usr/lib")
    os.chown(root / "srv/to", 12, 13, follow_symlinks=False)
    (root / "usr/lib/link").symlink_to("sub")
    (root / "usr/lib/dangling").symlink_to("x" * 200)
    os.chmod(root / "opt", 0o3770)
    os.chown(root / "opt", 9, 10)
    os.setxattr(root / "opt", "user.directory", b"d")
    (root / "tmp").mkdir(mode=0o1777)
    os.chmod(root / "tmp", 0o1777)
    os.mknod(root / "dev/null", 0o20666, os.makedev(1, 3))
    os.chmod(root, 0o755)
    return _by_gnu_tar(root, "--format=posix", "--sparse", "--xattrs", "--xattrs-include=*")


def _long_names() -> bytes:
    """GNU's own headers for long names and large numbers."""
    deep = "usr/share/" + "/".join(f"{'directory' * 10}-{number}" for number in range(4))
    buffer = io.BytesIO()
    with tarfile.TarFile(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for length in range(3, deep.count("/") + 2):
            _add(tar, "/".join(deep.split("/")[:length]), tarfile.DIRTYPE, mode=0o755)
        _add(tar, f"{deep}/{'f' * 200}", data=b"deep")
        _add(tar, f"{deep}/hard", tarfile.LNKTYPE, linkname=f"{deep}/{'f' * 200}")
        _add(tar, f"{deep}/soft", tarfile.SYMTYPE, linkname="../" * 60 + "target")
        _add(tar, "usr/share/far", data=b"f", uid=2_200_000_000, gid=5)
    return buffer.getvalue()


def _changes() -> bytes:
    """What a later layer does to earlier ones: whiteouts, opaque directories, other kinds, other metadata."""
    tar = Tar().directory("usr").directory("usr/lib").whiteout("usr/lib/goes").whiteout("usr/lib/sub/linked")
    tar.directory("usr/share").directory("usr/share/doc", mode=0o700).opaque("usr/share/doc")
    tar.add("usr/share/doc/new", data=b"n")
    tar.directory("usr/changed", mode=0o2751, uid=4, gid=5, xattrs={"user.new": "1"})
    tar.directory("usr/lib/link", mode=0o711).add("usr/lib/link/inside", data=b"a directory over a link")
    tar.add("usr/lib/dangling", data=b"a file over a link").symlink("usr/lib/empty", "a link over a file")
    tar.directory("usr/lib/many").add("usr/lib/many/inside", data=b"a directory over a file")
    tar.directory("etc", mode=0o711, gid=3).add("etc/passwd", data=b"changed\n", mode=0o600).whiteout("etc/default")
    return tar.directory("var").directory("var/lib").whiteout("var/lib/data").data


def _upper(root: Path) -> Path:
    """A later real tree, with GNU headers: a file over a directory. podman reads sparse files with PAX headers only."""
    (root / "usr/lib").mkdir(parents=True)
    _file(root / "usr/lib/sub", b"a file over a directory that had a name of a linked file")
    return root


def _implied() -> bytes:
    """A file whose directories have no entries of their own."""
    return Tar().add("usr/local/lib/implied", data=b"i").add("usr/lib/late", data=b"l").data


def _file(
    path: Path, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0, xattrs: dict[str, bytes] | None = None
) -> None:
    path.write_bytes(data)
    os.chown(path, uid, gid)
    path.chmod(mode)
    for name, value in (xattrs or {}).items():
        os.setxattr(path, name, value)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.seek(ISLAND)
        file.write(b"island")
        file.truncate(SPARSE)


def _add(tar: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, len(data)
    for field, value in fields.items():
        setattr(entry, field, value)
    tar.addfile(entry, io.BytesIO(data))


def _by_gnu_tar(root: Path, *options: str) -> bytes:
    command = ["tar", "--numeric-owner", *options, "-C", str(root), "-cf", "-", "."]
    return subprocess.run(command, check=True, capture_output=True).stdout
