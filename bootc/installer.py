"""`bootc install to-disk` and `to-filesystem`: what they check, in which order, before the target is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import evolve, field, frozen

from bootc import blockdev, bootable, platform, targets
from bootc.container import running_container
from bootc.disk import PreparedDisk, finish, firmware, prepare
from bootc.durable import DirectoryVolume
from bootc.errors import TargetError
from bootc.events import Notice
from bootc.fetcher import Source
from bootc.hookspec import BackendPlugin
from bootc.image import ImageReference
from bootc.install import InstallRequest, install
from bootc.machine import Filesystem, Firmware, Machine
from bootc.platform import BIOS_BOOT_TYPE
from bootc.session import Session
from bootc.targets import Replace

DEFAULT_BOOTLOADER = "grub"


@frozen(kw_only=True)
class InstallOptions:
    """What both commands can be told."""

    source: ImageReference | None = None
    """None: the image of the container in which this runs"""
    target: ImageReference | None = None
    """what upgrades follow; None: the source's name in a registry"""
    stateroot: str | None = None
    arguments: tuple[str, ...] = ()
    deleted_arguments: tuple[str, ...] = ()
    root_ssh_keys: bytes | None = None
    bootloader: str | None = None
    is_selinux_disabled: bool = False
    enforce_signature_policy: bool = False


@frozen(kw_only=True)
class DiskOptions:
    """What `to-disk` can be told beyond that."""

    is_file: bool = False
    filesystem: str | None = None
    root_size: int | None = None
    """bytes"""
    wipe: bool = False


@frozen(kw_only=True)
class FilesystemOptions:
    """What `to-filesystem` can be told beyond that."""

    replace: Replace = Replace.NONE
    root_spec: str | None = None
    """for `root=`; empty: none"""
    boot_spec: str | None = None
    skip_finalize: bool = False
    acknowledge_destructive: bool = False


@frozen
class Installed:
    """What was installed where."""

    image: str
    digest: str
    bootloader: str
    target: ImageReference


@frozen
class _Plan:
    """What is known before the target is touched."""

    session: Session
    source: Source
    options: InstallOptions
    target: ImageReference
    backend: BackendPlugin[Any] = field(kw_only=True)
    bootloader: str = field(kw_only=True)


def to_disk(session: Session, target: Path, options: InstallOptions, disk: DiskOptions) -> Installed:
    """Partition and format a disk or an image file, and install to it."""
    filesystem = disk.filesystem or session.config.install.root_filesystem
    if filesystem is None:
        hint = "give --filesystem, or set filesystem.root.type in the install configuration"
        raise TargetError(str(target), "No root filesystem specified", hint)
    with _planned(session, options) as plan:
        targets.require_backend(target, filesystem, plan.backend.name, plan.backend.filesystems)
        _require_pair(plan, Filesystem(filesystem, None), firmware())
        with prepare(
            target, filesystem=filesystem, is_file=disk.is_file, wipe=disk.wipe, root_size=disk.root_size
        ) as prepared:
            ways = _firmware(blockdev.read_table(prepared.disk), prepared.esp)
            return _install(plan, prepared.root, tuple(prepared.kernel_arguments), None, ways, prepared)


def to_filesystem(session: Session, root: Path, options: InstallOptions, target: FilesystemOptions) -> Installed:
    """Install to a mounted filesystem. An empty one is empty again after a failure."""
    targets.require_mount_point(root)
    mount = blockdev.mount_of(root)
    targets.require_filesystem(root, mount.type)
    if not target.acknowledge_destructive:
        targets.require_other_than_host(root)
    if target.replace is Replace.WIPE:
        targets.require_no_mounts(root)
    elif target.replace is Replace.NONE:
        targets.require_empty(root)
    with _planned(session, options) as plan:
        targets.require_backend(root, mount.type, plan.backend.name, plan.backend.filesystems)
        arguments = _root_arguments(root, mount, target.root_spec)
        boot_spec = _boot_spec(root, target.boot_spec)
        tables = [blockdev.read_table(disk) for disk in mount.disks]
        ways = _firmware(tables[0] if tables else None, blockdev.find_esp(tables))
        _require_pair(plan, (blockdev.mount_of(root / "boot") if boot_spec else mount).filesystem, ways)
        with _cleared(root, target.replace):
            installed = _install(plan, root, (*arguments, *_boot_arguments(boot_spec)), boot_spec, ways, None)
    if not target.skip_finalize and target.replace is not Replace.ALONGSIDE:
        for mounted in (root, *((root / "boot",) if boot_spec else ())):
            finish(mounted)
    return installed


def target_reference(session: Session, options: InstallOptions) -> ImageReference:
    """What upgrades of the new system will follow, with the signature policy that is demanded of them."""
    target = options.target or options.source or ImageReference.of(running_container().image)
    if options.enforce_signature_policy or session.config.install.enforce_container_sigpolicy:
        target = evolve(target, signature="containerPolicy")
    return target.canonical


@contextmanager
def _planned(session: Session, options: InstallOptions) -> Iterator[_Plan]:
    """Find and check the image and every part before anything is written."""
    source = options.source or running_container().source
    target = target_reference(session, options)
    bootloader = options.bootloader or session.config.settings.bootloader or session.config.install.bootloader
    if bootloader:
        session.plugins.bootloader(bootloader)
    session.new_backend()
    with session.fetcher(source) as fetcher, fetcher.resolve(source, platform.current()) as opened:
        bootable.check_image(opened.image, platform.current())
        session.report(Notice(f"Installing image: {source}"))
        session.report(Notice(f"Digest: {opened.image.digest}"))
        backend = session.new_backend(opened.image)
        chosen = bootloader or next(iter(backend.bootloaders), DEFAULT_BOOTLOADER)
        yield _Plan(session, opened, options, target, backend=backend, bootloader=chosen)


def _require_pair(plan: _Plan, filesystem: Filesystem, ways: frozenset[Firmware]) -> None:
    """Refuse what could not start, before anything is written."""
    machine = Machine(DirectoryVolume(Path("/")), PurePosixPath(), filesystem=filesystem, firmware=ways)
    plan.session.require_pair(plan.backend, plan.bootloader, machine)


def _install(
    plan: _Plan,
    root: Path,
    root_arguments: tuple[str, ...],
    boot_spec: str | None,
    ways: frozenset[Firmware],
    prepared: PreparedDisk | None,
) -> Installed:
    settings, options = plan.session.config.install, plan.options
    request = InstallRequest(
        plan.target,
        root_arguments,
        configured_arguments=settings.kargs,
        deleted_arguments=(*settings.karg_deletes, *options.deleted_arguments),
        arguments=(*options.arguments, *(("selinux=0",) if options.is_selinux_disabled else ())),
        boot_spec=boot_spec,
        root_ssh_keys=options.root_ssh_keys,
        stateroot=options.stateroot or settings.stateroot or "default",
    )
    with plan.session.installer(root, plan.backend, plan.bootloader, ways, prepared) as transaction:
        install(transaction, plan.source, request)
        plan.session.record_installation(transaction, plan.backend.name, plan.bootloader, request.stateroot)
    image = plan.source.image
    return Installed(str(image.reference), str(image.digest), plan.bootloader, plan.target)


def _firmware(table: blockdev.PartitionTable | None, esp: blockdev.EspLocation | None) -> frozenset[Firmware]:
    """Every way of starting that the first disk has room for."""
    found = {Firmware.UEFI} if esp else set()
    if table and table.find(BIOS_BOOT_TYPE):
        found.add(Firmware.BIOS)
    return frozenset(found)


def _root_arguments(root: Path, mount: blockdev.Mount, spec: str | None) -> tuple[str, ...]:
    if spec == "":
        return ("rw",)
    if spec is None and mount.uuid is None:
        raise TargetError(str(root), "No uuid for boot/root", "name the root filesystem with --root-mount-spec")
    subvolume = mount.directory.lstrip("/") if mount.type == "btrfs" else ""
    flags = (f"rootflags=subvol={subvolume}",) if subvolume else ()
    return (f"root={spec or f'UUID={mount.uuid}'}", *flags, "rw")


def _boot_spec(root: Path, spec: str | None) -> str | None:
    if spec is not None:
        return spec or None
    boot = root / "boot"
    if not os.path.ismount(boot):
        return None
    found = blockdev.mount_of(boot).filesystem
    if found.uuid is None:
        raise TargetError(str(boot), "/boot is not specified via UUID= (this is currently required)")
    return f"UUID={found.uuid}"


def _boot_arguments(spec: str | None) -> tuple[str, ...]:
    return (f"boot={spec}",) if spec else ()


@contextmanager
def _cleared(root: Path, replace: Replace) -> Iterator[None]:
    """Empty the target if asked to; what is written to an empty target goes again if the installation fails."""
    if replace is Replace.WIPE:
        targets.empty(root)
    before = targets.listing(root)
    try:
        yield
    except BaseException:
        if replace is not Replace.ALONGSIDE:
            targets.remove_new(root, before)
        raise
