"""Kernels that are not whole."""

from __future__ import annotations

import io
import struct
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

import pytest

from bootc import bootable
from bootc.errors import ImageError
from tests.boot_parts import DirectoryTree

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SECTIONS = ((512, 1024), (2048, 6144))
"""offset and size of the parts of `kernel`: 8192 bytes in all, more than is read for its headers"""


def kernel() -> bytes:
    """Headers of the PE format, and two sections."""
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    head = head.ljust(0x80, b"\0") + struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(_SECTIONS), 0, 0, 0, 16, 0)
    head += bytes(16)
    for offset, size in _SECTIONS:
        head += struct.pack("<8sIIIIIIHHI", b".text", size, 0, size, offset, 0, 0, 0, 0, 0)
    return head.ljust(8192, b"x")


class ForwardTree(DirectoryTree):
    """Its files can only be read from their beginning on."""

    def open(self, path: PurePosixPath) -> BinaryIO:
        return io.BufferedReader(_Pipe(super().open(path).read()))


class _Pipe(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return self._data.readinto(buffer)


def tree_with(folder: Path, data: bytes) -> DirectoryTree:
    """An image whose kernel is this."""
    modules = folder / "usr/lib/modules/6.1"
    modules.mkdir(parents=True)
    (modules / "vmlinuz").write_bytes(data)
    (modules / "initramfs.img").write_bytes(b"initramfs")
    return DirectoryTree(folder)


@pytest.mark.parametrize("data", [kernel(), kernel() + b"more", b"no PE", b"MZ", b"MZ".ljust(200, b"\xff"), b""])
def test_a_whole_kernel_is_found(tmp_path: Path, data: bytes) -> None:
    tree = tree_with(tmp_path, data)
    for same in (tree, ForwardTree(tmp_path)):
        assert bootable.find_kernel(same, "os").version == "6.1"


@pytest.mark.parametrize("size", [8191, 5000, 1500, 600])
def test_a_truncated_kernel_is_refused(tmp_path: Path, size: int) -> None:
    problem = f"kernel 6.1 is truncated: its headers describe 8192 bytes, it has {size}"
    tree = tree_with(tmp_path, kernel()[:size])
    for same in (tree, ForwardTree(tmp_path)):
        with pytest.raises(ImageError, match=problem):
            bootable.find_kernel(same, "os")
