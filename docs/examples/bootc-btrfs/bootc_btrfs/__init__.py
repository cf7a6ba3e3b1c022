"""Storage backend of btrfs snapshots: each image is one, and so is each step on the way to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootc.durable import DirectoryVolume
from bootc.hookspec import BackendPlugin, Capability, Context, NoOptions, hookimpl
from bootc.storage import Backend
from bootc_btrfs.layout import LAYOUT


@hookimpl
def bootc_storage_backends() -> Sequence[BackendPlugin[Any]]:
    """Offer the backend."""
    return (
        BackendPlugin(
            name="btrfs",
            summary="read-only snapshots on btrfs",
            options=NoOptions,
            open=_open,
            probe=_probe,
            state=LAYOUT.base / "bootc",
            capabilities=frozenset({Capability.PIN, Capability.SPARE}),
            bootloaders=("systemd-boot", "none"),
            filesystems=("btrfs",),
            writes="opaque",
        ),
    )


def _open(context: Context, options: NoOptions) -> Backend:
    from bootc.roots.deployer import PinningRootDeployer
    from bootc.roots.sysroot import Sysroot
    from bootc_btrfs.images import BtrfsImages
    from bootc_btrfs.store import BtrfsStore

    sysroot = Sysroot(context.machine, LAYOUT)
    images = BtrfsImages(sysroot.volume)
    return Backend(BtrfsStore(context, sysroot, images), PinningRootDeployer(sysroot, images))


def _probe(sysroot: DirectoryVolume) -> bool:
    return sysroot.exists(LAYOUT.state)
