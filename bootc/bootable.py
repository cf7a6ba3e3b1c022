"""Whether an image can be installed: its labels and architecture, and the kernel in its files."""

from __future__ import annotations

from pathlib import PurePosixPath

from attrs import frozen

from bootc.errors import ImageError
from bootc.events import Notice
from bootc.image import Image
from bootc.platform import Platform
from bootc.storage import Tree

MODULES = PurePosixPath("usr/lib/modules")


@frozen
class Kernel:
    """The kernel of an image and its initramfs; paths are the image's."""

    version: str
    kernel: PurePosixPath
    initramfs: PurePosixPath


def check_image(image: Image, platform: Platform) -> tuple[Notice, ...]:
    """Look at labels and architecture, before anything is fetched. Raises ImageError; answers with warnings."""
    label = image.labels.get("containers.bootc")
    name = str(image.reference)
    if label is None and "ostree.bootable" not in image.labels:
        hint = "build the image with `LABEL containers.bootc 1`"
        raise ImageError(name, "target image does not have a containers.bootc or ostree.bootable label", hint)
    if image.architecture != platform.architecture:
        raise ImageError(name, f"image has architecture {image.architecture}; expected {platform.architecture}")
    if label is None:
        return (Notice("Image is missing label: containers.bootc", is_warning=True),)
    return () if label == "1" else (Notice(f"Unknown containers.bootc value {label}", is_warning=True),)


def find_kernel(tree: Tree, image: str) -> Kernel:
    """The one kernel of the image: `usr/lib/modules/VERSION/vmlinuz` beside `initramfs.img`. Raises ImageError."""
    versions = [name for name in tree.names(MODULES) if "vmlinuz" in tree.names(MODULES / name)]
    if not versions:
        hint = "install a kernel package and move the kernel to usr/lib/modules/VERSION/vmlinuz"
        raise ImageError(image, "no kernel in usr/lib/modules", hint)
    if len(versions) > 1:
        raise ImageError(image, f"more than one kernel: {', '.join(versions)}", "remove all but one from the image")
    version = versions[0]
    if any(not char.isprintable() or char.isspace() for char in version):
        raise ImageError(image, f"kernel version {version!r} cannot stand in a boot entry")
    if "initramfs.img" not in tree.names(MODULES / version):
        hint = f"generate usr/lib/modules/{version}/initramfs.img when building the image"
        raise ImageError(image, f"kernel {version} has no initramfs.img beside it", hint)
    return Kernel(version, MODULES / version / "vmlinuz", MODULES / version / "initramfs.img")
