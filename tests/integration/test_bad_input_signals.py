"""Commands that are told to end, or killed, at any moment: the old state is in force, or the new one whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.integration.failing import World, temporary, unchanged
from tests.integration.sysroots import (
    MIB,
    Snapshot,
    copy_mounted,
    held_below,
    images,
    make_disk,
    mounted,
    os_layers,
    snapshot,
)
from tests.unit.cli_runs import Run

pytestmark = pytest.mark.root

NEW = "interrupted"
CANCELLED = re.compile(
    r"error: cancelled: (terminated|interrupted) \(run the command again; what was fetched is kept for it\)\n"
)
SIGTERM_MOMENTS = 12
KILLED_AT = 8
STEPS = "rename,renameat,renameat2,symlink,symlinkat,linkat,unlink,unlinkat,mkdir,mkdirat,fsync,fdatasync,syncfs"
"""system calls before which the process is killed: what changes names, and what makes changes last"""


@frozen
class Story:
    """A command, and how long it takes when nobody disturbs it."""

    words: tuple[str, ...]
    seconds: float
    steps: int
    """of STEPS in its main thread"""

    def on(self, root: Path) -> tuple[str, ...]:
        """The command for one sysroot."""
        return (sys.executable, "-m", "bootc", "--sysroot", str(root), *self.words)


@pytest.fixture(scope="module")
def story(world: World, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A switch to an image in the registry, with three megabytes to fetch."""
    world.publish(NEW, os_layers(NEW, ballast=3 * MIB))
    words = ("--config", str(world.config), "switch", world.reference(NEW))
    untried = Story(words, 0.0, 0)
    folder = tmp_path_factory.mktemp("story")
    with copy_mounted(world.disk, folder) as root:
        began = time.monotonic()
        assert run(untried.on(root), folder).code == 0
        seconds = time.monotonic() - began
        assert images(root) == [NEW, "v1"]
    with copy_mounted(world.disk, folder) as root:
        assert run((*strace(folder / "log"), *untried.on(root)), folder).code == 0
        lines = (folder / "log").read_text().splitlines()
        main = lines[0].split()[0]
        return Story(words, seconds, sum(line.split()[0] == main for line in lines))


def strace(log: Path, *more: str) -> tuple[str, ...]:
    """Follows the STEPS of a command."""
    return ("strace", "-f", "--seccomp-bpf", "-o", str(log), "-e", f"trace={STEPS}", *more)


def run(command: Sequence[str], folder: Path, disturb: Callable[[subprocess.Popen[str]], None] | None = None) -> Run:
    """Run a command to its end, whatever is done to it."""
    env = {**os.environ, "TMPDIR": str(temporary(folder)), "BOOTC_DEBUG": ""}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        if disturb:
            disturb(process)
        out, err = process.communicate(timeout=120)
    return Run(process.returncode, out, err)


def after(seconds: float) -> Callable[[subprocess.Popen[str]], None]:
    """Sends SIGTERM when this time has passed, unless the process ended before."""

    def disturb(process: subprocess.Popen[str]) -> None:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)

    return disturb


# ---------------------------------------------------------------- what must hold afterwards


def require_all_or_nothing(ended: Run, root: Path, before: Snapshot) -> None:
    """Who is told of a failure finds what was there before, who is told of success the new state.

    A process that is not yet, or no longer, at work ends by the signal itself.
    """
    found = images(root)
    assert found in (["v1"], [NEW, "v1"])
    is_new = found[0] == NEW
    if is_new:
        require_whole(root)
    else:
        assert snapshot(root) == before
    if ended.code == 1:
        assert CANCELLED.fullmatch(ended.err), ended.err
        assert (ended.out, is_new) == ("", False)
    elif ended.code == 0:
        assert ended.out.startswith("Deployed: ")
        assert is_new
    else:
        assert ended.code == -signal.SIGTERM, ended
        assert (ended.err == "") or is_new


def require_whole(root: Path) -> None:
    """The new deployment has the last file of its last layer, and a boot entry of its own that is first."""
    (entry, *_) = sorted((root / "boot/loader/entries").iterdir(), reverse=True)
    deployment = next(path.parents[2] for path in root.glob("ostree/deploy/default/deploy/*/usr/lib/ballast-2"))
    assert (deployment / "usr/lib/version").read_text() == NEW
    link = re.search(r"ostree=/(\S+)", entry.read_text())
    assert link is not None
    assert (root / link[1]).resolve() == deployment


def require_that_it_goes_on(story: Story, root: Path) -> None:
    """The same command again succeeds, and leaves nothing that the first one began."""
    again = run(story.on(root), root.parent)
    assert again.code == 0, again.err
    require_whole(root)
    kept = sorted(path.name for path in root.glob("ostree/deploy/default/deploy/*") if path.is_dir())
    assert len(kept) == 2
    assert os.listdir(root / "ostree/repo/tmp") == ["cache"]
    assert list(root.glob("ostree/bootc/spool/*.partial")) == []
    assert [path for path in root.glob("**/.bootc-*-*") if path.name != ".bootc-aleph.json"] == []


# ---------------------------------------------------------------- SIGTERM


@pytest.mark.parametrize("moment", range(SIGTERM_MOMENTS))
def test_sigterm_at_any_moment(world: World, story: Story, tmp_path: Path, moment: int) -> None:
    with copy_mounted(world.disk, tmp_path) as root:
        before = snapshot(root)
        with unchanged(tmp_path):
            ended = run(story.on(root), tmp_path, after(story.seconds * (moment + 1) / SIGTERM_MOMENTS))
        require_all_or_nothing(ended, root, before)
        require_that_it_goes_on(story, root)


EVENTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "the first byte": lambda line: line.get("task") == "pulling",
    "the last byte": lambda line: line.get("task") == "pulling" and line["steps"] == line["stepsTotal"],
    "the image's import": lambda line: line.get("task") == "importing",
    "the deployment": lambda line: line.get("task") == "staging",
    "the finalization": lambda line: "finalizing" in str(line),
    "the cleaning": lambda line: "cleanup" in str(line),
}


@pytest.mark.parametrize("is_it", EVENTS.values(), ids=EVENTS)
def test_sigterm_at_an_event(world: World, story: Story, root: Path, is_it: Callable[[dict[str, Any]], bool]) -> None:
    before = snapshot(root)
    reader, writer = os.pipe()
    seen: list[dict[str, Any]] = []

    def disturb(process: subprocess.Popen[str]) -> None:
        os.close(writer)
        with open(reader) as lines:
            for line in map(json.loads, lines):
                if not seen and is_it(line):
                    seen.append(line)
                    process.send_signal(signal.SIGTERM)

    os.set_inheritable(writer, True)
    command = ("env", *story.on(root), "--progress-fd", str(writer))
    env = {**os.environ, "TMPDIR": str(temporary(root.parent))}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        pass_fds=(writer,),
    ) as process:
        disturb(process)
        out, err = process.communicate(timeout=120)
    assert seen, "the event never came"
    require_all_or_nothing(Run(process.returncode, out, err), root, before)
    require_that_it_goes_on(story, root)


def test_sigterm_during_an_installation(world: World, story: Story, tmp_path: Path) -> None:
    """An empty target is empty again, or has a whole system."""
    target = ("install", "to-filesystem", "--bootloader", "none", "--source-imgref", f"docker://{story.words[-1]}")
    for moment in range(1, 5):
        folder = tmp_path / str(moment)
        folder.mkdir()
        with mounted(make_disk(folder / "disk"), folder / "target") as root:
            command = (sys.executable, "-m", "bootc", "--config", str(world.config), *target, str(root))
            ended = run(command, folder, after(story.seconds * moment / 4))
            if ended.code == 0:
                assert images(root) == [NEW]
            else:
                assert os.listdir(root) == ["lost+found"]
                assert (ended.code, bool(CANCELLED.search(ended.err))) in ((1, True), (-signal.SIGTERM, False)), ended
        assert held_below(folder) == []


def test_sigterm_during_an_installation_to_a_disk(world: World, story: Story, tmp_path: Path) -> None:
    """Nothing stays attached or mounted."""
    disk = tmp_path / "disk.img"
    disk.touch()
    os.truncate(disk, 2048 * MIB)
    words = ("--filesystem", "ext4", "--via-loopback", "--wipe", "--source-imgref", f"docker://{story.words[-1]}")
    options = ("--config", str(world.config), "install", "to-disk", "--bootloader", "none", *words)
    for moment in range(1, 5):
        with unchanged(tmp_path):
            command = (sys.executable, "-m", "bootc", *options, str(disk))
            ended = run(command, tmp_path, after(story.seconds * moment / 3))
            assert ended.code in (0, 1, -signal.SIGTERM), ended


# ---------------------------------------------------------------- SIGKILL


@pytest.mark.parametrize("step", range(KILLED_AT))
def test_sigkill_before_any_step(world: World, story: Story, tmp_path: Path, step: int) -> None:
    """What strace counts are the main thread's steps, so moments lie close together where names change."""
    number = 1 + step * (story.steps - 1) // (KILLED_AT - 1)
    killer = strace(tmp_path / "log", "-e", f"inject={STEPS}:signal=SIGKILL:when={number}")
    with copy_mounted(world.disk, tmp_path) as root:
        ended = run((*killer, *story.on(root)), tmp_path)
        assert ended.code in (-signal.SIGKILL, 0), ended
        found = images(root)
        assert found in (["v1"], [NEW, "v1"])
        if found[0] == NEW:
            require_whole(root)
        require_that_it_goes_on(story, root)
        subprocess.run(["ostree", "fsck", "-q", f"--repo={root}/ostree/repo"], check=True, stdout=subprocess.DEVNULL)


def test_sigkill_leaves_no_filesystem_frozen(world: World, story: Story, tmp_path: Path) -> None:
    """Between the freezing and the thawing by which libostree brings boot entries to the disk."""
    with copy_mounted(world.disk, tmp_path) as root:
        log = tmp_path / "log"
        kill = ("-e", "trace=ioctl", "-e", "inject=ioctl:signal=SIGKILL:when=2")
        ended = run(("strace", "-f", "-P", str(root / "boot"), *kill, "-o", str(log), *story.on(root)), tmp_path)
        try:
            writing = subprocess.Popen(["touch", root / "boot/written"])
            writing.wait(20)
        finally:
            thawing = subprocess.run(["fsfreeze", "--unfreeze", root], capture_output=True)
            writing.wait()
        assert ended.code == -signal.SIGKILL
        lines = log.read_text().splitlines()  # of all threads and processes, in any order
        freezer = next(line.split()[0] for line in lines if "FIFREEZE" in line)
        own = [line for line in lines if line.split()[0] == freezer]
        assert [line.endswith(" = 0") for line in own if "FITHAW" in line] == [False], own
        assert "killed by SIGKILL" in own[-1], own
        assert thawing.returncode == 1, "it was thawed before"
        (root / "boot/written").unlink()
        require_that_it_goes_on(story, root)
