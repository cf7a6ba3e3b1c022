"""Whether an image can be installed: its labels and architecture, the kernel in its files, and its mount points."""

from __future__ import annotations

import io
import struct
from pathlib import PurePosixPath
from typing import BinaryIO

from attrs import frozen

from bootc.errors import ImageError
from bootc.events import Notice
from bootc.image import Image
from bootc.platform import Platform
from bootc.storage import Tree

MODULES = PurePosixPath("usr/lib/modules")
MOUNT_POINTS = ("etc", "var", "sysroot")
"""what is mounted when a system boots: directories that an image must have in its root, and not as links"""
_HEADERS = 4096
"""bytes at the beginning of a kernel that hold its headers"""
_SECTION = 40
"""the size of one entry of its section table"""


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
        problem = f"image has architecture {image.architecture}; expected {platform.architecture}"
        raise ImageError(name, problem, "choose an image for this machine")
    if label is None:
        return (Notice("Image is missing label: containers.bootc", is_warning=True),)
    return () if label == "1" else (Notice(f"Unknown containers.bootc value {label}", is_warning=True),)


def find_kernel(tree: Tree, image: str) -> Kernel:
    """The one kernel of the image: `usr/lib/modules/VERSION/vmlinuz` beside `initramfs.img`. Raises ImageError.

    A truncated kernel is refused here: firmware can hang on it, where nothing counts boots any more.
    """
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
    kernel = Kernel(version, MODULES / version / "vmlinuz", MODULES / version / "initramfs.img")
    with tree.open(kernel.kernel) as file:
        beginning = file.read(_HEADERS)
        size = _end(file, len(beginning))
    if size < _described_size(beginning):
        problem = (
            f"kernel {version} is truncated: its headers describe {_described_size(beginning)} bytes, it has {size}"
        )
        raise ImageError(image, problem, "build or fetch the image again")
    return kernel


def no_mount_point(image: str, name: str) -> ImageError:
    """The error for an image that lacks one."""
    return ImageError(image, f"/{name} is no directory", "make it when building the image")


def _end(file: BinaryIO, position: int) -> int:
    """The size of a file that was read up to this position; not every backend has files in which one can jump."""
    if file.seekable():
        return file.seek(0, io.SEEK_END)
    return position + sum(map(len, iter(lambda: file.read(1 << 20), b"")))


def _described_size(beginning: bytes) -> int:
    """How long a kernel for UEFI is at least, by the section table of its EFI stub (PE format); 0 for others."""
    try:
        (header,) = struct.unpack_from("<I", beginning, 0x3C)
        signature, count, optional = struct.unpack_from("<4s2xH12xH", beginning, header)
        if beginning[:2] != b"MZ" or signature != b"PE\0\0":
            return 0
        table = header + 24 + optional
        sections = [struct.unpack_from("<II", beginning, table + n * _SECTION + 16) for n in range(count)]
        return max((size + start for size, start in sections), default=0)
    except struct.error:
        return 0
