"""A whole disk (or image file) made ready for `install to-disk`: checked, partitioned, formatted, mounted.

Nothing is written before every check has passed. Filesystems are made so that the GRUB of Debian 12 (2.06) reads them.
"""

from __future__ import annotations

import gc
import os
import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from bootc import blockdev
from bootc.blockdev import EspLocation, Partition, PartitionTable
from bootc.deployment import KernelArguments
from bootc.disk_target import require_fit
from bootc.durable import explain, flush
from bootc.errors import HostError, MissingProgramError
from bootc.machine import Command, Filesystem, Firmware
from bootc.platform import BIOS_BOOT_TYPE, ESP_TYPE, Platform, current

MOUNT_AT = Path("/run/bootc/mounts/rootfs")
MIB = 1 << 20
ESP_SIZE = 512 * MIB
MINIMUM_ROOT = 1024 * MIB
"""smallest root partition that a disk must have room for; xfs alone wants 300 MiB"""

_TABLES = 2 * MIB
"""the first MiB, and the copy of the GPT at the end"""
_ESP_MACHINES = ("x86_64", "aarch64", "riscv64", "armv7l")
_NODE_DEADLINE = 20.0
_EXT4_FEATURES = "verity,^metadata_csum_seed"
_XFS_NEWS = (("-i", "nrext64"), ("-i", "exchange"), ("-n", "parent"))
"""incompatible features that GRUB 2.06 or 2.12 does not know, and the mkfs.xfs option they belong to"""


@frozen
class Slice:
    """A partition to make; `size` in bytes, None for all that is left."""

    name: str
    type: str
    size: int | None


@frozen
class PreparedDisk:
    """A disk that is ready for a system: its root filesystem is mounted, its EFI partition formatted."""

    disk: Path
    root: Path
    filesystem: Filesystem
    esp: EspLocation | None
    kernel_arguments: KernelArguments
    """how the kernel finds the root filesystem"""


@contextmanager
def prepare(
    target: Path,
    *,
    filesystem: str,
    is_file: bool = False,
    wipe: bool = False,
    root_size: int | None = None,
    mount_at: Path = MOUNT_AT,
    platform: Platform | None = None,
) -> Iterator[PreparedDisk]:
    """Check the target, then partition, format and mount it; unmounted and released at the end, also on failure.

    `root_size` is in bytes. After a `with` block without error the root filesystem is trimmed and cleanly written.
    Raises TargetError before anything is written; ProgramError or HostError if a later step fails.
    """
    platform = platform or current()
    layout = _layout(platform, root_size)
    required = _TABLES + sum(part.size or MINIMUM_ROOT for part in layout)
    target = require_fit(target, filesystem, is_file, wipe, required)
    table = _partition(target, layout, wipe)
    if not is_file:
        _show_nodes(target)
    esp, root = table.find(ESP_TYPE), table.partitions[-1]
    if esp:
        with _device(target, esp, is_file) as device:
            _make_esp(device)
    root_uuid = str(uuid.uuid4())
    with _device(target, root, is_file) as device:
        _make_root(device, filesystem, root_uuid)
        with _mounted(device, filesystem, mount_at):
            _make_directory(mount_at / "boot/efi")
            yield PreparedDisk(
                target,
                mount_at,
                Filesystem(filesystem, root_uuid),
                blockdev.esp_location(target, esp) if esp else None,
                KernelArguments((f"root=UUID={root_uuid}", "rw")),
            )
            finish(mount_at)
    if is_file:
        flush(target, os.O_RDWR)


def firmware(platform: Platform | None = None) -> frozenset[Firmware]:
    """The ways of starting for which a disk made here has room."""
    kinds = {part.type for part in _layout(platform or current(), None)}
    found = {BIOS_BOOT_TYPE: Firmware.BIOS, ESP_TYPE: Firmware.UEFI}
    return frozenset(way for type, way in found.items() if type in kinds)


def _layout(platform: Platform, root_size: int | None) -> tuple[Slice, ...]:
    bios = (Slice("BIOS-BOOT", BIOS_BOOT_TYPE, MIB),) if platform.machine == "x86_64" else ()
    esp = (Slice("EFI-SYSTEM", ESP_TYPE, ESP_SIZE),) if platform.machine in _ESP_MACHINES else ()
    return (*bios, *esp, Slice("root", platform.root_type, root_size))


def _partition(target: Path, layout: tuple[Slice, ...], wipe: bool) -> PartitionTable:
    if wipe:
        _wipe(target)
    lines = ["label: gpt"]
    for part in layout:
        size = f"size={part.size // 1024}KiB, " if part.size else ""
        lines.append(f'{size}type={part.type}, name="{part.name}"')
    argv = ("sfdisk", "--wipe=always", "--wipe-partitions=always", str(target))
    Command(argv, "partition the disk", input="\n".join(lines).encode() + b"\n").run()
    table = blockdev.read_table(target)
    if table is None or [found.type for found in table.partitions] != [part.type for part in layout]:
        raise HostError(f"{target}: the partition table does not read back as it was written")
    return table


def _wipe(target: Path) -> None:
    table = blockdev.read_table(target)
    for partition in table.partitions if table else ():
        node = blockdev.partition_node(target, partition.number)
        if node:
            Command(("wipefs", "-a", str(node)), "erase old signatures").run()
    Command(("wipefs", "-a", str(target)), "erase old signatures").run()


def _show_nodes(disk: Path) -> None:
    """Have nodes made for new partitions. partx tells the kernel of them where it reads no GPT by itself."""
    Command(("partx", "-u", str(disk)), "tell the kernel of new partitions", frozenset({0, 1})).run()
    with suppress(MissingProgramError):  # without udev, devtmpfs makes the nodes
        Command(("udevadm", "settle", "--timeout=20"), "wait for udev", frozenset({0, 1})).run()


@contextmanager
def _device(disk: Path, partition: Partition, is_file: bool) -> Iterator[Path]:
    """A partition as a device: its own node, or a loop device over a part of the image file."""
    if not is_file:
        yield _awaited(disk, partition.number)
        return
    with blockdev.loop_device(disk, partition.start, partition.size) as device:
        yield device


def _awaited(disk: Path, number: int) -> Path:
    deadline = time.monotonic() + _NODE_DEADLINE
    while True:
        node = blockdev.partition_node(disk, number)
        if node and node.is_block_device():
            return node
        if time.monotonic() > deadline:
            raise HostError(f"{disk}: no device node for partition {number}", "is /dev the host's?")
        time.sleep(0.05)


def _make_esp(device: Path) -> None:
    """Partitions on the device are no obstacle (-I): a loop device may still show those of an earlier use."""
    argv = ("mkfs.vfat", "-I", "-F", "32", "-n", "EFI-SYSTEM", "-i", secrets.token_hex(4), str(device))
    Command(argv, "make the EFI system partition").run()


def _make_root(device: Path, type: str, root_uuid: str) -> None:
    words: tuple[str, ...]
    match type:
        case "ext4":
            words = ("-q", "-F", "-L", "root", "-U", root_uuid, "-O", _EXT4_FEATURES)
        case "xfs":
            words = ("-q", "-f", "-L", "root", "-m", f"uuid={root_uuid}", *_xfs_words())
        case _:
            words = ("-q", "-f", "-L", "root", "-U", root_uuid)
    Command((f"mkfs.{type}", *words, str(device)), "make the root filesystem").run()


def _xfs_words() -> Iterator[str]:
    """Switch off what old GRUBs refuse, as far as this mkfs knows of it: its usage text lists its options."""
    usage = Command(("mkfs.xfs",), "make the root filesystem", frozenset({0, 1})).run().stderr.decode(errors="replace")
    for flag, feature in _XFS_NEWS:
        if f"{feature}=0|1" in usage:
            yield from (flag, f"{feature}=0")


@contextmanager
def _mounted(device: Path, type: str, at: Path) -> Iterator[None]:
    _make_directory(at)
    Command(("mount", "-t", type, str(device), str(at)), "mount the root filesystem").run()
    try:
        yield
    finally:
        _unmount(at)


def _unmount(at: Path) -> None:
    """Unmount; objects that nobody uses any more, but whose descriptors are still open, are collected first.

    After a failure its traceback may keep such objects alive: then the mount goes when this process ends.
    """
    busy = Command(("umount", "-R", str(at)), "unmount the root filesystem", frozenset({0, 32})).run().code
    if busy:
        gc.collect()
        busy = Command(("umount", "-R", str(at)), "unmount the root filesystem", frozenset({0, 32})).run().code
    if busy:
        Command(("umount", "-R", "-l", str(at)), "unmount the root filesystem").run()


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, str(path)) from error


def finish(root: Path) -> None:
    """Trim a mounted filesystem, then make everything reach the disk without needing a journal: GRUB replays none.

    It is mounted read-only afterwards.
    """
    Command(("fstrim", "--quiet-unsupported", str(root)), "trim the root filesystem", frozenset({0, 1, 32, 64})).run()
    Command(("mount", "-o", "remount,ro", str(root)), "make the root filesystem read-only").run()
    Command(("fsfreeze", "-f", str(root)), "write the journal back").run()
    Command(("fsfreeze", "-u", str(root)), "write the journal back").run()
