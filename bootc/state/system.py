"""`system.json`: how a sysroot was installed, and which versions of this tool may change it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from attrs import field, frozen

from bootc import __version__
from bootc.durable import Volume
from bootc.errors import StateError
from bootc.machine import Firmware
from bootc.state import records

FILE = "system.json"

_READ_ONLY_COMPATIBLE: frozenset[str] = frozenset()
_INCOMPATIBLE: frozenset[str] = frozenset()
_NEWER = "use the newer version of bootc that wrote it"
_DAMAGED = "move the file away; without it, commands that change the system need --bootloader NAME"


@frozen
class Features:
    """What the records on a sysroot make use of, by what a version that does not know it may still do."""

    compatible: tuple[str, ...] = ()
    """everything"""
    read_only_compatible: tuple[str, ...] = ()
    """read"""
    incompatible: tuple[str, ...] = ()
    """nothing"""


@frozen(kw_only=True)
class System:
    """How a sysroot was installed."""

    backend: str
    bootloader: str
    firmware: frozenset[Firmware]
    stateroot: str
    created: str = field(factory=lambda: now())
    """RFC 3339"""
    version: str = __version__
    """of the bootc that installed it"""
    features: Features = Features()
    unknown: Mapping[str, object] = field(factory=dict)
    """keys that a newer version wrote; kept when this version writes"""


def now() -> str:
    """The time in RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read_system(volume: Volume, directory: PurePosixPath) -> System | None:
    """The record in this directory, None if there is none. StateError if it is damaged or from a newer format."""
    path = directory / FILE
    document = records.read(volume, path, _DAMAGED)
    if document is None:
        return None
    features = _features(records.table(document, "format", path, _DAMAGED), path)
    unknown = sorted(set(features.incompatible) - _INCOMPATIBLE)
    if unknown:
        raise StateError(str(path), f"uses what this version does not know: {', '.join(unknown)}", _NEWER)
    known = ("backend", "bootloader", "firmware", "stateroot", "created", "version", "format")
    return System(
        **{
            key: records.text(document, key, path, _DAMAGED)
            for key in ("backend", "bootloader", "stateroot", "created", "version")
        },
        firmware=_firmware(document, path),
        features=features,
        unknown={key: value for key, value in document.items() if key not in known},
    )


def write_system(volume: Volume, directory: PurePosixPath, system: System) -> None:
    """Replace the record in this directory."""
    features = system.features
    document = {
        **system.unknown,
        "format": {
            "compatible": list(features.compatible),
            "read-only-compatible": list(features.read_only_compatible),
            "incompatible": list(features.incompatible),
        },
        "backend": system.backend,
        "bootloader": system.bootloader,
        "firmware": sorted(firmware.value for firmware in system.firmware),
        "stateroot": system.stateroot,
        "created": system.created,
        "version": system.version,
    }
    records.write(volume, directory / FILE, document)


def check_writable(system: System, directory: PurePosixPath) -> None:
    """Raise StateError if this version may read but not change the sysroot."""
    unknown = sorted(set(system.features.read_only_compatible) - _READ_ONLY_COMPATIBLE)
    if unknown:
        problem = f"uses what this version can read but not write: {', '.join(unknown)}"
        raise StateError(str(directory / FILE), problem, _NEWER)


def find_system(sysroot: Volume, directories: Iterable[PurePosixPath]) -> tuple[PurePosixPath, System] | None:
    """Look for the record in the state directories of all backends. StateError if two of them have one."""
    found = []
    for directory in dict.fromkeys(directories):
        system = read_system(sysroot, directory)
        if system is not None:
            found.append((directory, system))
    if len(found) > 1:
        names = " and ".join(system.backend for _, system in found)
        hint = "remove the one whose backend does not own this system"
        raise StateError(", ".join(str(path / FILE) for path, _ in found), f"installed by {names} at once", hint)
    return found[0] if found else None


def _features(document: Mapping[str, Any], path: PurePosixPath) -> Features:
    keys = ("compatible", "read-only-compatible", "incompatible")
    return Features(*(records.texts(document, key, path, _DAMAGED) for key in keys))


def _firmware(document: Mapping[str, Any], path: PurePosixPath) -> frozenset[Firmware]:
    try:
        return frozenset(map(Firmware, records.texts(document, "firmware", path, _DAMAGED)))
    except ValueError as error:
        raise StateError(str(path), f"unknown firmware: {error}", _NEWER) from error
