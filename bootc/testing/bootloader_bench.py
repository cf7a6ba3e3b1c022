"""What a bootloader under test works on: a sysroot with kernels, an ESP, and a backend that keeps a boot directory."""

from __future__ import annotations

import enum
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from attrs import define, evolve, field

from bootc.bootloader import BootCounting, Bootloader
from bootc.deployment import BootEntry, BootMenu, DeploymentId, KernelArguments
from bootc.durable import DirectoryVolume, Observer, Volume
from bootc.machine import Filesystem, Machine
from bootc.storage import MenuFormat, Tree

DIRECTORY = PurePosixPath("boot/loader/entries")
KERNEL_SIZE = 40_000
"""bytes of a kernel of the suite, and of an initramfs; entries are far smaller"""

_FILESYSTEM = Filesystem("ext4", "6b8c1c8e-3f0b-4d38-9f3e-0f3a4b1d2c5e")
_PLACE = "kit"
"""the kernel argument that leads to a deployment's directory, as `ostree=` does"""


class MenuKind(enum.Enum):
    """Who keeps the entries of a menu."""

    OWN = "own"
    """the bootloader: `BootMenu.directory` is None"""
    DIRECTORY = "directory"
    """the backend, as files of the Boot Loader Specification, with `syslinux.cfg` beside them where it is read"""


class HostTree(Tree):
    """The files of this system, or below another directory, taken as an image's."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def open(self, path: PurePosixPath) -> BinaryIO:
        return (self.root / path).open("rb")

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        directory = self.root / path
        return tuple(sorted(os.listdir(directory))) if directory.is_dir() else ()

    @contextmanager
    def directory(self) -> Iterator[Path]:
        yield self.root


@define
class Bench:
    """One machine, and menus for it. What stands in the backend's directory is changed by `turn`."""

    folder: Path
    kind: MenuKind = MenuKind.OWN
    has_syslinux: bool = False
    """whether the backend's directory holds a syslinux.cfg too"""
    offered: BootMenu = field(factory=BootMenu)
    """what the backend's directory holds"""
    _marks: dict[str, tuple[str, ...]] = field(factory=dict)

    @property
    def root(self) -> Path:
        """The sysroot."""
        return self.folder / "root"

    @property
    def esp(self) -> Path:
        """The EFI system partition."""
        return self.folder / "esp"

    def machine(self, esp: Volume | None = None, observer: Observer | None = None) -> Machine:
        """As a command opens it; steps on any of its volumes are told to `observer`."""
        sysroot = DirectoryVolume(self.root, "root", observer)
        volume = esp or DirectoryVolume(self.esp, "esp", observer)
        return Machine(sysroot, PurePosixPath("state"), esp=volume, filesystem=_FILESYSTEM)

    # ------------------------------------------------------------ menus

    def entry(self, name: str, *options: str, title: str | None = None, kernel: str | None = None) -> BootEntry:
        """An entry of a deployment; its kernel, initramfs and place are on the sysroot."""
        folder = f"boot/kernel-{kernel or name}"
        for file in ("vmlinuz", "initramfs"):
            path = self.root / folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(_content(f"{path.parent.name} {file}"))
        (self.root / "deploy" / name).mkdir(parents=True, exist_ok=True)
        return BootEntry(
            DeploymentId(name),
            f"System {name}" if title is None else title,
            "1.0",
            PurePosixPath(folder, "vmlinuz"),
            (PurePosixPath(folder, "initramfs"),),
            KernelArguments((*options, *self._marks.get(name, ()), f"{_PLACE}=/deploy/{name}")),
        )

    def mark(self, name: str, bootloader: Bootloader) -> None:
        """Give a deployment the mark by which the bootloader counts its boots, if it wants one."""
        mark = bootloader.new_mark() if isinstance(bootloader, BootCounting) else None
        self._marks[name] = (mark,) if mark else ()

    def menu(self, *names: str, prepared: Sequence[str] = ()) -> BootMenu:
        """A menu of deployments with a kernel each."""
        return self.of(map(self.entry, names), map(self.entry, prepared))

    def of(
        self,
        entries: Iterator[BootEntry] | Sequence[BootEntry],
        prepared: Iterator[BootEntry] | Sequence[BootEntry] = (),
    ) -> BootMenu:
        """A menu of these entries."""
        directory = DIRECTORY if self.kind is MenuKind.DIRECTORY else None
        return BootMenu(tuple(entries), tuple(prepared), directory)

    def turn(self, menu: BootMenu) -> None:
        """What a backend does that keeps a directory: from now on it holds these entries. Nothing for other menus."""
        self.offered = menu
        if self.kind is not MenuKind.DIRECTORY:
            return
        boot = self.root / "boot"
        number = 1 - int(os.readlink(boot / "loader")[-1]) if (boot / "loader").is_symlink() else 0
        loader = boot / f"loader.{number}"
        for file in loader.rglob("*.*"):
            file.unlink()
        (loader / "entries").mkdir(parents=True, exist_ok=True)
        for rank, entry in enumerate(reversed(menu.entries), 1):
            (loader / "entries" / f"kit-{rank}.conf").write_text(_bls(entry))
        if self.has_syslinux:
            (loader / "syslinux.cfg").write_text(_syslinux(menu.entries))
        (boot / "loader.tmp").symlink_to(loader.name)
        (boot / "loader.tmp").rename(boot / "loader")

    def install(self, bootloader: Bootloader, tree: Tree) -> None:
        """Install it in the core's order: a backend that keeps a directory is told the format that will be read."""
        bootloader.check(tree)
        if self.kind is MenuKind.DIRECTORY and bootloader.menu_format is MenuFormat.SYSLINUX and not self.has_syslinux:
            self.has_syslinux = True
            self.turn(self.offered)
        bootloader.install(tree)

    def change(self, bootloader: Bootloader, menu: BootMenu, tries: int | None = None) -> None:
        """From the menu that is there to another, in the core's order: new entries are prepared, the backend's
        directory turns, the menu is published."""
        offered = bootloader.read().entries
        present = {entry.deployment for entry in offered}
        new = tuple(entry for entry in menu.entries if entry.deployment not in present)
        if new:
            bootloader.write(evolve(self.of(self.kept(offered)), prepared=new), tries)
        self.turn(menu)
        bootloader.write(menu, tries)

    def kept(self, entries: Sequence[BootEntry]) -> tuple[BootEntry, ...]:
        """Entries that were read, as they were written: of some fields a bootloader may have no record."""
        return tuple(evolve(self.entry(entry.deployment), options=entry.options) for entry in entries)

    # ------------------------------------------------------------ looking

    def files(self, esp: Path | None = None) -> dict[str, bytes]:
        """All that is on an ESP."""
        top = esp or self.esp
        return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}

    def sources(self, name: str) -> tuple[bytes, bytes]:
        """Content of a deployment's kernel and initramfs."""
        entry = self.entry(name)
        return (self.root / entry.kernel).read_bytes(), (self.root / entry.initramfs[0]).read_bytes()


def names(menu: BootMenu) -> list[str]:
    """The deployments of a menu's entries."""
    return [str(entry.deployment) for entry in menu.entries]


def _content(seed: str) -> bytes:
    return b"".join(hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(KERNEL_SIZE // 32))


def _bls(entry: BootEntry) -> str:
    lines = [f"title {entry.title}", f"version {entry.version}", f"linux /{entry.kernel}"]
    return "\n".join([*lines, *(f"initrd /{path}" for path in entry.initramfs), f"options {entry.options}", ""])


def _syslinux(entries: Sequence[BootEntry]) -> str:
    lines = [f"DEFAULT {entries[0].title} (kit:0)", ""] if entries else []
    for number, entry in enumerate(entries):
        images = ",".join(f"/{path}" for path in entry.initramfs)
        lines += [f"LABEL {entry.title} (kit:{number})", f"\tKERNEL /{entry.kernel}", f"\tINITRD {images}"]
        lines += [f"\tAPPEND {entry.options}"]
    return "\n".join([*lines, ""])
