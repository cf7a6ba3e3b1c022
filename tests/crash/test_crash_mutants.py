"""The campaign sees what is wrong: each of these faults, made in our own code, is a violation in some state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

import pytest

from bootc.durable import DirectoryVolume
from bootc.roots import sysroot
from bootc.steps import Steps
from tests.crash.campaign import Campaign, Thoroughness, ground
from tests.crash.kinds import KINDS
from tests.crash.scenarios import SCENARIOS

pytestmark = pytest.mark.root

Patch = pytest.MonkeyPatch


def no_fsync(patch: Patch) -> None:
    """fsync and syncfs do nothing."""
    step = DirectoryVolume._step

    def without(self: DirectoryVolume, name: str, *paths: PurePosixPath, data: bytes | None = None) -> None:
        if name not in ("fsync", "syncfs"):
            step(self, name, *paths, data=data)

    patch.setattr(DirectoryVolume, "_step", without)
    patch.setattr(os, "fsync", lambda descriptor: None)
    patch.setattr(DirectoryVolume, "sync", lambda self: None)


def no_sync_before_rename(patch: Patch) -> None:
    """What was built gets its name before it is on the disk."""
    patch.setattr(DirectoryVolume, "sync", lambda self: None)


def no_sync_of_directories(patch: Patch) -> None:
    """A new name may be lost, although others were changed because of it."""
    patch.setattr(DirectoryVolume, "_sync_directory", lambda self, path: None)


def no_narrowing(patch: Patch) -> None:
    """The menu still offers what is being destroyed."""
    patch.setattr(Steps, "narrow", Steps.publish)


def staged_on_disk(patch: Patch) -> None:
    """What is staged outlives a power cut."""
    patch.setattr(sysroot.Sysroot, "__init__", _with_marker_on_disk(sysroot.Sysroot.__init__))


def _with_marker_on_disk(init: Callable[..., None]) -> Callable[..., None]:
    def changed(self: sysroot.Sysroot, *arguments: object) -> None:
        init(self, *arguments)
        if self._run is not None:
            self._run = self.volume

    return changed


def rewritten_in_place(patch: Patch) -> None:
    """Records are written over themselves."""

    def replace(self: DirectoryVolume, path: PurePosixPath, data: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        self.remove(path)
        self._write(path, (data,) if isinstance(data, bytes) else data, mode)
        self._sync_directory(path.parent)

    patch.setattr(DirectoryVolume, "replace", replace)


MUTANTS = (
    no_fsync,
    no_sync_before_rename,
    no_sync_of_directories,
    no_narrowing,
    staged_on_disk,
    rewritten_in_place,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_campaign_notices(monkeypatch: Patch, mutant: Callable[[Patch], None]) -> None:
    (upgrade,) = (scenario for scenario in SCENARIOS if scenario.name == "upgrade")
    with ground() as folder:
        campaign = Campaign.of(KINDS[0], folder)
        mutant(monkeypatch)
        report = campaign.run(upgrade, Thoroughness(width=8, every=9, most=1))

    assert report.violations, report
