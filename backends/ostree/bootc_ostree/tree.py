"""The files of an image in the repository, read without a checkout."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from bootc.bootable import MOUNT_POINTS, no_mount_point
from bootc.errors import StoreError
from bootc.storage import Tree
from bootc_ostree.dirtree import Directory
from bootc_ostree.glib import Gio, GLib, OSTree, check_out, explain, translated
from bootc_ostree.objects import ObjectTrees, root_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ETC = ("usr", "etc")
"""where the repository has an image's /etc"""
_LINKS = 40
"""as many symbolic links as Linux follows in one path (ELOOP)"""
_BUFFER = 1 << 16


class RootTree(Tree):
    """The tree below a root directory. The image's `/etc` is what the repository keeps in `usr/etc`."""

    def __init__(self, repo: OSTree.Repo, root: Directory, commit: str | None = None) -> None:
        self._repo, self._root, self._commit = repo, root, commit
        self._trees = ObjectTrees(repo)

    def open(self, path: PurePosixPath) -> BinaryIO:
        with translated(str(path)):
            found, _ = self._find(path)
            if isinstance(found, Directory):
                raise FileNotFoundError(f"{path} is a directory")
            return io.BufferedReader(_Stream(self._repo.load_file(found, None)[1]), _BUFFER)

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        with translated(str(path)):
            try:
                found, where = self._find(path)
            except FileNotFoundError:
                return ()
            if not isinstance(found, Directory):
                return ()
            tree = self._trees.load(found.contents)
            names = {*tree.files, *tree.directories}
            if where == ("usr",):
                names.discard("etc")
            elif not where and self._etc():
                names.add("etc")
            return tuple(sorted(names))

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """A checkout of hard links to the repository's objects: files in it must never be written to."""
        if self._commit is None:
            raise StoreError("ostree repository", "a tree without a commit cannot be checked out")
        with checkout(self._repo, self._commit) as root:
            yield root

    def _find(self, path: PurePosixPath) -> tuple[Directory | str, tuple[str, ...]]:
        """What lies at a path, links followed: a directory, or the checksum of a file; and its real path."""
        pending = [part for part in reversed(path.parts) if part != "/"]
        above = [("", self._root)]
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                above = above[:-1] or above
                continue
            found = self._child(above, name)
            if isinstance(found, Directory):
                above.append((name, found))
                continue
            target = self._link(found)
            if target is None:
                if pending:
                    raise FileNotFoundError(str(path))
                return found, (*(part for part, _ in above[1:]), name)
            links += 1
            if links > _LINKS:
                raise FileNotFoundError(f"{path}: too many symbolic links")
            above = above[:1] if target.startswith("/") else above
            pending += reversed(target.split("/"))
        return above[-1][1], tuple(part for part, _ in above[1:])

    def _child(self, above: list[tuple[str, Directory]], name: str) -> Directory | str:
        tree = self._trees.load(above[-1][1].contents)
        found = tree.directories.get(name) or tree.files.get(name)
        if found is None and len(above) == 1 and name == "etc":
            found = self._etc()
        if found is None:
            raise FileNotFoundError("/".join([*(part for part, _ in above), name]))
        return found

    def _etc(self) -> Directory | None:
        usr = self._trees.load(self._root.contents).directories.get("usr")
        return self._trees.load(usr.contents).directories.get("etc") if usr else None

    def _link(self, checksum: str) -> str | None:
        information = self._repo.load_file(checksum, None)[2]
        if information.get_file_type() != Gio.FileType.SYMBOLIC_LINK:
            return None
        return str(information.get_symlink_target())


class DeployedTree(RootTree):
    """The tree of a commit that is deployed: its directory is there already."""

    def __init__(self, repo: OSTree.Repo, root: Directory, deployed: Path) -> None:
        super().__init__(repo, root)
        self._deployed = deployed

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """The deployment itself, with its own `/etc`: files in it must never be written to."""
        yield self._deployed


@contextmanager
def checkout(repo: OSTree.Repo, commit: str) -> Iterator[Path]:
    """A temporary directory with the files of a commit as hard links, and `etc` where an image has it."""
    with _checked_out(repo, commit, OSTree.RepoCheckoutAtOptions()) as root:
        if (root / "usr/etc").is_dir() and not (root / "etc").exists():
            (root / "usr/etc").rename(root / "etc")
        yield root


@contextmanager
def checkout_etc(repo: OSTree.Repo, commit: str) -> Iterator[Path]:
    """A temporary directory with the /etc of a commit, as hard links. Raises StoreError if it has none."""
    options = OSTree.RepoCheckoutAtOptions()
    options.subpath = "/usr/etc"
    with _checked_out(repo, commit, options) as etc:
        yield etc


def directory_of(repo: OSTree.Repo, commit: str, *path: str) -> Directory | None:
    """The checksums of a directory, equal for equal ones; None if there is none. Raises GLib.Error, StoreError."""
    trees, found = ObjectTrees(repo), root_of(repo, commit)
    for name in path:
        child = trees.load(found.contents).directories.get(name)
        if child is None:
            return None
        found = child
    return found


def etc_of(repo: OSTree.Repo, commit: str) -> Directory | None:
    """Those of a commit's /etc; None also if it cannot be read any more."""
    try:
        return directory_of(repo, commit, *ETC)
    except (GLib.Error, StoreError):
        return None


def require_mount_points(repo: OSTree.Repo, commit: str, image: str) -> None:
    """Raise ImageError if the commit has no directory where something is mounted: it could not be booted."""
    for name in MOUNT_POINTS:
        if directory_of(repo, commit, *(ETC if name == "etc" else (name,))) is None:
            raise no_mount_point(image, name)


@contextmanager
def _checked_out(repo: OSTree.Repo, commit: str, options: OSTree.RepoCheckoutAtOptions) -> Iterator[Path]:
    holder = Path(tempfile.mkdtemp(prefix="bootc-", dir=f"{repo.get_path().get_path()}/tmp"))
    try:
        # not the directory itself: libostree's clean-up of tmp takes one with the time 0 for an old one
        root = holder / "root"
        check_out(repo, options, commit, root)
        yield root
    finally:
        shutil.rmtree(holder)


class _Stream(io.RawIOBase):
    """A GIO stream as Python reads files. One can go back in it where GIO tells which descriptor it reads: with most
    versions of GLib for contents that the repository keeps as they are."""

    def __init__(self, stream: Gio.InputStream) -> None:
        self._stream = stream
        self._descriptor: int | None = stream.get_fd() if hasattr(stream, "get_fd") else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._descriptor is not None

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if self._descriptor is None:
            raise io.UnsupportedOperation("seek")
        return os.lseek(self._descriptor, offset, whence)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        try:
            data = self._stream.read_bytes(len(view), None).get_data()
        except GLib.Error as error:
            raise explain(error, "ostree object") from error
        view[: len(data)] = data
        return len(data)
