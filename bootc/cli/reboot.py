"""Rebooting, and telling other programs that a reboot is due."""

from __future__ import annotations

import signal
from pathlib import PurePosixPath
from typing import NoReturn

from bootc.deployment import Slots
from bootc.durable import DirectoryVolume
from bootc.host import obey_again
from bootc.image import Digest
from bootc.machine import Command, Machine
from bootc.updates import Change, Update

REQUIRED = PurePosixPath("reboot-required")
"""below /run; kured and others look at it"""
_OURS = b"bootc: "


def announce(machine: Machine, update: Update) -> None:
    """Tell others whether a reboot applies this update. A sysroot that does not run concerns nobody."""
    deployment = update.deployment
    if deployment is None or deployment.image is None:
        return
    match update.change:
        case Change.LOCKED:
            _no_longer_require(machine)
        case Change.STAGED if deployment.is_locked:
            _no_longer_require(machine)
        case Change.STAGED | Change.UNLOCKED:
            _require(machine, deployment.image.digest)
        case _:
            return


def announce_rollback(machine: Machine, slots: Slots, is_undo: bool) -> None:
    """Tell others that a reboot is due for a rollback, or no longer due."""
    if is_undo:
        _no_longer_require(machine)
    elif slots.rollback and slots.rollback.image:
        _require(machine, slots.rollback.image.digest)


def _require(machine: Machine, digest: Digest) -> None:
    if machine.run:
        DirectoryVolume(machine.run).replace(REQUIRED, f"bootc: Reboot required for image: {digest}".encode())


def _no_longer_require(machine: Machine) -> None:
    """Take back what we wrote; what others wrote there stays."""
    if machine.run:
        volume = DirectoryVolume(machine.run)
        if (volume.read_optional(REQUIRED) or b"").startswith(_OURS):
            volume.remove(REQUIRED)


def reboot() -> NoReturn:
    """Ask systemd to reboot, then wait for the end: whoever called us must not go on while the machine shuts down."""
    obey_again()
    argv = ("systemd-run", "--quiet", "--", "systemctl", "reboot", "--message=Initiated by bootc")
    Command(argv, "reboot").run()
    while True:
        signal.pause()
