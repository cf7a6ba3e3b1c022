"""Failures and signals on a system that runs, where updates are staged: what is staged is whole, and what was stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.booted import BootedSysroot, running_layer
from tests.integration.failing import World, error_of, switch, unchanged
from tests.integration.sysroots import MIB, copy_mounted, installed_disk, os_layers, snapshot
from tests.ostree_images import Tar
from tests.unit.cli_runs import Run

pytestmark = pytest.mark.root

MOMENTS = 4
NEW = "staged"


@pytest.fixture(scope="module")
def disk(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed disk whose system can run commands."""
    world.layout.add("booted", [*os_layers("booted"), running_layer()])
    world.layout.add(NEW, [*os_layers(NEW, ballast=2 * MIB), running_layer()])
    world.layout.add("broken", [*os_layers("broken"), Tar().add("usr/lib/modules/9.9/vmlinuz").data])
    return installed_disk(tmp_path_factory.mktemp("booted"), world.layout, "booted")


@pytest.fixture
def booted(world: World, disk: Path, tmp_path: Path) -> Iterator[BootedSysroot]:
    with copy_mounted(disk, tmp_path) as root:
        yield BootedSysroot.boot(root, tmp_path, world.layout.folder)


def slots(booted: BootedSysroot) -> dict[str, str | None]:
    """The versions in each slot, as `bootc status` tells."""
    run = booted.bootc("status", "--json")
    assert (run.code, run.err) == (0, ""), run
    status: dict[str, Any] = json.loads(run.out)["status"]
    return {name: status[name] and status[name]["image"]["version"] for name in ("staged", "booted", "rollback")}


def in_run(booted: BootedSysroot) -> dict[str, bytes]:
    """All files in /run."""
    return {str(path): path.read_bytes() for path in booted.run.rglob("*") if path.is_file()}


ONLY_BOOTED = {"staged": None, "booted": "booted", "rollback": None}
STAGED = {"staged": NEW, "booted": "booted", "rollback": None}


def test_what_was_staged_before_a_failure_stays_staged(world: World, booted: BootedSysroot) -> None:
    assert booted.bootc(*switch(world, NEW)).out.startswith("Queued for next boot: ")
    assert slots(booted) == STAGED
    before = in_run(booted)
    with unchanged(booted.folder, booted.root):
        line = error_of(booted.bootc(*switch(world, "broken")))
    assert "more than one kernel" in line
    assert (in_run(booted), slots(booted)) == (before, STAGED)


def test_nothing_is_staged_after_a_failure(world: World, booted: BootedSysroot) -> None:
    before = in_run(booted)
    with unchanged(booted.folder, booted.root):
        for tag in ("broken", "absent"):
            error_of(booted.bootc(*switch(world, tag)))
    assert (in_run(booted), slots(booted)) == (before, ONLY_BOOTED)


def test_a_full_disk_stages_nothing_and_is_given_back(world: World, booted: BootedSysroot) -> None:
    with (booted.root / "filler").open("wb") as filler:
        left = os.statvfs(booted.root)
        os.posix_fallocate(filler.fileno(), 0, left.f_bavail * left.f_frsize - 4 * MIB)
    with unchanged(booted.folder, booted.root):
        assert error_of(booted.bootc(*switch(world, NEW))).startswith("insufficient free space for ")
    assert slots(booted) == ONLY_BOOTED
    (booted.root / "filler").unlink()
    assert booted.bootc(*switch(world, NEW)).code == 0
    assert slots(booted) == STAGED


@pytest.fixture(scope="module")
def seconds(world: World, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long staging takes."""
    folder = tmp_path_factory.mktemp("seconds")
    with copy_mounted(disk, folder) as root:
        booted = BootedSysroot.boot(root, folder, world.layout.folder)
        began = time.monotonic()
        assert booted.bootc(*switch(world, NEW)).code == 0
        return time.monotonic() - began


@pytest.mark.parametrize("moment", range(1, MOMENTS + 1))
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_while_an_update_is_staged(
    world: World, booted: BootedSysroot, seconds: float, moment: int, number: signal.Signals
) -> None:
    before, before_run = snapshot(booted.root), in_run(booted)
    ended = disturbed(booted, switch(world, NEW), number, seconds * moment / MOMENTS)
    found = slots(booted)
    assert found in (STAGED, ONLY_BOOTED)
    if ended.code == 1:
        assert error_of(ended).startswith("cancelled: ")
        assert (found, snapshot(booted.root), in_run(booted)) == (ONLY_BOOTED, before, before_run)
    else:
        assert ended.code in (0, -number)
        assert ended.code != 0 or found == STAGED
    again = booted.bootc(*switch(world, NEW))
    assert (again.code, slots(booted)) == (0, STAGED), again.err


def disturbed(booted: BootedSysroot, words: tuple[str, ...], number: signal.Signals, seconds: float) -> Run:
    """Run a command, and send it a signal after some time, unless it ended before."""
    with subprocess.Popen(
        booted.command(*words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=booted.environment(),
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        out, err = process.communicate(timeout=120)
    return Run(process.returncode, out, err)
