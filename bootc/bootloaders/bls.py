"""Boot Loader Specification, type 1 entries: their text, written and read.

https://uapi-group.org/specifications/specs/boot_loader_specification/ A line is a key, white space, a value; `#` begins
a comment; readers ignore keys that they do not know. Text from an image (titles, versions) never becomes a line of its
own, and kernel arguments that would not arrive as they are meant are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from attrs import frozen

from bootc.deployment import BootEntry, DeploymentId, KernelArguments

SORT_KEY = "bootc"
_MARK = "# bootc "
_VERSION = re.compile(r"[^A-Za-z0-9.~^_+]+")


@frozen
class Keys:
    """The keys of one entry that matter for a boot, as written. Paths begin at the root of the boot filesystem."""

    title: str
    version: str
    linux: str
    initrd: tuple[str, ...]
    options: str


def parse(data: bytes) -> Keys:
    """Read an entry's keys; of a key that may stand once the last counts, `initrd` and `options` add up."""
    values: dict[str, list[str]] = {}
    for line in data.decode(errors="replace").split("\n"):
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if key and not key.startswith("#"):
            values.setdefault(key, []).append(value.strip())
    last = {key: found[-1] for key, found in values.items()}
    return Keys(
        last.get("title", ""),
        last.get("version", ""),
        last.get("linux", ""),
        tuple(values.get("initrd", ())),
        " ".join(values.get("options", ())),
    )


def render(entry: BootEntry, rank: int, linux: PurePosixPath, initrd: Sequence[PurePosixPath]) -> bytes:
    """The text of an entry file of ours. `rank` orders our entries, the highest first.

    A comment holds what the keys cannot give back to the letter. Raises ValueError if the options cannot be written.
    """
    known = {
        "deployment": entry.deployment,
        "title": entry.title,
        "version": entry.version,
        "kernel": str(entry.kernel),
        "initramfs": [str(path) for path in entry.initramfs],
    }
    version = _VERSION.sub("-", entry.version).strip("-")
    lines = [
        _MARK + json.dumps(known, sort_keys=True),
        f"title {one_line(entry.title) or 'Linux'}",
        f"sort-key {SORT_KEY}",
        f"version {rank}" + (f"-{version}" if version else ""),
        f"linux /{linux}",
        *(f"initrd /{path}" for path in initrd),
        f"options {options_text(entry.options)}",
    ]
    return "".join(line + "\n" for line in lines).encode(errors="replace")


def entry_of(data: bytes) -> BootEntry | None:
    """The entry that `render` wrote, with the options as they stand now; None if the text is not ours or damaged."""
    for line in data.decode(errors="replace").split("\n"):
        if line.startswith(_MARK):
            return _entry(line.removeprefix(_MARK), parse(data).options)
    return None


def options_text(arguments: KernelArguments) -> str:
    """The options as one line. Raises ValueError for arguments that a reader would take apart otherwise."""
    text = str(arguments)
    if any(not char.isprintable() for char in text):
        raise ValueError("a kernel argument contains control characters")
    if KernelArguments.parse(text) != arguments or text.count('"') % 2:
        raise ValueError("a kernel argument contains spaces outside of double quotes, or an open quote")
    if text.startswith('"') and text.endswith('"'):
        raise ValueError("the first and the last kernel argument are quoted; systemd-boot would take those quotes off")
    return text


def one_line(text: str) -> str:
    """Text for people on one line: control characters become spaces."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _entry(known: str, options: str) -> BootEntry | None:
    try:
        found = json.loads(known)
        return BootEntry(
            DeploymentId(str(found["deployment"])),
            str(found["title"]),
            str(found["version"]),
            PurePosixPath(found["kernel"]),
            tuple(PurePosixPath(path) for path in found["initramfs"]),
            KernelArguments.parse(options),
        )
    except (ValueError, KeyError, TypeError):
        return None
