"""What can be configured in `[backends.dirimage]`."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen, validators


@frozen
class DirimageOptions:
    """Options of this backend."""

    slots: int = field(default=2, validator=[validators.ge(2), validators.le(100)])
    """trees that there may be at once; with two, an import destroys the rollback"""
    share: Literal["reflink", "hardlink", "none"] = "reflink"
    """how a new tree shares files with the one before it that are wholly alike. `reflink` copies where the filesystem
    cannot; with `hardlink`, damage to one tree's file damages the other's"""
    etc: Literal["persistent", "transient"] = "persistent"
    """`transient`: changes of /etc are forgotten at reboot, and updates carry nothing over"""
