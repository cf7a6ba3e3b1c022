"""Deployments of slots: what `bootc.roots` knows of all whole roots, and which deployments an import destroys."""

from __future__ import annotations

from bootc.deployment import DeploymentId
from bootc.roots.deployer import PinningRootDeployer, RootDeployer
from bootc.roots.images import Images
from bootc.roots.sysroot import Sysroot, View
from bootc.storage import MenuFormat
from bootc_dirimage import retention
from bootc_dirimage.layout import SLOTS
from bootc_dirimage.options import DirimageOptions


class DirimageDeployer(RootDeployer):
    """With two slots."""

    def __init__(self, sysroot: Sysroot, images: Images, options: DirimageOptions) -> None:
        super().__init__(sysroot, images, is_etc_transient=options.etc == "transient")
        self._slots = options.slots

    def initialize(self, stateroot: str, menu_format: MenuFormat) -> None:
        super().initialize(stateroot, menu_format)
        self._volume.make_directories(SLOTS)

    def expendable(self, view: View) -> frozenset[DeploymentId]:
        return retention.expendable(view, self._slots)


class SpareDeployer(DirimageDeployer, PinningRootDeployer):
    """With more slots: the rollback survives staging, and deployments can be pinned."""
