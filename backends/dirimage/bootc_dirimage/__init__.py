"""Storage backend of plain directory trees that take turns, on any filesystem. The backend to read first.

In this order: `layout` (what lies where), `records` (what is written down), `store` and `bootc.roots.trees` (from
layers to a tree), `images` (what deployments ask of it), `retention` (which deployments make way), and `bootc.roots`:
from trees to deployments, as for every backend whose root the initramfs mounts by a plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootc.durable import DirectoryVolume
from bootc.hookspec import BackendPlugin, Capability, Context, hookimpl
from bootc.storage import Backend
from bootc_dirimage.layout import LAYOUT
from bootc_dirimage.options import DirimageOptions


@hookimpl
def bootc_storage_backends() -> Sequence[BackendPlugin[Any]]:
    """Offer the backend."""
    return (
        BackendPlugin(
            name="dirimage",
            summary="plain directory trees that take turns (A/B)",
            options=DirimageOptions,
            open=_open,
            probe=_probe,
            state=LAYOUT.base / "bootc",
            more_capabilities=_more_capabilities,
            bootloaders=("systemd-boot", "none"),
        ),
    )


def _more_capabilities(options: DirimageOptions) -> frozenset[Capability]:
    """With two slots an import destroys the rollback, and nothing could be pinned."""
    return frozenset({Capability.PIN, Capability.SPARE}) if options.slots > 2 else frozenset()


def _open(context: Context, options: DirimageOptions) -> Backend:
    from bootc.roots.sysroot import Sysroot
    from bootc_dirimage.deployer import DirimageDeployer, SpareDeployer
    from bootc_dirimage.images import SlotImages
    from bootc_dirimage.store import DirimageStore

    sysroot = Sysroot(context.machine, LAYOUT)
    deployer = SpareDeployer if Capability.PIN in _more_capabilities(options) else DirimageDeployer
    return Backend(DirimageStore(context, options, sysroot), deployer(sysroot, SlotImages(sysroot.volume), options))


def _probe(sysroot: DirectoryVolume) -> bool:
    return sysroot.exists(LAYOUT.state)
