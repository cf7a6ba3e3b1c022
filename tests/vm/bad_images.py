"""Images that do not boot, each in a way of its own, made from one that does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.vm.derived import File, Files, Images, Link

UNITS = "usr/lib/systemd/system"
FIRST = "first"
"""the tag of the image to begin with: version 1 with few tries"""
GOOD = "good"
"""the tag of the image that boots after all"""
IDLE = 10
"""seconds without use after which systemd unmounts an ESP that it mounted on demand; usually 120"""
_ALIGNMENT = 4


@dataclass(frozen=True)
class Kind:
    """A way to fail."""

    files: Callable[[Images, str], Files]
    """what the image has, for a backend"""
    reason: str = ""
    """what `bootc status` says of it; nothing where it cannot know"""
    damages_kernel: bool = False
    """the kernel is truncated on the disk, when the update is in force"""


def make_first(images: Images, tries: int, verity: str = "off") -> str:
    """The image that is installed; all others derive from it. Its digest.

    Usually no file gets fs-verity: the host, which looks at the disk, may have a kernel that cannot read such files.
    Where the ESP is mounted on demand, that ends soon.
    """
    settings = f'[bootc]\ntries = {tries}\n[backends.composefs]\nverity = "{verity}"\n'
    files = {
        "usr/lib/bootc/config.d/60-test.toml": File(settings.encode()),
        f"{UNITS}/boot.automount.d/50-test.conf": File(f"[Automount]\nTimeoutIdleSec={IDLE}\n".encode()),
    }
    return images.derive("v1", FIRST, "1", files)


def make_good(images: Images) -> str:
    """A later image that boots, with an initramfs of its own."""
    return images.derive(FIRST, GOOD, "2", _own_kernel(images, ""))


def make_bad(images: Images, name: str, backend: str) -> str:
    """An image of a kind of `KINDS`."""
    return images.derive(FIRST, name, f"bad-{name}", KINDS[name].files(images, backend))


def make_refused(images: Images, backend: str) -> dict[str, str]:
    """Images that are never staged, and what is said of them. By tags."""
    kernel = f"{images.kernel_folder(FIRST)}/vmlinuz"
    whole = images.read(FIRST, kernel)
    images.derive(FIRST, "half-kernel", "bad", {kernel: File(whole[: len(whole) // 2])})
    if backend == "ostree":
        return {"half-kernel": "is truncated"}
    images.derive(FIRST, "no-support", "bad", {"usr/lib/bootc/initramfs/.wh.version": File(b"")})
    return {"half-kernel": "is truncated", "no-support": "its initramfs cannot mount the root"}


def _init_that_exits(images: Images, backend: str) -> Files:
    return {"usr/lib/systemd/systemd": File(b"#!/bin/sh\nexit 1\n", 0o755)}


def _never_complete(images: Images, backend: str) -> Files:
    """The check has no end; waiting for it is made short: as soon as all but that is done, however slow the host is."""
    timer = b"[Unit]\nAfter=multi-user.target\n[Timer]\nOnBootSec=\nOnBootSec=40s\n"
    return {**_health_check("/usr/bin/sleep infinity"), f"{UNITS}/bootc-boot-late.timer.d/50-test.conf": File(timer)}


def _unhealthy(images: Images, backend: str) -> Files:
    return _health_check("/bin/false")


def _health_check(command: str) -> Files:
    """As our documentation says: required by boot-complete.target, and ordered before it."""
    unit = (
        f"[Unit]\nDefaultDependencies=no\nBefore=boot-complete.target\n[Service]\nType=oneshot\nExecStart={command}\n"
    )
    return {
        f"{UNITS}/test-health.service": File(unit.encode()),
        f"{UNITS}/boot-complete.target.requires/test-health.service": Link("../test-health.service"),
    }


def _no_module(images: Images, backend: str) -> Files:
    """The initramfs has no part that makes the deployment's root out of the physical one; the image says it has.

    The kernel unpacks one archive over the other, and a unit that is a link to /dev/null does not exist for systemd.
    """
    unit = "ostree-prepare-root.service" if backend == "ostree" else "bootc-root.service"
    return _longer_initramfs(images, cpio({f"{UNITS}/{unit}": "/dev/null"}))


def _own_kernel(images: Images, _backend: str) -> Files:
    """Another initramfs, though it does the same: so the boot loader gets a kernel that no other deployment starts."""
    return _longer_initramfs(images, bytes(_ALIGNMENT))


def _longer_initramfs(images: Images, more: bytes) -> Files:
    path = f"{images.kernel_folder(FIRST)}/initramfs.img"
    return {path: File(_padded(images.read(FIRST, path)) + more)}


def cpio(links: Mapping[str, str]) -> bytes:
    """An archive of symbolic links, in the format that the kernel unpacks (initramfs buffer format, "newc")."""
    members = [(name, 0o120777, target.encode()) for name, target in links.items()]
    return b"".join(_member(*member) for member in (*members, ("TRAILER!!!", 0, b"")))


def _member(name: str, mode: int, data: bytes) -> bytes:
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // _ALIGNMENT) * _ALIGNMENT, b"\0")


KINDS: Mapping[str, Kind] = {
    "unhealthy": Kind(_unhealthy, "test-health.service"),
    "never-complete": Kind(_never_complete, "test-health.service"),
    "init-exits": Kind(_init_that_exits),
    "no-module": Kind(_no_module),
    "truncated-kernel": Kind(_own_kernel, damages_kernel=True),
}
