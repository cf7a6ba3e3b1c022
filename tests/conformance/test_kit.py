"""What the kit does to a test: a process with its own mounts, a machine that boots, and plugins by their names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest
from bootc_ostree import bootc_storage_backends
from bootc_ostree.options import OstreeOptions

from bootc.storage import Backend
from bootc.testing.child import in_namespaces
from bootc.testing.fakes import FakeMachine, os_image
from bootc.testing.storage import System
from bootc.testing.storage.base import StorageSuite

pytestmark = pytest.mark.root
pytest_plugins = ["pytester"]

DYING = """
    import os
    from bootc.testing.suite import ConformanceSuite

    class TestDying(ConformanceSuite):
        runs_in_child = True

        def test_that_exits(self):
            os._exit(0)

        def test_after_it(self):
            assert os.getpid() == 1

        def test_that_fails(self):
            number = 41
            assert number == 42
"""


def test_a_child_has_its_own_mounts_and_process_ids() -> None:
    def look() -> tuple[int, list[str]]:
        subprocess.run(["mount", "-t", "tmpfs", "kit", "/mnt"], check=True)
        Path("/mnt/inside").touch()
        return os.getpid(), [name for name in os.listdir("/proc") if name.isdigit()]

    before = Path("/proc/self/mountinfo").read_bytes()
    assert in_namespaces(look, 30) == (1, ["1"])
    assert Path("/proc/self/mountinfo").read_bytes() == before
    assert not Path("/mnt/inside").exists()


def test_what_a_child_started_ends_with_it() -> None:
    marker = f"1000.{os.getpid()}"

    def leave_one() -> None:
        subprocess.Popen(["sleep", marker], start_new_session=True)

    in_namespaces(leave_one, 30)
    running = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            running.append(path.read_bytes())
    assert running
    assert not [line for line in running if marker.encode() in line]


def test_a_test_whose_process_dies_has_failed_and_the_others_go_on(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(DYING)
    result = pytester.runpytest("-p", "bootc.testing.plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*a child process was killed*", "*assert 41 == 42*"])


def test_other_tests_may_stand_before_and_after_a_suite(pytester: pytest.Pytester) -> None:
    other = "def test_here(): pass"
    pytester.makepyfile(test_a=f"{other}\n{dedent(DYING)}", test_b=other)
    result = pytester.runpytest("-p", "bootc.testing.plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=2)


def test_a_plugin_proves_itself_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "ledger.toml").write_text('test_devices_and_pipes = "a deviation that it has not"\n')
    argv = [sys.executable, "-m", "pytest", "-p", "bootc.testing.plugin", "-p", "no:cacheprovider", "-q"]
    argv += ["--pyargs", "bootc.testing.conformance", "--bootc-no-skip", "-k", "sysroot or devices or pin"]
    argv += ["--bootc-backend", "dirimage", "--bootc-deviations", str(tmp_path / "ledger.toml")]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    summary = done.stdout.splitlines()[-1]
    assert (done.returncode, "1 failed" in summary, "3 skipped" in summary) == (1, True, True), (
        done.stdout + done.stderr
    )
    assert "[XPASS(strict)] known deviation: a deviation that it has not" in done.stdout


class TestAsIfBooted(StorageSuite):
    """ostree looks at `/`: with it, a test runs inside of what is booted."""

    @pytest.fixture
    def open_backend(self, machine: FakeMachine) -> Callable[[], Backend]:
        (plugin,) = bootc_storage_backends()
        return lambda: plugin.open(machine.context, OstreeOptions())

    def test_the_root_is_the_deployment_s(self, system: System) -> None:
        for version in ("1", "2"):
            booted = system.install(version) if version == "1" else system.upgrade(version)
            assert Path("/").samefile(system.deployer.etc(booted.id).parent)
            assert Path("/etc/version").read_text() == f"image {version}\n"
            key = booted.image.key if booted.image else None
            assert f"ostree=/ostree/boot-0/default/{key}" in Path("/proc/cmdline").read_text()
            status = subprocess.run(["ostree", "admin", "status"], capture_output=True, text=True, check=True).stdout
            assert [line.split()[2] for line in status.splitlines() if line.startswith("*")] == [f"{key}.0"]

    def test_what_is_staged_is_libostree_s_own(self, system: System) -> None:
        system.install("1")
        assert not Path("/run/ostree/staged-deployment").exists()
        system.stage(os_image("2"))
        assert Path("/run/ostree/staged-deployment").exists()
        Path("/etc/late").write_text("written after staging\n")
        system.finalize()
        assert not Path("/run/ostree/staged-deployment").exists()
        system.reboot()
        assert Path("/etc/late").read_text() == "written after staging\n"
