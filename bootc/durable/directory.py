"""A directory of a mounted filesystem as a volume."""

from __future__ import annotations

import ctypes
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bootc.durable.volume import TEMPORARY, Observer, Step, Volume, explain, flush
from bootc.errors import FileSystemError
from bootc.mountinfo import mount_points


class DirectoryVolume(Volume):
    """A volume below a directory of a mounted filesystem. Links can be made here, unlike on an ESP."""

    def __init__(self, root: Path, name: str = "root", observer: Observer | None = None) -> None:
        self.root, self.name, self._observer = root, name, observer
        self._prefix = PurePosixPath()

    def at(self, root: Path, name: str | None = None) -> DirectoryVolume:
        """Another directory as a volume, with the same observer; one below this volume's root is a part of it."""
        within = root.is_relative_to(self.root)
        other = DirectoryVolume(root, self.name if within else name or root.name, self._observer)
        other._prefix = self._prefix / root.relative_to(self.root) if within else PurePosixPath()
        return other

    def path(self, path: PurePosixPath) -> Path:
        """Where a path of the volume lies on this system."""
        if path.is_absolute() or ".." in path.parts or "\0" in str(path):
            raise FileSystemError(str(path), "not a path below the volume")
        return self.root / path

    def read(self, path: PurePosixPath) -> bytes:
        with self._explained(path, missing_passes=True):
            return self.path(path).read_bytes()

    def open(self, path: PurePosixPath) -> BinaryIO:
        with self._explained(path, missing_passes=True):
            return self.path(path).open("rb")

    def size(self, path: PurePosixPath) -> int | None:
        found = self._lstat(path)
        return found.st_size if found and stat.S_ISREG(found.st_mode) else None

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        with self._explained(path):
            try:
                return tuple(sorted(os.listdir(self.path(path))))
            except (FileNotFoundError, NotADirectoryError):
                return ()

    def is_directory(self, path: PurePosixPath) -> bool:
        found = self._lstat(path)
        return bool(found and stat.S_ISDIR(found.st_mode))

    def is_link(self, path: PurePosixPath) -> bool:
        """Whether it is a symbolic link."""
        found = self._lstat(path)
        return bool(found and stat.S_ISLNK(found.st_mode))

    def read_link(self, path: PurePosixPath) -> str | None:
        """The target of a symbolic link; None if there is none."""
        try:
            return os.readlink(self.path(path))
        except OSError:
            return None

    def make_directories(self, path: PurePosixPath, mode: int = 0o755) -> None:
        for directory in self.missing(path):
            with self._explained(directory):
                self._step("mkdir", directory, data=b"%o" % mode)
                self._make_directory(directory, mode)
                self._sync_directory(directory.parent)

    def replace(self, path: PurePosixPath, data: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        temporary = _temporary(path)
        with self._explained(path), self._removed_on_failure(temporary):
            self._write(temporary, (data,) if isinstance(data, bytes) else data, mode)
            self._rename(temporary, path)

    def link(self, target: str, path: PurePosixPath) -> None:
        """Make `path` a symbolic link to `target`, replacing a file or link there in one step."""
        temporary = _temporary(path)
        with self._explained(path), self._removed_on_failure(temporary):
            self._step("symlink", temporary, data=target.encode())
            os.symlink(target, self.path(temporary))
            self._rename(temporary, path)

    def rename(self, old: PurePosixPath, new: PurePosixPath) -> None:
        with self._explained(new):
            self._rename(old, new)

    def exchange(self, first: PurePosixPath, second: PurePosixPath) -> None:
        """Swap two names of this filesystem in one step (renameat2, RENAME_EXCHANGE)."""
        with self._explained(first):
            self._step("exchange", first, second)
            _exchange(self.path(first), self.path(second))
            self._sync_directory(first.parent)
            self._sync_directory(second.parent)

    def remove(self, path: PurePosixPath) -> None:
        found = self._lstat(path)
        if found is None:
            return
        if not path.parts:
            raise FileSystemError(str(self.root), "not removing the volume itself")
        with self._explained(path):
            if stat.S_ISDIR(found.st_mode):
                self._require_no_mounts(path)
            top = str(path)
            for inner, is_directory in self._bottom_up(top) if stat.S_ISDIR(found.st_mode) else ((top, False),):
                if self._observer:
                    self._step("rmdir" if is_directory else "unlink", PurePosixPath(inner))
                (os.rmdir if is_directory else os.unlink)(os.path.join(self.root, inner))
            self._sync_directory(path.parent)

    def touch(self, path: PurePosixPath) -> None:
        """Set a file's times to now. A signal for who watches it, no state: it is no step, and may be lost."""
        with self._explained(path):
            os.utime(self.path(path))

    def sync(self) -> None:
        self._step("syncfs", PurePosixPath())
        with self._explained(PurePosixPath()):
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if _libc().syncfs(descriptor):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            finally:
                os.close(descriptor)

    def free(self) -> int:
        with self._explained(PurePosixPath()):
            found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    @property
    def is_observed(self) -> bool:
        """Whether anybody wants to know of steps; in long loops, announcing to nobody has its price."""
        return self._observer is not None

    def announce(self, name: str, *paths: PurePosixPath, data: bytes | None = None) -> None:
        """Tell the observer of a step that the caller takes itself, below a name that nothing refers to yet.

        What failed and changed nothing is taken back by announcing an `unlink`.
        """
        self._step(name, *paths, data=data)

    def _make_directory(self, path: PurePosixPath, mode: int) -> None:
        try:
            self.path(path).mkdir(mode)
        except FileExistsError:
            if not self.is_directory(path):
                raise
        else:
            self.path(path).chmod(mode)  # the umask must not decide

    def _require_no_mounts(self, path: PurePosixPath) -> None:
        """What is mounted below a directory is not removed with it."""
        top = Path(os.path.realpath(self.path(path)))
        for mount in mount_points():
            if top in mount.target.parents:
                problem = "a filesystem is mounted here, in what is to be removed"
                raise FileSystemError(str(mount.target), problem, "unmount it")

    def _bottom_up(self, path: str) -> Iterator[tuple[str, bool]]:
        """Everything below a directory and itself, contents first; not recursive, for a tree may be deep. Paths are
        text here: there may be very many of them."""
        waiting = [(path, False)]
        while waiting:
            here, is_seen = waiting.pop()
            if is_seen:
                yield here, True
                continue
            waiting.append((here, True))
            with os.scandir(os.path.join(self.root, here)) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((f"{here}/{entry.name}", False))
                    else:
                        yield f"{here}/{entry.name}", False

    def _write(self, path: PurePosixPath, chunks: Iterable[bytes], mode: int) -> None:
        self._step("create", path, data=b"%o" % mode)
        descriptor = os.open(self.path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        with open(descriptor, "wb") as file:
            for chunk in chunks:
                self._step("write", path, data=chunk)
                file.write(chunk)
            file.flush()
            os.fchmod(descriptor, mode)
            self._step("fsync", path)
            os.fsync(descriptor)

    def _rename(self, old: PurePosixPath, new: PurePosixPath) -> None:
        self._step("rename", old, new)
        os.rename(self.path(old), self.path(new))
        self._sync_directory(new.parent)
        if old.parent != new.parent:
            self._sync_directory(old.parent)

    def _sync_directory(self, path: PurePosixPath) -> None:
        self._step("fsync", path)
        flush(self.path(path), os.O_DIRECTORY)

    def _lstat(self, path: PurePosixPath) -> os.stat_result | None:
        try:
            return os.lstat(self.path(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise explain(error, str(self.path(path))) from error

    def _step(self, name: str, *paths: PurePosixPath, data: bytes | None = None) -> None:
        if self._observer:
            self._observer(Step(self.name, name, tuple(str(self._prefix / path) for path in paths), data))

    @contextmanager
    def _explained(self, path: PurePosixPath, *, missing_passes: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if missing_passes and isinstance(error, FileNotFoundError):
                raise
            raise explain(error, str(self.path(path))) from error

    @contextmanager
    def _removed_on_failure(self, temporary: PurePosixPath) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with suppress(FileNotFoundError):
                self.path(temporary).unlink()
                self._step("unlink", temporary)  # told afterwards: an observer that fails must not keep the file
            raise


def _temporary(path: PurePosixPath) -> PurePosixPath:
    return path.parent / f"{TEMPORARY}{secrets.token_hex(6)}"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _exchange(first: Path, second: Path) -> None:
    at_cwd, rename_exchange = -100, 2
    result = _libc().renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), rename_exchange)
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(first))
