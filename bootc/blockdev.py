"""What lies below a mounted directory: its filesystem, its disk and partition table, and where the ESP is.

The disk behind a mount is found through sysfs: a partition's disk, the disks below LVM or RAID, and for a loop device
at an offset the image file itself, whose partition table is read like a disk's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from bootc.errors import FileSystemError
from bootc.machine import Command, Filesystem
from bootc.platform import ESP_TYPE

_DOS_ESP_TYPE = "ef"
_FIND = "find the disk that holds a filesystem"


@frozen
class Mount:
    """One mounted filesystem, as findmnt(8) knows it."""

    target: Path
    source: str
    """a device, or the name of something that is none"""
    type: str
    directory: str
    """which directory of the filesystem is mounted: `/`, or a subvolume"""
    is_read_only: bool
    device: str
    """major:minor"""
    uuid: str | None

    @property
    def filesystem(self) -> Filesystem:
        """What is mounted."""
        found = self.uuid or (filesystem_uuid(Path(self.source)) if self.source.startswith("/dev/") else None)
        return Filesystem(self.type, found)

    @property
    def disks(self) -> tuple[Path, ...]:
        """The whole disks (devices or image files) below; several for LVM or RAID over them."""
        node = _node(self)
        return tuple(dict.fromkeys(_disks_below(node))) if node else ()

    @property
    def is_mapped(self) -> bool:
        """Whether something lies between the filesystem and its disk: LVM, RAID, encryption."""
        node = _node(self)
        return node is not None and bool(_names(node / "slaves"))


@frozen
class Partition:
    """One line of a partition table. Sizes and places are bytes; `type` is a GUID in lower case (GPT) or hex (DOS)."""

    number: int
    type: str
    start: int
    size: int


@frozen
class PartitionTable:
    """The partition table of a disk or image file; `label` is `gpt` or `dos`."""

    disk: Path
    label: str
    partitions: tuple[Partition, ...]

    def find(self, *types: str) -> Partition | None:
        """The first partition of one of these types."""
        return next((partition for partition in self.partitions if partition.type in types), None)


@frozen
class EspLocation:
    """Where an EFI system partition is: a device or image file, and place and size in it in bytes."""

    device: Path
    offset: int
    size: int
    uuid: str | None
    """of the FAT filesystem, `ABCD-1234`"""
    mounted: Path | None = None


def mount_of(path: Path) -> Mount:
    """The mount that a path lies on. Raises FileSystemError."""
    columns = "TARGET,SOURCE,FSTYPE,FSROOT,OPTIONS,MAJ:MIN,UUID"
    argv = ("findmnt", "-J", "-v", "-o", columns, "--target", str(path))
    outcome = Command(argv, _FIND, frozenset({0, 1})).run()
    if outcome.code:
        raise FileSystemError(str(path), "not on a mounted filesystem")
    found = _first_mount(outcome.stdout)
    is_read_only = "ro" in found["options"].split(",")
    return Mount(
        Path(found["target"]),
        found["source"],
        found["fstype"],
        found["fsroot"],
        is_read_only,
        found["maj:min"],
        found["uuid"],
    )


def filesystem_uuid(device: Path, offset: int = 0, size: int | None = None) -> str | None:
    """The UUID of the filesystem in a device or file, read from the medium itself (blkid -p)."""
    return _probe(device, "UUID", offset, size)


def filesystem_type(device: Path) -> str | None:
    """The type of the filesystem in a device or file; None if there is none."""
    return _probe(device, "TYPE", 0, None)


def read_table(disk: Path) -> PartitionTable | None:
    """The partition table of a disk or image file; None if it has none."""
    outcome = Command(("sfdisk", "-J", str(disk)), "read partition tables", frozenset({0, 1})).run()
    if outcome.code:
        return None
    table = json.loads(outcome.stdout)["partitiontable"]
    unit = int(table.get("sectorsize", 512))
    partitions = (_partition(table["device"], entry, unit) for entry in table.get("partitions", ()))
    return PartitionTable(disk, table["label"], tuple(partitions))


def partition_node(disk: Path, number: int) -> Path | None:
    """The device node of a partition; None for an image file, or where the kernel does not know the partition."""
    name = disk.resolve().name
    for child in _names(Path("/sys/class/block", name)):
        if child.startswith(name) and _text(Path("/sys/class/block", child, "partition")) == str(number):
            return Path("/dev", child)
    return None


def find_esp(tables: Iterable[PartitionTable | None]) -> EspLocation | None:
    """The EFI system partition on the disks with these tables; the first one, where several have one."""
    for table in tables:
        partition = table.find(ESP_TYPE, _DOS_ESP_TYPE) if table else None
        if table and partition:
            return esp_location(table.disk, partition)
    return None


def esp_location(disk: Path, partition: Partition) -> EspLocation:
    """How to reach this EFI system partition: by its own node if there is one."""
    node = partition_node(disk, partition.number)
    if node is None:
        uuid = filesystem_uuid(disk, partition.start, partition.size)
        return EspLocation(disk, partition.start, partition.size, uuid)
    return EspLocation(node, 0, partition.size, filesystem_uuid(node), _mounted_at(node))


@contextmanager
def loop_device(file: Path, offset: int, size: int) -> Iterator[Path]:
    """A part of a device or image file as a device of its own; offset and size in bytes."""
    argv = ("losetup", "--show", "-o", str(offset), "--sizelimit", str(size), "-f", str(file))
    device = Command(argv, "use a part of a file as a device").run().text
    try:
        yield Path(device)
    finally:
        Command(("losetup", "-d", device), "release a loop device").run()


def _mounted_at(node: Path) -> Path | None:
    argv = ("findmnt", "-J", "-o", "TARGET", "-S", str(node))
    outcome = Command(argv, _FIND, frozenset({0, 1})).run()
    return None if outcome.code else Path(_first_mount(outcome.stdout)["target"])


def _first_mount(found: bytes) -> dict[str, str]:
    """What findmnt tells in JSON; names that are not UTF-8 stand in it as they are."""
    mount: dict[str, str] = json.loads(os.fsdecode(found))["filesystems"][0]
    return mount


def _probe(device: Path, tag: str, offset: int, size: int | None) -> str | None:
    limits = ("-O", str(offset), *(("-S", str(size)) if size else ())) if offset else ()
    argv = ("blkid", "-p", "-o", "value", "-s", tag, *limits, str(device))
    return Command(argv, "identify filesystems", frozenset({0, 2})).run().text or None


def _partition(device: str, entry: dict[str, Any], unit: int) -> Partition:
    number = int(str(entry["node"]).removeprefix(device).removeprefix("p"))
    return Partition(number, str(entry["type"]).lower(), int(entry["start"]) * unit, int(entry["size"]) * unit)


def _node(mount: Mount) -> Path | None:
    """The mounted device in sysfs. btrfs counts as no device by its number, /dev/root has no file: try both."""
    by_number = Path("/sys/dev/block", mount.device)
    if by_number.exists():
        return by_number.resolve()
    by_name = Path("/sys/class/block", Path(mount.source).resolve().name)
    return by_name.resolve() if mount.source.startswith("/dev/") and by_name.exists() else None


def _disks_below(node: Path) -> Iterator[Path]:
    """Whole disks below a device, given as its folder in sysfs (where `!` in a name stands for `/`)."""
    slaves = _names(node / "slaves")
    if (node / "partition").exists():
        yield from _disks_below(node.parent)
    elif slaves:
        for slave in slaves:
            yield from _disks_below((node / "slaves" / slave).resolve())
    else:
        backing = _text(node / "loop/backing_file")
        is_part = any((_text(node / "loop" / name) or "0") != "0" for name in ("offset", "sizelimit"))
        yield Path(backing) if backing and is_part else Path("/dev", node.name.replace("!", "/"))


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _text(path: Path) -> str | None:
    try:
        return os.fsdecode(path.read_bytes()).strip()
    except OSError:
        return None
