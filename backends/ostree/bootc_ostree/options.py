"""What can be configured in `[backends.ostree]`."""

from __future__ import annotations

from attrs import frozen


@frozen
class OstreeOptions:
    """Options of this backend."""

    fsync: bool = True
    """false: imports are not synced; only for images of disks that are synced as a whole in the end"""
