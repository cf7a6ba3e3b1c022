"""The lock between real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from bootc.durable import DirectoryVolume
from bootc.errors import FileSystemError, LockedError
from bootc.host import Holder, Lock, lock
from bootc.image import parse_time
from bootc.machine import Machine

STATE = PurePosixPath("ostree/bootc")

HOLD = """
import sys
from pathlib import Path, PurePosixPath
from bootc.durable import DirectoryVolume
from bootc.host import Lock

root, run = sys.argv[1:]
sys.argv = ["/usr/bin/bootc", "upgrade", "--apply now"]
with Lock(DirectoryVolume(Path(root)), PurePosixPath("ostree/bootc"), Path(run) if run else None).hold():
    print("held", flush=True)
    sys.stdin.read()
print("released", flush=True)
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that holds the lock until its standard input is closed."""
    started = []

    def start(root: Path, run: Path | None = None) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", HOLD, str(root), str(run or "")]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lock_of(root: Path, run: Path | None = None) -> Lock:
    return Lock(DirectoryVolume(root), STATE, run)


def test_a_second_writer_is_told_who_holds_the_lock(tmp_path: Path, hold: Callable[..., subprocess.Popen[str]]) -> None:
    process = hold(tmp_path)

    with pytest.raises(LockedError) as caught, lock_of(tmp_path).hold():
        raise AssertionError("two writers at once")

    command, _, rest = caught.value.holder.partition(" (")
    assert command == "bootc upgrade '--apply now'"
    assert rest.startswith(f"pid {process.pid}, since ")
    assert parse_time(rest.rpartition(" ")[2].rstrip(")")) is not None


def test_the_lock_is_free_when_the_holder_lets_go(tmp_path: Path, hold: Callable[..., subprocess.Popen[str]]) -> None:
    process = hold(tmp_path)
    assert process.communicate()[0] == "released\n"

    with lock_of(tmp_path).hold():
        assert str(lock_of(tmp_path).holder()).endswith(")")
    assert lock_of(tmp_path).holder() is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_is_free_when_the_holder_dies(
    tmp_path: Path, hold: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = hold(tmp_path)
    process.send_signal(number)
    process.wait()

    assert lock_of(tmp_path).holder() is None
    with lock_of(tmp_path).hold():
        holder = lock_of(tmp_path).holder()
        assert holder is not None
        assert holder.pid == os.getpid()


def test_a_stopped_holder_still_holds(tmp_path: Path, hold: Callable[..., subprocess.Popen[str]]) -> None:
    process = hold(tmp_path)
    process.send_signal(signal.SIGSTOP)

    with pytest.raises(LockedError, match=f"pid {process.pid}"), lock_of(tmp_path).hold():
        raise AssertionError("two writers at once")


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    with lock_of(tmp_path).hold():
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        with lock_of(tmp_path).hold():
            assert child.poll() is None
    finally:
        child.communicate()


def test_the_lock_of_one_process_excludes_itself(tmp_path: Path) -> None:
    with lock_of(tmp_path).hold(), pytest.raises(LockedError, match=f"pid {os.getpid()}"), lock_of(tmp_path).hold():
        raise AssertionError("two writers at once")


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock_of(tmp_path).hold():
        raise ZeroDivisionError
    with lock_of(tmp_path).hold():
        assert lock_of(tmp_path).holder() is not None


def test_two_sysroots_have_two_locks(tmp_path: Path, hold: Callable[..., subprocess.Popen[str]]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    hold(tmp_path / "a")

    with lock_of(tmp_path / "b").hold():
        assert lock_of(tmp_path / "b").holder() is not None


def test_the_running_system_and_its_sysroot_share_one_lock(
    tmp_path: Path, hold: Callable[..., subprocess.Popen[str]]
) -> None:
    (tmp_path / "sysroot").mkdir()
    process = hold(tmp_path / "sysroot", tmp_path / "run")

    with pytest.raises(LockedError) as caught, lock_of(tmp_path / "sysroot").hold():
        raise AssertionError("two writers at once")
    assert caught.value.holder == "one that left no record"
    with pytest.raises(LockedError, match=f"pid {process.pid}"), lock_of(tmp_path / "sysroot", tmp_path / "run").hold():
        raise AssertionError("two writers at once")


def test_locking_the_running_system_does_not_disturb_who_watches_its_state(tmp_path: Path) -> None:
    with lock_of(tmp_path, tmp_path / "run").hold():
        pass
    directory = tmp_path / STATE
    os.utime(directory, (1, 1))

    with lock_of(tmp_path, tmp_path / "run").hold():
        assert sorted(os.listdir(directory)) == ["lock"]
        assert sorted(os.listdir(tmp_path / "run/bootc")) == ["lock-holder.json"]
    assert directory.stat().st_mtime == 1


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'{"pid": "x"}', id="no number"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"pid": 999999999, "started": "1", "command": "x", "since": "x"}', id="nobody"),
        pytest.param(b'{"pid": 1, "started": "0", "command": "x", "since": "x"}', id="another process of this number"),
    ],
)
def test_a_stale_or_damaged_record_names_nobody(tmp_path: Path, record: bytes) -> None:
    (tmp_path / STATE).mkdir(parents=True)
    (tmp_path / STATE / "lock-holder.json").write_bytes(record)

    assert lock_of(tmp_path).holder() is None
    with lock_of(tmp_path).hold():
        assert json.loads((tmp_path / STATE / "lock-holder.json").read_bytes())["pid"] == os.getpid()


def test_a_holder_is_known_by_pid_and_start(tmp_path: Path) -> None:
    holder = Holder.this()
    (tmp_path / "x").write_bytes(holder.document())

    assert Holder.read(tmp_path / "x") == holder


def test_the_lock_file_is_not_followed_to_elsewhere(tmp_path: Path) -> None:
    (tmp_path / STATE).mkdir(parents=True)
    (tmp_path / STATE / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FileSystemError), lock_of(tmp_path).hold():
        raise AssertionError("locked something else")
    assert not (tmp_path / "elsewhere").exists()


def test_many_writers_one_at_a_time(tmp_path: Path) -> None:
    """Four processes try until each has had five turns; none overwrites what another wrote."""
    script = """
import sys
from pathlib import Path, PurePosixPath
from bootc.durable import DirectoryVolume
from bootc.errors import LockedError
from bootc.host import Lock

root = Path(sys.argv[1])
counter = root / "counter"
for _ in range(5):
    while True:
        try:
            with Lock(DirectoryVolume(root), PurePosixPath("state")).hold():
                value = int(counter.read_text())
                counter.write_text(str(value + 1))
                break
        except LockedError:
            continue
"""
    (tmp_path / "counter").write_text("0")
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(4)]

    assert [writer.wait() for writer in writers] == [0] * 4
    assert (tmp_path / "counter").read_text() == "20"


def test_a_machine_s_lock(tmp_path: Path) -> None:
    machine = Machine(DirectoryVolume(tmp_path), STATE)

    with lock(machine), pytest.raises(LockedError), lock(machine):
        raise AssertionError("two writers at once")
