"""The initramfs script, run for real in a mount namespace of its own: what it mounts, and how it fails."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath

import pytest
from attrs import frozen

from bootc.system.initramfs import MountPlan

pytestmark = pytest.mark.root

BINDS = {PurePosixPath("etc"): PurePosixPath("deployments/1/etc"), PurePosixPath("var"): PurePosixPath("var/default")}
PLAN = MountPlan(PurePosixPath("slots/1/tree"), BINDS).render()
FAKES = ("systemctl", "reboot", "sleep")
"""what would stop this machine: each only notes how it was called"""
WORLD = """
mount -t tmpfs none /run
mount -t tmpfs none {physical}
cp -a {content}/. {physical}/
mount -o remount,ro {physical}
mount --bind {cmdline} /proc/cmdline
[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null /proc/sysrq-trigger
mount --bind {kmsg} /dev/kmsg
PATH={fakes}:/usr/sbin:/usr/bin sh {script} {physical}
code=$?
[ $code = 0 ] && ({look})
exit $code
"""


@frozen
class Result:
    """How the script ended."""

    code: int
    out: str
    err: str
    kernel_log: str
    calls: list[str]


def run(
    folder: Path,
    cmdline: str,
    plan: bytes | None = PLAN,
    look: str = "true",
    missing: str = "",
    programs: Mapping[str, str] | None = None,
) -> Result:
    """Run it on a physical root; `look` runs in there afterwards. `programs` are shell scripts by their names."""
    content = folder / "content"
    for name in ("slots/1/tree/etc", "slots/1/tree/var", "slots/1/tree/sysroot", "deployments/1/etc", "var/default"):
        if name != missing:
            (content / name).mkdir(parents=True, exist_ok=True)
    (content / "slots/1/tree/which").write_text("the tree")
    (content / "deployments/1").mkdir(parents=True, exist_ok=True)
    if plan is not None:
        (content / "deployments/1/mounts").write_bytes(plan)
    (folder / "physical").mkdir()
    (folder / "cmdline").write_text(f"{cmdline}\n")
    (folder / "kmsg").touch()
    (folder / "fakes").mkdir()
    noting = {name: f'echo {name} "$@" >> {folder}/calls' for name in FAKES}
    for name, text in {**noting, **(programs or {})}.items():
        fake = folder / "fakes" / name
        fake.write_text(f"#!/bin/sh\n{text}\n")
        fake.chmod(0o755)
    with as_file(files("bootc.system.initramfs").joinpath("mount-root")) as script:
        names = {name: str(folder / name) for name in ("physical", "content", "cmdline", "kmsg", "fakes")}
        text = WORLD.format(script=shlex.quote(str(script)), look=f"cd {folder}/physical && {look}", **names)
        argv = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "sh", "-c", text]
        done = subprocess.run(argv, capture_output=True, text=True)
    calls = folder / "calls"
    called = calls.read_text().splitlines() if calls.exists() else []
    return Result(done.returncode, done.stdout, done.stderr, (folder / "kmsg").read_text(), called)


ARGUMENTS = "quiet bootc.deployment=1-abc bootc.plan=deployments/1/mounts rw"


def test_the_root_is_put_together_by_the_plan(tmp_path: Path) -> None:
    look = """
        cat which
        touch here 2>/dev/null || echo ' root is read-only'
        touch sysroot/here 2>/dev/null || echo 'sysroot is read-only'
        echo 1 > etc/mine && echo 2 > var/mine && cat sysroot/deployments/1/etc/mine sysroot/var/default/mine
    """
    result = run(tmp_path, ARGUMENTS, look=look)
    assert (result.code, result.err) == (0, "")
    assert result.out == "the tree root is read-only\nsysroot is read-only\n1\n2\n"
    assert result.calls == []


def test_a_transient_etc_is_what_the_deployment_has_until_it_is_changed(tmp_path: Path) -> None:
    look = """
        cat etc/shipped && echo mine > etc/shipped && cat etc/shipped && touch etc/new && rm etc/old
        cat sysroot/deployments/1/etc/shipped && ls sysroot/deployments/1/etc
        stat -c %a etc && findmnt -no FSTYPE etc
    """
    plan = MountPlan(PurePosixPath("slots/1/tree"), BINDS, is_etc_transient=True).render()
    assert plan.splitlines()[0] == b"bootc-mount-plan 2"
    assert plan.splitlines()[-1] == b"etc-transient"
    etc = tmp_path / "content/deployments/1/etc"
    etc.mkdir(parents=True)
    (etc / "shipped").write_text("shipped\n")
    (etc / "old").touch()
    result = run(tmp_path, ARGUMENTS, plan, look=look)
    assert (result.code, result.err) == (0, "")
    assert result.out.split() == ["shipped", "mine", "shipped", "old", "shipped", "755", "tmpfs", "overlay"]


@pytest.mark.parametrize(
    ("plan", "missing", "reason"),
    [
        (None, "", "there is no mount plan deployments/1/mounts"),
        (b"", "", "deployments/1/mounts is no mount plan"),
        (b"something else\n", "", "deployments/1/mounts is no mount plan"),
        (PLAN.replace(b"plan 1", b"plan 9"), "", "the mount plan has version 9, this initramfs knows 2"),
        (PLAN + b"swap x y\n", "", "the mount plan has an unknown line: swap"),
        (PLAN.splitlines(keepends=True)[0], "", "the mount plan has no root"),
        (PLAN.replace(b"var/default", b"../outside"), "", "the plan names ../outside, which is no plain path"),
        (PLAN, "deployments/1/etc", "deployments/1/etc is missing"),
        (PLAN, "slots/1/tree/sysroot", "sysroot is missing"),
        (PLAN, "slots/1/tree/var", "var is missing"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value or "",
)
@pytest.mark.parametrize("counting", ["", " bootc.counting"], ids=["", "counting"])
def test_what_fails_is_said_and_reboots_while_boots_are_counted(
    tmp_path: Path, plan: bytes | None, missing: str, reason: str, counting: str
) -> None:
    result = run(tmp_path, ARGUMENTS + counting, plan, missing=missing)
    message = f"bootc: cannot mount the root of deployment 1-abc: {reason}"
    assert result.code == 1
    assert result.err.splitlines()[0] == message
    assert result.kernel_log == f"<2>{message}\n"
    assert result.calls == (["sleep 5", "systemctl --force reboot", "sleep 60"] if counting else [])


def test_without_a_plan_on_the_command_line_it_fails(tmp_path: Path) -> None:
    result = run(tmp_path, "quiet bootc.deployment=1-abc")
    assert "no bootc.plan= on the kernel command line" in result.err


@pytest.mark.parametrize("name", ["mount-root", "initramfs-tools/hook", "initramfs-tools/init-bottom"])
def test_scripts_are_posix_shell(name: str) -> None:
    with as_file(files("bootc.system.initramfs").joinpath(name)) as script:
        assert subprocess.run(["dash", "-n", str(script)]).returncode == 0
        assert script.stat().st_mode & 0o111 == 0o111


@pytest.mark.parametrize("path", ["/absolute", "a/../b", "with space", "new\nline", "$(x)"])
def test_a_path_that_is_no_plain_word_is_in_no_plan(path: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in a mount plan"):
        MountPlan(PurePosixPath(path)).render()
