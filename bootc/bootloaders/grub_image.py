"""GRUB images, made by the image's own grub-mkimage in the image's own root: its modules and program fit together."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path, PurePosixPath

from bootc.errors import BootloaderError, MissingProgramError, ProgramError
from bootc.machine import Command
from bootc.platform import Platform
from bootc.storage import MenuFormat, Tree

BIOS_TARGET = "i386-pc"
_EFI_TARGETS = {"x86_64": "x86_64-efi", "aarch64": "arm64-efi", "riscv64": "riscv64-efi", "armv7l": "arm-efi"}
_MODULES = PurePosixPath("usr/lib/grub")
_MODULE_LIST = "moddep.lst"
_PROGRAMS = ("grub-mkimage", "grub2-mkimage")
_PROGRAM_FOLDERS = ("usr/bin", "usr/sbin")

_NEEDED = (
    *("part_gpt", "part_msdos", "fat", "ext2", "xfs", "btrfs"),
    *("normal", "linux", "search", "search_fs_uuid", "configfile", "test", "echo", "sleep", "boot", "minicmd"),
)
_WELCOME = ("loadenv", "true", "ls", "cat", "reboot", "halt", "all_video", "serial", "terminal")
"""for people at GRUB's prompt, where they exist; not `regexp`, which would expand * and ? in kernel arguments"""
_OF_FORMAT = {MenuFormat.SYSLINUX: "syslinuxcfg", MenuFormat.BLS: "blsuki"}
_IN_ROOT = 'set -e; root=$1; mount --bind "$2" "$root/tmp"; shift 2; exec chroot "$root" "$@" -o /tmp/image'
_OF_BIOS = ("biosdisk", "linux16")
LOADERS = ("linux", "linux16")
"""modules with the commands that load kernels"""
_COUNTING = ("loadenv", "true", *LOADERS)


def efi_target(platform: Platform) -> str:
    """GRUB's name for UEFI on this architecture. Raises BootloaderError."""
    target = _EFI_TARGETS.get(platform.machine)
    if target is None:
        raise BootloaderError("grub", f"no UEFI target for {platform.machine}")
    return target


def has(tree: Tree, target: str) -> bool:
    """Whether the image has a GRUB for this target at all."""
    return _MODULE_LIST in tree.names(_MODULES / target)


def menu_format(tree: Tree, target: str) -> MenuFormat:
    """What the image's GRUB can read: entries since 2.14 (command `blscfg`), before that a syslinux.cfg."""
    known = _known_modules(tree, target)
    for format in (MenuFormat.BLS, MenuFormat.SYSLINUX):
        if _OF_FORMAT[format] in known:
            return format
    raise BootloaderError("grub", f"the image's GRUB for {target} reads neither boot entries nor a syslinux.cfg")


def require(tree: Tree, target: str) -> None:
    """Raise BootloaderError unless the image has grub-mkimage and the modules that are needed for this target."""
    lacking = [
        name for name in _required(target, menu_format(tree, target)) if name not in _known_modules(tree, target)
    ]
    if lacking:
        raise BootloaderError("grub", f"the image's GRUB for {target} lacks modules: {', '.join(lacking)}")
    _program(tree)


def has_counting(tree: Tree, target: str) -> bool:
    """Whether the image's GRUB has what counting boots needs."""
    names = tree.names(_MODULES / target)
    return all(f"{name}.mod" in names for name in _COUNTING) and set(_COUNTING) <= _known_modules(tree, target)


def make(tree: Tree, target: str, prefix: str) -> bytes:
    """An image for this target with everything built in; it loads no module from a disk. Raises BootloaderError."""
    known = _known_modules(tree, target)
    modules = [*_required(target, menu_format(tree, target)), *(name for name in _WELCOME if name in known)]
    with tree.directory() as root, tempfile.TemporaryDirectory(prefix="bootc-grub-") as folder:
        _run(root, Path(folder), (_program(tree), "-O", target, "-p", prefix, *modules))
        return Path(folder, "image").read_bytes()


def read(tree: Tree, target: str, name: str) -> bytes:
    """A file of GRUB's directory for this target."""
    data = tree.read_optional(_MODULES / target / name)
    if data is None:
        raise BootloaderError("grub", f"the image has no {_MODULES / target / name}", _hint(target))
    return data


def _run(root: Path, folder: Path, argv: tuple[str, ...]) -> None:
    """Run a program of the image in its root, with `folder` as its /tmp: the root may be read-only, and grub-mkimage
    syncs its output, which a pipe does not allow."""
    shell = ("unshare", "--mount", "sh", "-c", _IN_ROOT, "sh", str(root), str(folder))
    try:
        Command((*shell, *argv), "run grub-mkimage of the image").run()
    except (ProgramError, MissingProgramError) as error:
        raise BootloaderError("grub", f"grub-mkimage of the image failed: {error}") from error


def _required(target: str, format: MenuFormat) -> tuple[str, ...]:
    return (*_NEEDED, _OF_FORMAT[format], *(_OF_BIOS if target == BIOS_TARGET else ()))


def _known_modules(tree: Tree, target: str) -> frozenset[str]:
    """Names in moddep.lst, `MODULE: DEPENDENCY …` on each line."""
    lines = read(tree, target, _MODULE_LIST).decode(errors="replace")
    return frozenset(re.findall(r"^([\w-]+):", lines, re.MULTILINE))


def _program(tree: Tree) -> str:
    for folder in _PROGRAM_FOLDERS:
        names = tree.names(PurePosixPath(folder))
        for program in _PROGRAMS:
            if program in names:
                return f"/{folder}/{program}"
    raise BootloaderError("grub", "the image has no grub-mkimage", "install package grub-common in it")


def _hint(target: str) -> str:
    package = "grub-pc-bin" if target == BIOS_TARGET else "grub-efi-amd64-bin (or this architecture's)"
    return f"install package {package} in the image"
