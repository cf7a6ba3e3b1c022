"""Deployments of whole roots that the initramfs mounts by a plan, for backends without a boot tool of their own.

A backend brings a store, which keeps images, and answers for it what `Images` asks. Everything else is here: records,
with one atomic step (`records`), what is booted and staged (`sysroot`), the way to boot (`boot`), which deployments
stay (`retention`), and the deployer itself, with an /etc for each deployment, a /var for each stateroot (`deployer`).
"""

from __future__ import annotations

from bootc.roots.boot import Boot
from bootc.roots.deployer import PinningRootDeployer, RootDeployer
from bootc.roots.images import Images, ImageTree
from bootc.roots.layout import Layout, build_at, discard, name_of, number_of, whole
from bootc.roots.records import (
    DeploymentRecord,
    RootState,
    describe_image,
    described_image,
    read_record,
    write_record,
)
from bootc.roots.sysroot import Staged, Sysroot, View

__all__ = [
    "Boot",
    "DeploymentRecord",
    "ImageTree",
    "Images",
    "Layout",
    "PinningRootDeployer",
    "RootDeployer",
    "RootState",
    "Staged",
    "Sysroot",
    "View",
    "build_at",
    "describe_image",
    "described_image",
    "discard",
    "name_of",
    "number_of",
    "read_record",
    "whole",
    "write_record",
]
