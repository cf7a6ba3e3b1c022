"""What starts a deployment: its boot entry, its mount plan, and what the image must have for both."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath

from attrs import frozen

from bootc import bootable
from bootc.deployment import BootEntry, KernelArguments
from bootc.durable import Volume
from bootc.host import KERNEL_ARGUMENT
from bootc.image import Digest, ImportedImage
from bootc.roots.images import Images, ImageTree
from bootc.roots.layout import ETC, MOUNTS, Layout
from bootc.roots.records import DeploymentRecord
from bootc.storage import Tree
from bootc.system.initramfs import IMAGE_ARGUMENT, PLAN_ARGUMENT, MountPlan, require_support

OWN_ARGUMENTS = (KERNEL_ARGUMENT, PLAN_ARGUMENT, IMAGE_ARGUMENT)

_OS_RELEASE = (PurePosixPath("usr/lib/os-release"), PurePosixPath("etc/os-release"))
_CHUNK = 1 << 20


@frozen
class Boot:
    """What is recorded of an image's way to boot."""

    title: str
    version: str
    kernel: PurePosixPath
    """paths in the image, without links"""
    initramfs: PurePosixPath

    @classmethod
    def of(
        cls, tree: ImageTree, image: ImportedImage, reference: str, version: int, programs: tuple[str, ...] = ()
    ) -> Boot:
        """Look at an image. Raises ImageError if it could not be booted with mount plans of this version, by an
        initramfs with these programs."""
        kernel = bootable.find_kernel(tree, reference)
        require_support(tree, reference, version, programs)
        for name in bootable.MOUNT_POINTS:
            if not tree.has_directory(name):
                raise bootable.no_mount_point(reference, name)
        label, short = image.version, image.digest.short
        name = _system_name(tree)
        title = f"{name} {label}" if label and label not in name else name
        files = (tree.resolve(kernel.kernel), tree.resolve(kernel.initramfs))
        return cls(_line(f"{title} ({short})"), _line(label or image.created or short), *files)


def digest(volume: Volume, files: Iterable[PurePosixPath]) -> Digest:
    """SHA-256 over the content of these files, one after the other."""
    measured = hashlib.sha256()
    for path in files:
        with volume.open(path) as file:
            while piece := file.read(_CHUNK):
                measured.update(piece)
    return Digest("sha256", measured.hexdigest())


def entry(record: DeploymentRecord, layout: Layout) -> BootEntry:
    """The line of the boot menu."""
    plan = layout.deployments / record.id / MOUNTS
    own = (f"{KERNEL_ARGUMENT}={record.id}", f"{PLAN_ARGUMENT}={plan}", *record.own_arguments)
    return BootEntry(
        deployment=record.id,
        title=record.title,
        version=record.version,
        kernel=record.kernel,
        initramfs=(record.initramfs,),
        options=KernelArguments((*record.arguments, *own)),
    )


def mount_plan(record: DeploymentRecord, layout: Layout, images: Images) -> MountPlan:
    """How the initramfs puts the deployment together."""
    etc, var = layout.deployments / record.id / ETC, layout.var / record.stateroot
    binds = {PurePosixPath("etc"): etc, PurePosixPath("var"): var}
    return MountPlan(images.root(record), binds, is_etc_transient=record.is_etc_transient)


def _system_name(tree: Tree) -> str:
    """The name that os-release(5) gives the system."""
    text = next(filter(None, map(tree.read_optional, _OS_RELEASE)), b"").decode(errors="replace")
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))
    for key in ("PRETTY_NAME", "NAME", "ID"):
        try:
            if name := " ".join(shlex.split(values.get(key, ""))):
                return name
        except ValueError:
            continue
    return "Linux"


def _line(text: str) -> str:
    """Fit for one line of a boot entry."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]
