"""Boot entries as libostree writes them, made the same whatever its version.

Releases before 2023.2 do not know `sysroot.bootprefix`, and those before 2023.6 put the stateroot into the names of
entries. libostree reads either form, so each step here leaves a menu that boots and that libostree can load.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from bootc.durable import DirectoryVolume
from bootc.storage import MenuFormat
from bootc_ostree.glib import GLib, OSTree

ENTRIES = PurePosixPath("boot/loader/entries")
_LOADER = PurePosixPath("loader")
_SYSLINUX = "syslinux.cfg"
_SYSLINUX_HEAD = b"TIMEOUT 30\n"
"""tenths of a second; without such a line GRUB starts the default at once and shows no menu. libostree keeps it"""
_LABEL = re.compile(rb"^(?=LABEL )", re.MULTILINE)
_KERNEL = re.compile(rb"^\s*KERNEL \S", re.MULTILINE)
_OLD_NAME = re.compile(r"(ostree-[0-9]+(?:\+[0-9-]+)?)-.+\.conf")
_OLD_PATH = re.compile(rb"^((?:linux|initrd|devicetree|fdtdir)\s+)/ostree/", re.MULTILINE)


def configure(boot: DirectoryVolume, repo: OSTree.Repo, menu_format: MenuFormat) -> None:
    """Tell libostree how to write the menu, and prepare what its syslinux backend wants to find."""
    config = repo.copy_config()
    wanted = {
        "bootloader": "syslinux" if menu_format is MenuFormat.SYSLINUX else "none",
        "bootprefix": "true",
        "readonly": "true",
    }
    if any(_value(config, key) != value for key, value in wanted.items()):
        for key, value in wanted.items():
            config.set_string("sysroot", key, value)
        repo.write_config(config)
    if menu_format is MenuFormat.SYSLINUX:
        _prepare_syslinux(boot)


def mend_syslinux(boot: DirectoryVolume) -> None:
    """Leave nothing in syslinux.cfg from which libostree could not go on: it refuses labels without a kernel, and a
    file that is missing."""
    if boot.read_link(PurePosixPath("syslinux", _SYSLINUX)) is None:
        return
    path = _current(boot) / _SYSLINUX
    text = boot.read_optional(path)
    head, *labels = _LABEL.split(_SYSLINUX_HEAD if text is None else text)
    wanted = head + b"".join(filter(_KERNEL.search, labels))
    if wanted != text:
        boot.replace(path, wanted)


def normalize(boot: DirectoryVolume) -> None:
    """Give entries of an older libostree the paths and names of a current one."""
    entries = _current(boot) / "entries"
    for name in boot.names(entries):
        if not name.startswith("ostree-"):
            continue
        text = boot.read(entries / name)
        wanted = _OLD_PATH.sub(rb"\1/boot/ostree/", text)
        if wanted != text:
            boot.replace(entries / name, wanted)
        match = _OLD_NAME.fullmatch(name)
        if match:
            boot.rename(entries / name, entries / f"{match[1]}.conf")


def _value(config: GLib.KeyFile, key: str) -> str | None:
    try:
        return str(config.get_string("sysroot", key))
    except GLib.Error:
        return None


def _current(boot: DirectoryVolume) -> PurePosixPath:
    """The directory that the link `loader` leads to."""
    return PurePosixPath(PurePosixPath(boot.read_link(_LOADER) or "loader").name)


def _prepare_syslinux(boot: DirectoryVolume) -> None:
    """libostree keeps a syslinux.cfg only where it finds this link, and starts from the file that it leads to."""
    if boot.read_link(_LOADER) is None:
        boot.make_directories(PurePosixPath("loader.0"))
        boot.link("loader.0", _LOADER)
    if boot.size(_current(boot) / _SYSLINUX) is None:
        boot.replace(_current(boot) / _SYSLINUX, _SYSLINUX_HEAD)
    link, target = PurePosixPath("syslinux", _SYSLINUX), f"../loader/{_SYSLINUX}"
    if boot.read_link(link) != target:
        boot.make_directories(link.parent)
        boot.link(target, link)
