"""What starts a deployment: its boot entry, its mount plan, and what the image must have for both."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import PurePosixPath

from attrs import frozen

from bootc import bootable
from bootc.deployment import BootEntry, KernelArguments
from bootc.errors import ImageError
from bootc.host import KERNEL_ARGUMENT
from bootc.image import Digest, ImportedImage
from bootc.system.initramfs import PLAN_ARGUMENT, MountPlan, require_support
from bootc_dirimage.layout import DEPLOYMENTS, ETC, MOUNTS, SLOTS, TREE, VAR
from bootc_dirimage.records import DeploymentRecord
from bootc_dirimage.tree import SlotTree

OWN_ARGUMENTS = (KERNEL_ARGUMENT, PLAN_ARGUMENT)

_OS_RELEASE = (PurePosixPath("usr/lib/os-release"), PurePosixPath("etc/os-release"))
_CHUNK = 1 << 20


@frozen
class Boot:
    """What is recorded of an image's way to boot."""

    title: str
    version: str
    kernel: PurePosixPath
    initramfs: PurePosixPath
    digest: Digest
    """SHA-256 over kernel, then initramfs"""

    @classmethod
    def of(cls, tree: SlotTree, image: ImportedImage, reference: str) -> Boot:
        """Look at an image. Raises ImageError if it could not be booted by this backend."""
        kernel = bootable.find_kernel(tree, reference)
        require_support(tree, reference)
        for name in ("etc", "var", "sysroot"):
            if tree.resolve_optional(PurePosixPath(name)) != PurePosixPath(name):
                raise ImageError(reference, f"/{name} is no directory", "make it when building the image")
        files = (tree.resolve(kernel.kernel), tree.resolve(kernel.initramfs))
        version = image.version
        name = _system_name(tree)
        label = f"{name} {version}" if version and version not in name else name
        short = image.digest.short
        return cls(_line(f"{label} ({short})"), _line(version or image.created or short), *files, digest(tree, files))


def digest(tree: SlotTree, files: tuple[PurePosixPath, ...]) -> Digest:
    """SHA-256 over the content of these files, one after the other."""
    measured = hashlib.sha256()
    for path in files:
        with tree.open(path) as file:
            while piece := file.read(_CHUNK):
                measured.update(piece)
    return Digest("sha256", measured.hexdigest())


def entry(record: DeploymentRecord) -> BootEntry:
    """The line of the boot menu."""
    tree = SLOTS / record.slot / TREE
    own = (f"{KERNEL_ARGUMENT}={record.id}", f"{PLAN_ARGUMENT}={DEPLOYMENTS / record.id / MOUNTS}")
    return BootEntry(
        deployment=record.id,
        title=record.title,
        version=record.version,
        kernel=tree / record.kernel,
        initramfs=(tree / record.initramfs,),
        options=KernelArguments((*record.arguments, *own)),
    )


def mount_plan(record: DeploymentRecord) -> MountPlan:
    """How the initramfs puts the deployment together."""
    binds = {PurePosixPath("etc"): DEPLOYMENTS / record.id / ETC, PurePosixPath("var"): VAR / record.stateroot}
    return MountPlan(root=SLOTS / record.slot / TREE, binds=binds)


def _system_name(tree: SlotTree) -> str:
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
