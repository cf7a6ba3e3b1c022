"""Volumes: what each operation leaves behind, which steps it takes in which order, and how it fails."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootc.durable import TEMPORARY, DirectoryVolume, Step, explain
from bootc.errors import FileSystemError, NoSpaceError

A, B, D = PurePosixPath("a"), PurePosixPath("b"), PurePosixPath("d")


class Recorded:
    """A volume and the names of the steps that it took; temporary names are shown as `*`."""

    def __init__(self, root: Path) -> None:
        self.steps: list[Step] = []
        self.volume = DirectoryVolume(root, observer=self.steps.append)

    def taken(self) -> list[str]:
        """All steps since the last call."""
        found = [" ".join((step.name, *map(self._shown, step.paths))) for step in self.steps]
        self.steps.clear()
        return found

    @staticmethod
    def _shown(path: str) -> str:
        return str(PurePosixPath(path).with_name("*")) if TEMPORARY in path else path


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


@pytest.fixture
def volume(tmp_path: Path) -> DirectoryVolume:
    return DirectoryVolume(tmp_path)


# ---------------------------------------------------------------- steps in their order


def test_a_file_is_written_aside_synced_renamed_and_its_directory_synced(recorded: Recorded) -> None:
    recorded.volume.replace(A, [b"one", b"two"])

    assert [step.data for step in recorded.steps if step.name == "write"] == [b"one", b"two"]
    assert recorded.taken() == ["create *", "write *", "write *", "fsync *", "rename * a", "fsync ."]
    assert recorded.volume.read(A) == b"onetwo"


def test_a_link_replaces_in_one_step(recorded: Recorded) -> None:
    recorded.volume.link("x", A)
    recorded.volume.link("y", A)

    assert recorded.taken() == ["symlink *", "rename * a", "fsync ."] * 2
    assert recorded.volume.read_link(A) == "y"


def test_directories_are_made_from_the_top_and_each_parent_synced(recorded: Recorded) -> None:
    recorded.volume.make_directories(D / "e")
    recorded.volume.make_directories(D / "e/f")

    assert recorded.taken() == ["mkdir d", "fsync .", "mkdir d/e", "fsync d", "mkdir d/e/f", "fsync d/e"]


def test_a_move_between_directories_syncs_both(recorded: Recorded) -> None:
    recorded.volume.replace(A, b"")
    recorded.volume.make_directories(D)
    recorded.taken()
    recorded.volume.rename(A, D / "a")

    assert recorded.taken() == ["rename a d/a", "fsync d", "fsync ."]


def test_an_exchange_is_one_step(recorded: Recorded) -> None:
    recorded.volume.replace(A, b"a")
    recorded.volume.make_directories(D)
    recorded.volume.replace(D / "b", b"b")
    recorded.taken()
    recorded.volume.exchange(A, D / "b")

    assert recorded.taken() == ["exchange a d/b", "fsync .", "fsync d"]
    assert (recorded.volume.read(A), recorded.volume.read(D / "b")) == (b"b", b"a")


def test_a_tree_is_removed_from_the_bottom(recorded: Recorded) -> None:
    recorded.volume.make_directories(D / "e")
    recorded.volume.replace(D / "e/f", b"")
    recorded.volume.link("..", D / "up")
    recorded.taken()
    recorded.volume.remove(D)

    assert recorded.taken() == ["unlink d/up", "unlink d/e/f", "rmdir d/e", "rmdir d", "fsync ."]
    assert recorded.volume.names(PurePosixPath()) == ()


def test_what_changes_nothing_takes_no_step(recorded: Recorded) -> None:
    recorded.volume.remove(A)
    recorded.volume.make_directories(PurePosixPath())
    recorded.volume.touch(PurePosixPath())

    assert recorded.taken() == []


def test_each_step_is_announced_before_it_is_taken(tmp_path: Path) -> None:
    """A recorder that fails stops the operation at any step; the old file is whole, and nothing is left over."""
    target = tmp_path / "a"
    for number in range(5):
        target.write_bytes(b"old")
        steps = iter(range(number))

        def observer(step: Step, steps: Iterator[int] = steps) -> None:
            if next(steps, None) is None:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            DirectoryVolume(tmp_path, observer=observer).replace(A, b"new")
        assert (target.read_bytes(), os.listdir(tmp_path)) == (b"new" if number == 4 else b"old", ["a"])


def test_syncing_a_volume_is_a_step(recorded: Recorded) -> None:
    recorded.volume.sync()

    assert recorded.taken() == ["syncfs ."]


# ---------------------------------------------------------------- reading


def test_looking_at_what_is_not_there(volume: DirectoryVolume) -> None:
    assert (volume.size(A), volume.is_directory(A), volume.is_link(A), volume.exists(A)) == (None, False, False, False)
    assert (volume.names(A), volume.read_link(A), volume.read_optional(A)) == ((), None, None)
    with pytest.raises(FileNotFoundError):
        volume.read(A)
    with pytest.raises(FileNotFoundError):
        volume.open(A)


def test_kinds_of_files_are_told_apart(volume: DirectoryVolume) -> None:
    volume.replace(A, b"abc")
    volume.make_directories(D)
    volume.link("a", B)

    assert (volume.size(A), volume.size(D), volume.size(B)) == (3, None, None)
    assert (volume.is_directory(D), volume.is_directory(A), volume.is_link(B), volume.is_link(A)) == (
        True,
        False,
        True,
        False,
    )
    assert [volume.exists(path) for path in (A, B, D)] == [True, False, True]
    assert volume.names(PurePosixPath()) == ("a", "b", "d")
    assert volume.names(A) == ()
    assert volume.read_link(A) is None
    with volume.open(A) as file:
        assert file.read() == b"abc"


def test_a_path_through_a_file_is_an_error_when_read_and_absent_when_looked_at(volume: DirectoryVolume) -> None:
    volume.replace(A, b"")

    assert volume.size(A / "b") is None
    with pytest.raises(FileSystemError, match="Not a directory"):
        volume.read(A / "b")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_paths_do_not_leave_the_volume(volume: DirectoryVolume, path: str) -> None:
    operations: list[Callable[[PurePosixPath], object]] = [
        volume.read,
        volume.open,
        volume.size,
        volume.names,
        volume.make_directories,
        volume.remove,
        lambda path: volume.replace(path, b""),
        lambda path: volume.link("x", path),
        lambda path: volume.rename(path, A),
        lambda path: volume.exchange(path, A),
    ]
    for operation in operations:
        with pytest.raises(FileSystemError, match="not a path below the volume"):
            operation(PurePosixPath(path))


@given(st.binary(max_size=300), st.lists(st.binary(max_size=100), max_size=4))
@settings(deadline=None)  # it waits for disks
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, old: bytes, new: list[bytes]) -> None:
    volume = DirectoryVolume(tmp_path_factory.mktemp("volume"))
    volume.replace(A, old)
    volume.replace(A, new)

    assert volume.read(A) == b"".join(new)
    assert volume.size(A) == len(b"".join(new))
    assert volume.names(PurePosixPath()) == ("a",)


# ---------------------------------------------------------------- modes, old files, odd trees


def test_the_umask_does_not_decide(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path, PurePosixPath
from bootc.durable import DirectoryVolume
os.umask(0o077)
volume = DirectoryVolume(Path(sys.argv[1]))
volume.make_directories(PurePosixPath("x/y"))
volume.replace(PurePosixPath("x/file"), b"")
volume.make_directories(PurePosixPath("secret"), 0o700)
volume.replace(PurePosixPath("secret/file"), b"", 0o600)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)

    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("x", "x/y", "x/file")}
    assert modes == {"x": 0o755, "x/y": 0o755, "x/file": 0o644}
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("secret", "secret/file")] == [0o700, 0o600]


def test_existing_directories_keep_their_mode(volume: DirectoryVolume) -> None:
    volume.make_directories(D, 0o700)
    volume.make_directories(D / "e")

    assert stat.S_IMODE(volume.path(D).stat().st_mode) == 0o700


def test_a_file_replaces_a_link_not_its_target(volume: DirectoryVolume, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("safe")
    volume.link("target", A)
    volume.replace(A, b"new")

    assert (volume.is_link(A), (tmp_path / "target").read_text()) == (False, "safe")


def test_removing_a_link_leaves_its_target(volume: DirectoryVolume, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").touch()
    volume.link("target", A)
    volume.make_directories(D)
    volume.link("../target", D / "link")
    volume.remove(A)
    volume.remove(D)

    assert (tmp_path / "target/file").exists()


def test_a_dangling_link_is_removed(volume: DirectoryVolume) -> None:
    volume.link("nowhere", A)
    volume.remove(A)

    assert volume.is_link(A) is False


def test_a_deep_tree_is_removed(volume: DirectoryVolume) -> None:
    volume.make_directories(PurePosixPath(*["d"] * 1500))
    volume.remove(D)

    assert volume.names(PurePosixPath()) == ()


def test_the_volume_itself_is_not_removed(volume: DirectoryVolume) -> None:
    volume.replace(A, b"")

    with pytest.raises(FileSystemError, match="not removing the volume itself"):
        volume.remove(PurePosixPath())
    assert volume.exists(A)


def test_odd_names_are_removed(volume: DirectoryVolume, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in (b"\xff\xfe", b"new\nline", b" ", b"-rf", b"x" * 255):
        os.close(os.open(os.fsencode(tmp_path / "d") + b"/" + name, os.O_CREAT | os.O_WRONLY))
    os.mkfifo(tmp_path / "d/fifo")
    volume.remove(D)

    assert volume.names(PurePosixPath()) == ()


# ---------------------------------------------------------------- failures


def test_writing_where_there_is_no_directory(volume: DirectoryVolume) -> None:
    operations: list[Callable[[], None]] = [
        lambda: volume.replace(D / "a", b""),
        lambda: volume.link("x", D / "a"),
        lambda: volume.touch(D / "a"),
    ]
    for operation in operations:
        with pytest.raises(FileSystemError, match="No such file or directory"):
            operation()


def test_moving_what_is_not_there(volume: DirectoryVolume) -> None:
    volume.replace(B, b"")
    operations: list[Callable[[], None]] = [lambda: volume.rename(A, B), lambda: volume.exchange(A, B)]
    for operation in operations:
        with pytest.raises(FileSystemError, match="No such file or directory"):
            operation()


def test_a_file_cannot_become_a_directory(volume: DirectoryVolume) -> None:
    volume.replace(A, b"")
    volume.make_directories(D)

    with pytest.raises(FileSystemError, match="File exists"):
        volume.make_directories(A)
    with pytest.raises(FileSystemError, match="File exists"):
        volume.make_directories(A / "b")
    with pytest.raises(FileSystemError, match="Is a directory"):
        volume.replace(D, b"")
    assert volume.names(PurePosixPath()) == ("a", "d")


def test_a_source_that_fails_leaves_the_old_file_and_nothing_else(volume: DirectoryVolume) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise ValueError("broken source")

    volume.replace(A, b"old")
    with pytest.raises(ValueError, match="broken source"):
        volume.replace(A, chunks())

    assert (volume.names(PurePosixPath()), volume.read(A)) == (("a",), b"old")


def test_a_volume_that_is_gone(tmp_path: Path) -> None:
    volume = DirectoryVolume(tmp_path / "gone")
    for operation in (volume.sync, volume.free):
        with pytest.raises(FileSystemError, match="No such file or directory"):
            operation()


def test_free_space_is_the_filesystem_s(volume: DirectoryVolume, tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)

    assert 0 < volume.free() <= found.f_blocks * found.f_frsize


@pytest.mark.root
def test_a_full_filesystem_is_a_typed_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    script = """
import subprocess, sys
from pathlib import Path, PurePosixPath
from bootc.durable import DirectoryVolume
from bootc.errors import BootcError
from bootc.host import enter_private_namespace

root, path = Path(sys.argv[1]), PurePosixPath("a")
enter_private_namespace()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", root], check=True)
volume = DirectoryVolume(root)
volume.replace(path, b"old")
for operation in (lambda: volume.replace(path, bytes(1 << 20)),
                  lambda: subprocess.run(["mount", "-o", "remount,ro", root], check=True),
                  lambda: volume.replace(path, b"new"), lambda: volume.remove(path),
                  lambda: volume.make_directories(PurePosixPath("d")), lambda: volume.link("x", path)):
    try:
        operation()
    except BootcError as error:
        print(type(error).__name__, error)
print(volume.read(path), volume.names(PurePosixPath()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, cwd="/"
    )

    assert done.stdout.splitlines() == [
        f"NoSpaceError insufficient free space for a file in {tmp_path}/a",
        f"FileSystemError {tmp_path}/a: read-only file system",
        f"FileSystemError {tmp_path}/a: read-only file system",
        f"FileSystemError {tmp_path}/d: read-only file system",
        f"FileSystemError {tmp_path}/a: read-only file system",
        "b'old' ('a',)",
    ]


@pytest.mark.root
def test_what_is_mounted_below_a_directory_is_not_removed_with_it(tmp_path: Path) -> None:
    script = """
import subprocess, sys
from pathlib import Path, PurePosixPath
from bootc.durable import DirectoryVolume
from bootc.errors import BootcError
from bootc.host import enter_private_namespace

root = Path(sys.argv[1])
for name in ("tree/a b", "tree-2"):
    (root / name).mkdir(parents=True)
enter_private_namespace()
for name in ("tree/a b", "tree-2"):
    subprocess.run(["mount", "-t", "tmpfs", "none", root / name], check=True)
    (root / name / "kept").touch()
volume = DirectoryVolume(root)
for _ in range(2):
    try:
        volume.remove(PurePosixPath("tree"))
    except BootcError as error:
        print(error, "-", error.hint)
        print(volume.names(PurePosixPath("tree/a b")))
        subprocess.run(["umount", root / "tree/a b"], check=True)
print(volume.names(PurePosixPath()), volume.names(PurePosixPath("tree-2")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, cwd="/"
    )

    assert done.stdout.splitlines() == [
        f"{tmp_path}/tree/a b: a filesystem is mounted here, in what is to be removed - unmount it",
        "('kept',)",
        "('tree-2',) ('kept',)",
    ]


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
        (errno.EROFS, FileSystemError),
        (errno.EIO, FileSystemError),
    ],
)
def test_system_errors_have_types(number: int, error: type[Exception]) -> None:
    found = explain(OSError(number, os.strerror(number)), "/x")

    assert type(found) is error
    assert "/x" in found.message


def test_an_interrupted_process_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    """The process ends without cleaning up, before each of the steps."""
    script = """
import os, sys
from pathlib import Path, PurePosixPath
from bootc.durable import DirectoryVolume
left = int(sys.argv[2])
def observer(step):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
DirectoryVolume(Path(sys.argv[1]), observer=observer).replace(PurePosixPath("a"), b"new")
"""
    contents = []
    for number in range(6):
        root = tmp_path / str(number)
        root.mkdir()
        (root / "a").write_bytes(b"old")
        done = subprocess.run([sys.executable, "-c", script, str(root), str(number)], check=False)
        contents.append((done.returncode, (root / "a").read_bytes()))
        assert all(name == "a" or name.startswith(TEMPORARY) for name in os.listdir(root))

    assert contents == [(9, b"old")] * 4 + [(9, b"new"), (0, b"new")]
