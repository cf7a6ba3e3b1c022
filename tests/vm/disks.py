"""An installed disk seen from outside: its partitions, what its boot loader would start, and what our checks find.

The boot loaders' rules are written down here once more, on purpose: what the code believes of them is under test.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootc.blockdev import loop_device
from bootc.host.mounts import unshare_mounts

ESP, ROOT = "EFI-SYSTEM", "root"
_UNREPLAYED = {"ext4": "ro,noload", "xfs": "ro,norecovery,nouuid", "btrfs": "ro"}
"""how to mount a filesystem as a boot loader reads it, which knows no journal"""
_NAME = re.compile(r"(?P<stem>.+?)(?:\+(?P<left>\d+)(?:-\d+)?)?\.conf")


@dataclass(frozen=True)
class Started:
    """What a boot loader would start by default: SHA-256 of kernel and initramfs, and the kernel's arguments."""

    kernel: str
    initramfs: str
    options: str

    def value(self, key: str) -> str | None:
        """The value of an argument."""
        found = [word.partition("=")[2] for word in self.options.split() if word.startswith(f"{key}=")]
        return found[-1] if found else None


@dataclass(frozen=True)
class Disk:
    """A disk in a file, installed by `install to-disk`."""

    path: Path
    filesystem: str

    def partition(self, name: str) -> tuple[int, int]:
        """Where the partition of this name begins, and its size, in bytes."""
        told = subprocess.run(["sfdisk", "-J", self.path], check=True, capture_output=True).stdout
        (entry,) = [e for e in json.loads(told)["partitiontable"]["partitions"] if e["name"] == name]
        return int(entry["start"]) * 512, int(entry["size"]) * 512

    @contextmanager
    def mounted(self, at: Path, options: str = "rw") -> Iterator[Path]:
        """The root partition; mounting it replays the journal.

        The loop device is a new one each time. `mount -o loop` would take the one that is still there while anybody has
        it open, and fails if that is read-only and this is not to be.
        """
        at.mkdir(parents=True, exist_ok=True)
        with loop_device(self.path, *self.partition(ROOT)) as device:
            subprocess.run(["mount", "-t", self.filesystem, "-o", options, device, at], check=True)
            try:
                yield at
            finally:
                subprocess.run(["umount", at], check=True)

    def fat(self, program: str, *words: str) -> bytes:
        """Run a program of mtools on the ESP."""
        argv = [program, "-i", f"{self.path}@@{self.partition(ESP)[0]}", *words]
        return subprocess.run(argv, check=True, capture_output=True).stdout

    def default(self, bootloader: str, scratch: Path, *, is_replayed: bool = False) -> Started:
        """What would be started at power-on. No journal is replayed, unless it is said to be."""
        if bootloader == "systemd-boot":
            return self._systemd_boot()
        with self.mounted(scratch, "rw" if is_replayed else _UNREPLAYED[self.filesystem]) as root:
            return _grub(root)

    def truncate_kernel(self, scratch: Path) -> None:
        """Leave little of the kernel that GRUB would start: a disk went bad. Other names of the file keep all of it.

        GRUB itself notices. A kernel that has its headers is the firmware's to load, and that of Debian 12 hangs if it
        cannot, whatever boot loader asks.
        """
        with self.mounted(scratch) as root:
            kernel = root / _grub_keys(root)["kernel"].lstrip("/")
            data = kernel.read_bytes()
            kernel.unlink()
            kernel.write_bytes(data[:32])

    def _systemd_boot(self) -> Started:
        listed = self.fat("mdir", "-b", "::/loader/entries").decode().split()
        names = [name.rpartition("/")[2] for name in listed if name.endswith(".conf")]
        entries = {name: _keys(self.fat("mtype", f"::/loader/entries/{name}").decode()) for name in names}
        names = [name for name in names if "linux" in entries[name]]  # of others it makes no menu entry
        first = min(names, key=lambda name: _systemd_boot_order(name, entries[name]))
        files = [self.fat("mtype", f"::{entries[first][key]}") for key in ("linux", "initrd")]
        return Started(_digest(files[0]), _digest(files[1]), entries[first]["options"])


def _systemd_boot_order(name: str, keys: dict[str, str]) -> tuple[bool, str, int]:
    """Entries without tries left come last; then by sort-key; then the highest version first, ours is a number."""
    parts = _NAME.fullmatch(name)
    assert parts, name
    return parts["left"] == "0", keys["sort-key"], -int(keys["version"].partition("-")[0])


def _grub(root: Path) -> Started:
    keys = _grub_keys(root)
    files = [(root / keys[key].lstrip("/")).read_bytes() for key in ("kernel", "initrd")]
    return Started(_digest(files[0]), _digest(files[1]), keys["append"])


def _grub_keys(root: Path) -> dict[str, str]:
    """The first label of libostree's syslinux.cfg: if it has a TIMEOUT, GRUB before 2.14 makes a menu of the labels."""
    text = (root / "boot/loader/syslinux.cfg").read_text()
    assert re.search(r"^TIMEOUT [1-9]", text, flags=re.MULTILINE), text
    _, chosen, *_ = re.split(r"^LABEL ", text, flags=re.MULTILINE)
    return _keys("\n".join(line.strip() for line in chosen.splitlines()[1:]))


def _keys(text: str) -> dict[str, str]:
    lines = (line.partition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {key.lower(): value.strip() for key, _, value in lines}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keep_mounts_apart() -> None:
    """From here on, what this process mounts is seen by its children only, and it holds nothing that others mount.

    Every bootc that runs beside this one takes a copy of all mounts that it sees, and a disk stays mounted as long.
    """
    unshare_mounts()
    listed = subprocess.run(["findmnt", "-rno", "SOURCE,TARGET"], check=True, capture_output=True, text=True).stdout
    for source, _, target in (line.partition(" ") for line in listed.splitlines()):
        if source.startswith("/dev/loop"):
            subprocess.run(["umount", "--lazy", target], check=True)


def examine(sysroot: Path) -> dict[str, Any]:
    """What `tests.vm.examination` says of a mounted sysroot, in a process of its own: libraries keep files open."""
    argv = [sys.executable, "-m", "tests.vm.examination", str(sysroot)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{sysroot} cannot be examined: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
