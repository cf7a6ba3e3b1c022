"""What must hold after every power cut and every kill (I1 to I7), whatever backend, scenario and way of testing.

A machine is looked at as its firmware, its bootloader and its initramfs would: from the boot menu's default to kernel,
initramfs and mount plan, to the tree and what is bound into it, and every file of these is compared with the image's.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from attrs import field, frozen

from bootc.deployment import Deployment, KernelArguments
from bootc.durable import TEMPORARY
from bootc.host import KERNEL_ARGUMENT
from bootc.machine import Machine
from bootc.status import host_document, to_json
from bootc.storage import Backend
from bootc.system.initramfs import PLAN_ARGUMENT
from bootc.testing.power_inode import Seen
from bootc.testing.power_model import Contents

_LEFTOVERS = (".partial", ".removed")
_COUNTER = re.compile(r"\+(\d+)(?:-\d+)?\.conf$")

RootReader: TypeAlias = Callable[[Path, Sequence[str], Seen], int]
"""Reads all of a root, given the physical root and the words of its line in the mount plan; equal for equal trees"""


def read_directory(sysroot: Path, words: Sequence[str], seen: Seen) -> int:
    """A root that is a directory: `root SOURCE`."""
    return Contents.scan(sysroot / words[1], seen).signature()


ROOTS: Mapping[str, RootReader] = {"root": read_directory}
"""by the word that begins the line"""


@frozen
class Version:
    """One version of the image, as a deployment of it must look."""

    name: str
    root: int
    """what a `RootReader` says of it"""
    etc: int
    """signature of the merged /etc: that of the image with the local changes"""
    kernel: bytes
    initramfs: bytes


@frozen
class Expected:
    """What a scenario knows of its machine."""

    versions: Mapping[str, Version]
    orders: frozenset[tuple[str, ...]] | None
    """which versions may be deployed, in boot order; None: any"""
    untouched: frozenset[str]
    """versions that must be offered, whole"""
    var: Mapping[str, bytes] = field(factory=dict)
    """files of /var that nobody may touch, and their content"""
    program: bytes = b""
    """the bootloader itself"""
    roots: Mapping[str, RootReader] = ROOTS


@frozen(slots=False)
class Offered:
    """An entry of the boot menu, as systemd-boot reads it."""

    file: Path
    esp: Path

    @cached_property
    def keys(self) -> dict[str, str]:
        """The last value of each key."""
        pairs = (line.partition(" ") for line in self.file.read_text().splitlines() if line[:1] not in ("", "#"))
        return {key: value.strip() for key, _, value in pairs}

    @property
    def arguments(self) -> KernelArguments:
        """The kernel command line."""
        return KernelArguments.parse(self.keys["options"])

    def content(self, key: str) -> bytes:
        """The file that a key names."""
        return (self.esp / self.keys[key].lstrip("/")).read_bytes()

    @property
    def order(self) -> tuple[object, ...]:
        """systemd-boot's: without tries left last, then sort-key, then the highest version."""
        counter = _COUNTER.search(self.file.name)
        number = int(re.split(r"[^0-9]", self.keys["version"])[0])
        return bool(counter and counter[1] == "0"), self.keys["sort-key"], -number


def menu(esp: Path) -> list[Offered]:
    """What systemd-boot offers, the default first. Two that could both be the default are an AssertionError."""
    files = sorted((esp / "loader/entries").glob("*.conf")) if (esp / "loader/entries").is_dir() else []
    found = sorted((Offered(file, esp) for file in files), key=lambda offered: offered.order)
    assert len({offered.order for offered in found}) == len(found), "I1: two boot entries have the same place"
    return found


def require(machine: Machine, backend: Backend, esp: Path, expected: Expected, seen: Seen) -> list[str]:
    """Raise AssertionError unless I1 to I3 and I5 hold now; answers with the versions that the menu offers, in order.

    `seen` spares reading what did not change since the last time.
    """
    offered = menu(esp)
    versions = [_require_bootable(machine.root, entry, expected, seen) for entry in offered]
    if versions:
        program = (esp / "EFI/BOOT/BOOTX64.EFI").read_bytes()
        assert program == expected.program, "I1: the bootloader itself is not whole"
    assert expected.untouched <= {*versions}, f"I2: offered are {versions}, and not {sorted(expected.untouched)}"
    _require_status(backend, expected)
    return versions


def require_undamaged(backend: Backend) -> None:
    """I4: the backend finds nothing wrong, when it reads all that it has."""
    for finding in (*backend.store.check(), *backend.deployer.check()):
        assert not finding.is_fatal, f"I4: {finding.subject}: {finding.message}"


def require_clean(volumes: Mapping[str, Path], expected: Mapping[str, tuple[int, int]]) -> None:
    """I6 and I7: no more files and bytes (numbers in names may be longer) than expected, and nothing half made."""
    for name, (files, size) in expected.items():
        left = list(leftovers(volumes[name]))
        assert not left, f"I7: left over in {name}: {left}"
        found = weight(volumes[name])
        assert found[0] == files, f"I6: {found[0]} files in {name} after garbage collection instead of {files}"
        assert found[1] <= size + 512, f"I6: {found[1]} bytes in {name} after garbage collection instead of {size}"


def weight(volume: Path) -> tuple[int, int]:
    """How many files and directories, and how many bytes, there are."""
    contents = Contents.scan(volume)
    return len(dict(contents.walk())), sum(len(inode.data) for inode in contents.inodes.values())


def leftovers(volume: Path) -> Iterator[str]:
    """What is half made, or half removed."""
    for here, directories, files in os.walk(volume):
        for name in (*directories, *files):
            if name.startswith(TEMPORARY) or name.endswith(_LEFTOVERS):
                yield os.path.relpath(os.path.join(here, name), volume)


def _require_bootable(sysroot: Path, offered: Offered, expected: Expected, seen: Seen) -> str:
    """I1, I2 and I5 for one entry; answers with the version that it starts."""
    arguments = offered.arguments
    plan, deployment = arguments.value(PLAN_ARGUMENT), arguments.value(KERNEL_ARGUMENT)
    assert plan, f"I1: {offered.file.name} names no mount plan"
    assert deployment, f"I1: {offered.file.name} names no deployment"
    lines = [line.split() for line in (sysroot / plan).read_text().splitlines()]
    assert [lines[0][0], lines[-1][0]] == ["bootc-mount-plan", "bind"], f"I1: {plan} is no whole mount plan"
    found = expected.roots[lines[1][0]](sysroot, lines[1], seen)
    version = next((version for version in expected.versions.values() if version.root == found), None)
    assert version, f"I1: the root of {deployment} is not that of any image"
    assert offered.content("linux") == version.kernel, f"I1: the kernel of {version.name} is another"
    assert offered.content("initrd") == version.initramfs, f"I1: the initramfs of {version.name} is another"
    binds = {target: sysroot / source for _, source, target in lines[2:]}
    etc = Contents.scan(binds["etc"], seen).signature()
    assert etc == version.etc, f"I5: /etc of {version.name} ({deployment}) is not what the merge makes"
    for name, content in expected.var.items():
        assert (binds["var"] / name).read_bytes() == content, f"I5: /var/{name} was touched"
    return version.name


def _require_status(backend: Backend, expected: Expected) -> None:
    """I3."""
    deployments = backend.deployer.deployments()
    status = json.loads(to_json(host_document(deployments)))["status"]
    assert (status["staged"] is None) == (not any(d.is_staged for d in deployments)), "I3: status of what is staged"
    order = tuple(_version(d) for d in deployments if not d.is_staged)
    if expected.orders is not None:
        assert order in expected.orders, f"I3: deployed are {order}, and not one of {sorted(expected.orders)}"


def _version(deployment: Deployment) -> str:
    return str(deployment.image and deployment.image.version)
