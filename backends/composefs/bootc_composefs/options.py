"""What can be configured in `[backends.composefs]`."""

from __future__ import annotations

from typing import Literal

from attrs import frozen


@frozen
class ComposefsOptions:
    """Options of this backend."""

    verity: Literal["auto", "require", "off"] = "auto"
    """fs-verity of objects and images. `auto`: wherever the filesystem can, and required if the system was installed
    so; `require`: also at boot, a filesystem that cannot is an error; `off`: no new file gets it, none is measured"""
    algorithm: Literal["sha256", "sha512"] = "sha256"
    """of all digests; decided when the system is installed, and not changed afterwards"""
    etc: Literal["persistent", "transient"] = "persistent"
    """`transient`: changes of /etc are forgotten at reboot, and updates carry nothing over"""
