"""Storage backend composefs: contents as objects named by their fs-verity digests, and an EROFS image for each tree.

`layout` tells what lies where. `importing` makes of layers `objects`, files of entries (`layer_file`), a tree (`build`,
`tree`) and its image (`erofs`); `store` keeps them; `image_tree` and `checkout` read them back without mounting.
`deployer` and `images` are what is this backend's own in the deployments of `bootc.roots`; `repository` is what was
decided once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootc.durable import DirectoryVolume
from bootc.hookspec import BackendPlugin, Capability, Context, hookimpl
from bootc.storage import Backend
from bootc_composefs.layout import LAYOUT, REPOSITORY
from bootc_composefs.options import ComposefsOptions


@hookimpl
def bootc_storage_backends() -> Sequence[BackendPlugin[Any]]:
    """Offer the backend."""
    return (
        BackendPlugin(
            name="composefs",
            summary="EROFS images over objects that all images share, with fs-verity",
            options=ComposefsOptions,
            open=_open,
            probe=_probe,
            state=LAYOUT.base / "bootc",
            capabilities=frozenset({Capability.PIN, Capability.SPARE}),
            bootloaders=("systemd-boot", "none"),
        ),
    )


def _open(context: Context, options: ComposefsOptions) -> Backend:
    from bootc.roots.sysroot import Sysroot
    from bootc_composefs.deployer import ComposefsDeployer
    from bootc_composefs.images import ComposefsImages
    from bootc_composefs.repository import Repository
    from bootc_composefs.store import ComposefsStore

    sysroot = Sysroot(context.machine, LAYOUT)
    repository = Repository(sysroot.volume, options)
    images = ComposefsImages(sysroot, repository)
    deployer = ComposefsDeployer(sysroot, images, repository, is_etc_transient=options.etc == "transient")
    return Backend(ComposefsStore(context, sysroot, repository, images), deployer)


def _probe(sysroot: DirectoryVolume) -> bool:
    return sysroot.exists(LAYOUT.state) and sysroot.exists(REPOSITORY)
