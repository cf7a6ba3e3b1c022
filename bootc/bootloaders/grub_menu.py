"""What GRUB will read at power-on: the backend's boot directory, read by GRUB's rules, and compared with the menu."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bootc.bootloaders import bls
from bootc.bootloaders.bls import Keys
from bootc.deployment import BootEntry, KernelArguments
from bootc.errors import BootloaderError
from bootc.storage import MenuFormat

_NAME = "grub"
_REWRITE = "`bootc --bootloader none rollback`, and once more, has the backend write its menu anew"
_NO_LINUX = re.compile(r"\.(0|bin|bs|bss|c32|cbt|com|img)$", re.IGNORECASE)
_SPECIAL = set("{}|&;<>'")
_DIGITS = re.compile(r"(\d+)")


def read_entries(directory: Path) -> tuple[Keys, ...]:
    """Type 1 entries in the order of `blscfg`: by file name, descending, numbers within names by value."""
    names = [name for name in os.listdir(directory) if name.endswith(".conf")]
    found = (bls.parse((directory / name).read_bytes()) for name in sorted(names, key=_natural, reverse=True))
    return tuple(keys for keys in found if keys.linux)


def read_syslinux(data: bytes) -> tuple[Keys, ...]:
    """The LABELs of a syslinux.cfg, the one first that `syslinux_source` starts.

    That is the DEFAULT if there is no TIMEOUT, else (as our grub.cfg sets default=0) the first.
    """
    labels: list[dict[str, list[str]]] = []
    common: dict[str, str] = {}
    for line in data.decode(errors="replace").split("\n"):
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        key, value = key.lower(), value.strip()
        if key == "label":
            labels.append({key: [value]})
        elif labels and key in ("kernel", "linux", "initrd", "append"):
            labels[-1].setdefault("kernel" if key == "linux" else key, []).append(value)
        else:
            common[key] = value
    found = tuple(map(_keys, labels))
    if common.get("timeout", "0") != "0" or "default" not in common:
        return found
    return tuple(sorted(found, key=lambda keys: keys.title.lower() != common["default"].lower()))


def require_plain(entry: BootEntry, format: MenuFormat) -> None:
    """Raise BootloaderError if GRUB would not take this entry to the letter: it runs the options as its script."""
    try:
        text = bls.options_text(entry.options)
    except ValueError as error:
        raise BootloaderError(_NAME, f"entry {entry.deployment}: {error}", "correct the kernel arguments") from error
    special = _special(text)
    if special:
        raise BootloaderError(
            _NAME,
            f"entry {entry.deployment}: GRUB would interpret {special!r} in the kernel arguments",
            "leave out that argument, or use another bootloader",
        )
    if format is MenuFormat.SYSLINUX and _NO_LINUX.search(entry.kernel.name):
        raise BootloaderError(
            _NAME,
            f"entry {entry.deployment}: GRUB before 2.14 takes a file named {entry.kernel.name} for no Linux kernel",
            "use GRUB 2.14, or another bootloader",
        )


def require_default(found: tuple[Keys, ...], entry: BootEntry, sources: list[Path], top: Path, sysroot: Path) -> None:
    """Raise BootloaderError unless the first of `found` boots this entry.

    `sources` are the entry's kernel and initramfs images; `top` is where the paths in `found` begin.
    """
    if not found:
        raise BootloaderError(_NAME, "GRUB would find no boot entry", _REWRITE)
    first = found[0]
    paths = [top / path.lstrip("/") for path in (first.linux, *first.initrd)]
    if len(paths) != len(sources) or not all(map(_is_same_file, paths, sources)):
        raise BootloaderError(_NAME, f"GRUB would start {first.linux} by default, not {entry.kernel}", _REWRITE)
    if _resolved(first.options, sysroot) != _resolved(str(entry.options), sysroot):
        raise BootloaderError(
            _NAME, f"GRUB's default would not boot {entry.deployment}: its options are {first.options!r}", _REWRITE
        )


def root_of(options: str, sysroot: Path) -> Path | None:
    """The directory of the sysroot that one of these options leads to (`ostree=/ostree/…`); None without one."""
    links = _resolved(options, sysroot)[0]
    return next((Path(path) for _, path in sorted(links) if os.path.isdir(path)), None)


def _keys(values: dict[str, list[str]]) -> Keys:
    initrd = tuple(path for value in values.get("initrd", ()) for path in value.split(","))
    return Keys(values["label"][-1], "", values.get("kernel", [""])[-1], initrd, values.get("append", [""])[-1])


def _natural(name: str) -> list[tuple[int, str]]:
    parts = _DIGITS.split(name.removesuffix(".conf"))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _special(text: str) -> str | None:
    """The first character that GRUB's script language gives a meaning: some only outside of double quotes."""
    quoted, previous = False, " "
    for char in text:
        if char == '"':
            quoted = not quoted
        if char in "$\\" or (not quoted and (char in _SPECIAL or (char == "#" and previous == " "))):
            return char
        previous = char
    return None


def _is_same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def _resolved(options: str, sysroot: Path) -> tuple[frozenset[tuple[str, str]], tuple[str, ...]]:
    """Options that lead to a place of the sysroot, resolved, whatever links they name; and all others."""
    links, others = set(), []
    for item in KernelArguments.parse(options):
        key, _, value = item.partition("=")
        path = sysroot / value.lstrip("/")
        if value.startswith("/") and path.exists():
            links.add((key, os.path.realpath(path)))
        else:
            others.append(item)
    return frozenset(links), tuple(others)
