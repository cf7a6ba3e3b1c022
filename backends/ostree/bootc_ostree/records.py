"""libostree's deployments as the core knows them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePosixPath

from bootc import bootable
from bootc.deployment import BootEntry, Deployment, DeploymentId, KernelArguments
from bootc.errors import ReferenceError
from bootc.image import Digest, ImportedImage
from bootc.machine import Machine
from bootc.storage import Tree
from bootc_ostree import links, metadata, origin
from bootc_ostree.glib import Gio, GLib, OSTree, file
from bootc_ostree.objects import root_of
from bootc_ostree.sysroot import directory, file_size, relative_directory
from bootc_ostree.tree import RootTree

_BOOT = PurePosixPath("boot")
_KEY = "ostree"
_OS_RELEASE = (PurePosixPath("usr/lib/os-release"), PurePosixPath("etc/os-release"))
_OS_RELEASE_LIMIT = 1 << 16


def describe(machine: Machine, repo: OSTree.Repo, deployment: OSTree.Deployment) -> Deployment:
    """One deployment, without the flags that depend on others."""
    keyfile = deployment.get_origin()
    is_foreign = origin.is_foreign(keyfile)
    image = None if is_foreign else metadata.image_of(repo, deployment.get_csum())
    options = KernelArguments.parse(_boot_config(deployment, "options") or "")
    entry = _entry(machine, repo, deployment, image, options)
    return Deployment(
        id=entry.deployment,
        stateroot=deployment.get_osname(),
        image=image,
        reference=None if is_foreign else origin.reference(keyfile),
        arguments=options.without((_KEY,)),
        boot_digest=_boot_digest(deployment),
        entry=entry,
        is_pinned=bool(deployment.is_pinned()),
        is_incompatible=is_foreign,
        details={
            "store": "ostreeContainer" if image else None,
            "ostree": {
                "stateroot": deployment.get_osname(),
                "checksum": deployment.get_csum(),
                "deploySerial": deployment.get_deployserial(),
            },
        },
    )


def identity(machine: Machine, deployment: OSTree.Deployment) -> DeploymentId:
    """`<commit>.<serial>-<time>`, the time in hex microseconds when the deployment's directory was made.

    libostree gives serials again once a deployment is gone, and other tools deploy too; the birth of the directory
    tells all of them apart, also between stateroots, and needs no record that could be lost. Filesystems that do not
    know it give the number of the inode.
    """
    attributes = "time::created,time::created-usec,unix::inode"
    name = f"{deployment.get_csum()}.{deployment.get_deployserial()}"
    try:
        path = file(directory(machine, deployment))
        found = path.query_info(attributes, Gio.FileQueryInfoFlags.NOFOLLOW_SYMLINKS, None)
    except GLib.Error:
        return DeploymentId(name)
    born = found.get_attribute_uint64("time::created") * 1_000_000 + found.get_attribute_uint32("time::created-usec")
    return DeploymentId(f"{name}-{born or found.get_attribute_uint64('unix::inode'):x}")


def expendable(present: Sequence[Deployment], stateroot: str) -> frozenset[DeploymentId]:
    """Those that go when a staged deployment of this stateroot is made the default.

    `present` is in boot order, without the staged one. What runs (or, where nothing runs, what is the default) becomes
    the rollback; pinned ones and other stateroots stay.
    """
    own = [deployment for deployment in present if deployment.stateroot == stateroot]
    rollback = next((d for d in own if d.is_booted), own[0] if own else None)
    return frozenset(d.id for d in own if d is not rollback and not (d.is_pinned or d.is_booted))


def _boot_config(deployment: OSTree.Deployment, key: str) -> str | None:
    config = deployment.get_bootconfig()
    value = config.get(key) if config else None
    return None if value is None else str(value)


def _boot_digest(deployment: OSTree.Deployment) -> Digest | None:
    try:
        return Digest.parse(f"sha256:{deployment.get_bootcsum()}")
    except ReferenceError:
        return None


def _entry(
    machine: Machine,
    repo: OSTree.Repo,
    deployment: OSTree.Deployment,
    image: ImportedImage | None,
    options: KernelArguments,
) -> BootEntry:
    tree = tree_of(repo, deployment)
    kernel, initramfs = _boot_files(machine, deployment, tree)
    version = image.version if image else None
    short = image.digest.short if image else deployment.get_csum()[:12]
    name = _system_name(tree) if tree else "Linux"
    label = f"{name} {version}" if version and version not in name else name
    return BootEntry(
        deployment=identity(machine, deployment),
        title=_line(f"{label} ({short})"),
        version=_line(version or (image and image.created) or short),
        kernel=kernel,
        initramfs=initramfs,
        options=_with_link(machine, deployment, options),
    )


def _with_link(machine: Machine, deployment: OSTree.Deployment, options: KernelArguments) -> KernelArguments:
    """The options with our own boot link; with libostree's as long as ours was not made (by other tools)."""
    if not links.exists(machine.sysroot, deployment) and options.value(_KEY):
        return options
    return options.without((_KEY,)).with_added((f"{_KEY}=/{links.path_of(deployment)}",))


def tree_of(repo: OSTree.Repo, deployment: OSTree.Deployment) -> Tree | None:
    """The tree of a deployment in the repository; None if it is not there any more."""
    try:
        return RootTree(repo, root_of(repo, deployment.get_csum()))
    except GLib.Error:
        return None


def installed_boot_files(deployment: OSTree.Deployment) -> tuple[PurePosixPath, ...]:
    """Kernel and initramfs below the sysroot, as ostree's own boot entry names them in /boot."""
    config = deployment.get_bootconfig()
    overlays = tuple(config.get_overlay_initrds() or ()) if config else ()
    names = (_boot_config(deployment, "linux"), _boot_config(deployment, "initrd"), *overlays)
    return tuple(_BOOT / name.removeprefix("/boot").lstrip("/") for name in names if name)


def own_boot_files(deployment: OSTree.Deployment, tree: Tree | None) -> tuple[PurePosixPath, ...]:
    """Kernel and initramfs below the sysroot, as they lie in the deployment itself; none if it has no kernel."""
    for version in tree.names(bootable.MODULES) if tree else ():
        folder = bootable.MODULES / version
        beside = tree.names(folder) if tree else ()
        if "vmlinuz" in beside:
            base = relative_directory(deployment) / folder
            return tuple(base / name for name in ("vmlinuz", "initramfs.img") if name in beside)
    return ()


def _boot_files(
    machine: Machine, deployment: OSTree.Deployment, tree: Tree | None
) -> tuple[PurePosixPath, tuple[PurePosixPath, ...]]:
    """Kernel and initramfs below the sysroot: in /boot once they are there, before that in the deployment."""
    files = installed_boot_files(deployment)
    if not files or not all(file_size(machine, path) for path in files):
        files = own_boot_files(deployment, tree) or files or (relative_directory(deployment) / bootable.MODULES,)
    return files[0], files[1:]


def _system_name(tree: Tree) -> str:
    for path in _OS_RELEASE:
        try:
            with tree.open(path) as stream:
                text = stream.read(_OS_RELEASE_LIMIT).decode(errors="replace")
        except FileNotFoundError:
            continue
        if name := _name_in(text):
            return name
    return "Linux"


@lru_cache(maxsize=8)
def _name_in(os_release: str) -> str:
    """The system's name, of which one command asks very often; empty if there is none."""
    values = {match[1]: match[2] for match in re.finditer(r"^([A-Z_]+)=(.*)$", os_release, re.MULTILINE)}
    return next(filter(None, (_unquoted(values.get(key, "")) for key in ("PRETTY_NAME", "NAME", "ID"))), "")


def _unquoted(value: str) -> str:
    """A value of os-release(5), which is quoted as for a shell."""
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return ""


def _line(text: str) -> str:
    """Fit for one line of a boot entry."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]
