"""Power cuts on an EFI system partition in a file, written by mtools: its log is complete, and the menu holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve

from bootc.bootloaders.systemd_boot import SystemdBoot
from bootc.deployment import BootEntry, BootMenu, DeploymentId, KernelArguments
from bootc.durable import DirectoryVolume, Observer
from bootc.esp import MtoolsVolume
from bootc.machine import Machine
from bootc.testing.power import Crash, End, Recording, crashes, power_cut, record
from bootc.testing.power_invariants import menu
from tests.boot_parts import MIB, fat_volume

A, B = PurePosixPath("loader/a.conf"), PurePosixPath("loader/LINUX")


@pytest.fixture
def esp(tmp_path: Path) -> MtoolsVolume:
    return fat_volume(tmp_path / "esp.img", 36 * MIB)


def recorded(esp: MtoolsVolume, scenario: Callable[[MtoolsVolume], None]) -> Recording:
    def observed(observer: Observer) -> None:
        scenario(MtoolsVolume(esp.device, esp.offset, observer=observer))

    return record({"esp": esp}, observed)


def names(crash: Crash) -> dict[str, bytes]:
    """Files below `loader`; temporary ones are `*`."""
    held = crash.contents["esp"]
    files = {PurePosixPath(path).name: held.inodes[n].data for path, n in held.walk() if path.startswith("loader/")}
    return {"*" if name.startswith(".bootc-tmp-") else name: data for name, data in files.items()}


def test_the_replay_of_all_steps_makes_what_is_in_the_file(esp: MtoolsVolume) -> None:
    def scenario(volume: MtoolsVolume) -> None:
        volume.make_directories(A.parent)
        for data in (b"one", b"two" * 99999):
            volume.replace(A, data)
        volume.replace(B, b"kernel")
        volume.rename(A, PurePosixPath("loader/a-much-longer-name-than-it-had.conf"))
        volume.remove(PurePosixPath("loader/linux"))

    assert len(recorded(esp, scenario).steps) > 20


def test_mtools_replace_may_lose_both_files(esp: MtoolsVolume) -> None:
    """As its docstring tells; so callers write under a new name what must be there at every moment."""
    esp.make_directories(A.parent)
    esp.replace(A, b"old")
    found = [names(crash) for crash in crashes(recorded(esp, lambda volume: volume.replace(A, b"new")))]

    assert {state.get("a.conf") for state in found} == {b"old", b"new", None}
    assert {"*": b"new"} in found


def test_there_is_always_a_default_with_its_kernel(esp: MtoolsVolume, tmp_path: Path) -> None:
    """From the menu with version 1 to one with version 2 as the default."""
    root = tmp_path / "root"
    root.mkdir()
    entries = [_entry(root, number) for number in ("1", "2")]
    machine = Machine(DirectoryVolume(root), PurePosixPath("bootc"), esp=esp)
    SystemdBoot(machine).write(BootMenu((entries[0],)))

    def scenario(volume: MtoolsVolume) -> None:
        SystemdBoot(evolve(machine, esp=volume)).write(BootMenu(tuple(reversed(entries))))

    seen = set()

    def check(crash: Crash, volumes: Mapping[str, Path]) -> None:
        folded = volumes["esp"] / "folded"
        folded.mkdir()
        crash.contents["esp"].folded().write(folded)
        default = menu(folded)[0]
        number = default.keys["title"]
        assert [default.content(kind) for kind in ("linux", "initrd")] == [
            f"{kind} {number}".encode() for kind in ("linux", "initrd")
        ]
        seen.add((crash.end, number))

    report = power_cut(recorded(esp, scenario), check, tmp_path)
    assert report.states > 20
    assert not report.violations, report
    assert seen == {(end, number) for end in End for number in ("1", "2")}


def _entry(root: Path, number: str) -> BootEntry:
    for kind in ("linux", "initrd"):
        (root / f"{kind}{number}").write_bytes(f"{kind} {number}".encode())
    paths = PurePosixPath(f"linux{number}"), (PurePosixPath(f"initrd{number}"),)
    return BootEntry(DeploymentId(number), number, number, *paths, KernelArguments(("quiet",)))
