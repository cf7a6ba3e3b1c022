"""Deployments of composefs images: what `bootc.roots` knows of all whole roots, and the repository to begin with."""

from __future__ import annotations

from bootc.roots.deployer import PinningRootDeployer
from bootc.roots.images import Images
from bootc.roots.sysroot import Sysroot
from bootc.storage import MenuFormat
from bootc_composefs.layout import IMAGES
from bootc_composefs.repository import Repository


class ComposefsDeployer(PinningRootDeployer):
    """Images share what they have in common, so there may be as many deployments as one likes."""

    def __init__(
        self, sysroot: Sysroot, images: Images, repository: Repository, *, is_etc_transient: bool = False
    ) -> None:
        super().__init__(sysroot, images, is_etc_transient=is_etc_transient)
        self._repository = repository

    def initialize(self, stateroot: str, menu_format: MenuFormat) -> None:
        self._repository.initialize()
        self._volume.make_directories(IMAGES)
        super().initialize(stateroot, menu_format)
