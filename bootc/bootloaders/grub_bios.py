"""GRUB for BIOS: boot.img in the first sector, core.img in the BIOS boot partition, without grub-install.

Offsets within both images: GRUB's include/grub/i386/pc/boot.h and diskboot.S. The disk may be an image file; no
partition node is needed.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from bootc.blockdev import PartitionTable
from bootc.durable import explain
from bootc.errors import BootloaderError
from bootc.platform import BIOS_BOOT_TYPE

SECTOR = 512
_CODE = 440
"""bytes of the first sector that are code; disk signature and partition table follow"""
_CORE_SECTOR = 0x5C
_DRIVE_CHECK = 0x66
_NOPS = b"\x90\x90"
_BLOCK_LIST = 500
_CORE_SEGMENT = 0x820


def place(table: PartitionTable) -> tuple[int, int]:
    """Start and size in bytes of the BIOS boot partition. Raises BootloaderError."""
    partition = table.find(BIOS_BOOT_TYPE)
    if table.label != "gpt" or partition is None:
        raise BootloaderError("grub", f"{table.disk} has no BIOS boot partition", "create one of 1 MiB on a GPT disk")
    return partition.start, partition.size


def embed(table: PartitionTable, boot: bytes, core: bytes) -> None:
    """Write both images; core first, so that the first sector never points to something half written."""
    start, size = place(table)
    sector, padded = _patched(boot, core, start // SECTOR)
    if len(padded) > size:
        raise BootloaderError(
            "grub", f"core.img ({len(padded)} bytes) does not fit in the BIOS boot partition ({size})"
        )
    try:
        _write(table.disk, ((start, padded), (0, sector)))
    except OSError as error:
        raise explain(error, str(table.disk)) from error


def _patched(boot: bytes, core: bytes, lba: int) -> tuple[bytes, bytes]:
    """boot.img's code that loads core.img from `lba` of the drive the BIOS names, and core.img that loads its rest."""
    sector, whole = bytearray(boot[:_CODE]), bytearray(core + bytes(-len(core) % SECTOR))
    struct.pack_into("<Q", sector, _CORE_SECTOR, lba)
    sector[_DRIVE_CHECK : _DRIVE_CHECK + 2] = _NOPS
    struct.pack_into("<QHH", whole, _BLOCK_LIST, lba + 1, len(whole) // SECTOR - 1, _CORE_SEGMENT)
    return bytes(sector), bytes(whole)


def _write(disk: Path, pieces: tuple[tuple[int, bytes], ...]) -> None:
    """Write each piece that is not there yet, synced before the next; then read all of them back."""
    with disk.open("r+b", buffering=0) as file:
        for offset, data in pieces:
            if os.pread(file.fileno(), len(data), offset) != data:
                _write_all(file.fileno(), data, offset)
                os.fsync(file.fileno())
        if any(os.pread(file.fileno(), len(data), offset) != data for offset, data in pieces):
            raise BootloaderError("grub", f"{disk}: the boot sectors do not read back as they were written")


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done
