"""Architectures and their names: kernel's, OCI's, kargs.d's, and the partition types that go with them."""

from __future__ import annotations

import os

from attrs import frozen

from bootc.errors import HostError


@frozen
class Platform:
    """One architecture under the names that different specifications give it."""

    machine: str
    """`uname -m`"""
    architecture: str
    """OCI image specification (GOARCH)"""
    variants: tuple[str, ...]
    """OCI variants this machine runs, best first; empty where variants are not told apart"""
    kargs_name: str
    """name in `match-architectures` of kargs.d and install configuration"""
    root_type: str
    """GPT type of the root partition (Discoverable Partitions Specification)"""
    efi_suffix: str
    """as in BOOTX64.EFI; UEFI specification 3.5.1.1"""


_PLATFORMS = (
    Platform("x86_64", "amd64", (), "x86_64", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "x64"),
    Platform("aarch64", "arm64", ("v8",), "aarch64", "b921b045-1df0-41c3-af44-4c6f280d3fae", "aa64"),
    Platform("ppc64le", "ppc64le", (), "powerpc64", "c31c45e6-3f39-412e-80fb-4809c4980599", ""),
    Platform("s390x", "s390x", (), "s390x", "5eead9a9-fe09-4a1e-a1d7-520d00531306", ""),
    Platform("riscv64", "riscv64", (), "riscv64", "72ec70a6-cf74-40e6-bd49-4bda08e8f224", "riscv64"),
    Platform("armv7l", "arm", ("v7", "v6", "v5"), "arm", "69dad710-2ce4-4e3c-b16c-21a1d49abed3", "arm"),
)

ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_BOOT_TYPE = "21686148-6449-6e6f-744e-656564454649"
XBOOTLDR_TYPE = "bc13c2ff-59e6-4262-a352-b275fd6f7172"


def current() -> Platform:
    """The platform of the running kernel."""
    machine = os.uname().machine
    for platform in _PLATFORMS:
        if platform.machine == machine:
            return platform
    raise HostError(f"unsupported architecture: {machine}")
