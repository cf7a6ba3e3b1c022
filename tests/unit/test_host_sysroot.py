"""Where the system lies."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from bootc.durable import Step
from bootc.errors import HostError, TargetError
from bootc.host import is_booted, locate, open_machine

STATE = PurePosixPath("ostree/bootc")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory as of a system that is not ours."""
    for name in ("run", "proc", "sysroot", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "proc/cmdline").write_text("BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet\n")
    return tmp_path


def boot_by_ostree(root: Path) -> None:
    (root / "run/ostree-booted").touch()


def boot_by_argument(root: Path) -> None:
    (root / "proc/cmdline").write_text("quiet bootc.deployment=abc.0 rw\n")


def test_a_system_that_is_not_ours(root: Path) -> None:
    assert is_booted(root) is False
    assert open_machine(root=root) is None
    with pytest.raises(HostError, match="System not booted via bootc"):
        locate(root=root)


def test_a_root_without_proc_is_not_booted(tmp_path: Path) -> None:
    assert is_booted(tmp_path) is False


@pytest.mark.parametrize("boot", [boot_by_ostree, boot_by_argument])
def test_the_running_system_lies_below_sysroot(root: Path, boot: object) -> None:
    assert callable(boot)
    boot(root)
    location = locate(root=root)

    assert (location.root, location.run, location.is_booted) == (root / "sysroot", root / "run", True)
    machine = open_machine(state=STATE, root=root)
    assert machine is not None
    assert (machine.root, machine.run, machine.state) == (root / "sysroot", root / "run", STATE)


@pytest.mark.parametrize(
    "arguments", ["xbootc.deployment=1", "x=bootc.deployment=1", '"a bootc.deployment=1"', "bootc.deploymentx=1"]
)
def test_only_the_argument_itself_counts(root: Path, arguments: str) -> None:
    (root / "proc/cmdline").write_text(arguments)

    assert is_booted(root) is False


def test_a_directory_is_a_sysroot_of_its_own(root: Path) -> None:
    boot_by_ostree(root)
    location = locate(root / "elsewhere", root)

    assert (location.root, location.run, location.is_booted) == (root / "elsewhere", None, False)


@pytest.mark.parametrize("path", ["sysroot", ".", "link", "elsewhere/../sysroot"])
def test_a_directory_that_is_the_running_system_counts_as_it(root: Path, path: str) -> None:
    boot_by_ostree(root)
    (root / "link").symlink_to("sysroot")
    location = locate(root / path, root)

    assert (location.root, location.is_booted) == (root / "sysroot", True)


def test_the_sysroot_of_a_system_that_is_not_ours_is_a_directory_like_others(root: Path) -> None:
    assert locate(root / "sysroot", root).is_booted is False


def test_a_relative_directory_becomes_absolute(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)

    assert locate(Path("elsewhere"), root).root == root / "elsewhere"


def test_a_sysroot_must_be_a_directory(root: Path) -> None:
    (root / "file").touch()
    (root / "loop").symlink_to("loop")

    for name, problem in {"file": "not a directory", "missing": "no such directory", "loop": ""}.items():
        with pytest.raises(TargetError) as caught:
            locate(root / name, root)
        assert caught.value.message.startswith(f"{root / name}: {problem}")


def test_a_recorder_sees_what_is_written_to_the_sysroot(root: Path) -> None:
    steps: list[Step] = []
    locate(root / "elsewhere", root, steps.append).volume.make_directories(STATE)

    assert [step.name for step in steps] == ["mkdir", "fsync", "mkdir", "fsync"]
