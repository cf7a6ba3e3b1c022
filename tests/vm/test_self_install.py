"""A container of the sample image installs itself to a disk, which is then looked at from outside; no machine boots.

The commands are those of docs/install.md. The container storage is a folder of the test, which the container finds at
the usual place.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests import trees
from tests.integration.sysroots import held_below, images, mounted
from tests.podman import Podman, own_storage

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.brief]

NAME = "localhost/debian-bootc:v1"
GIB = 1 << 30


@pytest.fixture
def podman(tmp_path: Path, image_layout: Path) -> Iterator[Podman]:
    """Its storage has version 1 of the sample image."""
    with own_storage(tmp_path / "containers") as found:
        found.load(image_layout, "v1", NAME)
        yield found


def in_container(podman: Podman, volume: Path, *command: str) -> str:
    """Run a command in a container as the documentation says; `volume` is there at its own path."""
    volumes = ("/dev:/dev", f"{podman.folder}:/var/lib/containers", f"{volume}:{volume}")
    shown = [word for pair in volumes for word in ("-v", pair)]
    options = ["--privileged", "--pid=host", *shown, "--security-opt", "label=type:unconfined_t"]
    return podman.run_container(*options, NAME, *command)


@frozen
class Partition:
    """Where a partition lies in a disk's file, in bytes."""

    disk: Path
    start: int
    size: int

    def read(self, size: int) -> bytes:
        """Its beginning."""
        with self.disk.open("rb") as file:
            file.seek(self.start)
            return file.read(size)

    def fat(self, *command: str) -> bytes:
        """Run a command of mtools on it."""
        argv = [command[0], "-i", f"{self.disk}@@{self.start}", *command[1:]]
        return subprocess.run(argv, check=True, capture_output=True).stdout


def partitions(disk: Path) -> dict[str, Partition]:
    """By name."""
    told = subprocess.run(["sfdisk", "-J", disk], check=True, capture_output=True).stdout
    entries = json.loads(told)["partitiontable"]["partitions"]
    return {entry["name"]: Partition(disk, entry["start"] * 512, entry["size"] * 512) for entry in entries}


def test_a_container_installs_itself(tmp_path: Path, podman: Podman, image_layout: Path) -> None:
    disk = tmp_path / "out/disk.img"
    disk.parent.mkdir()
    disk.touch()
    os.truncate(disk, 6 * GIB)
    words = ("install", "to-disk", "--via-loopback", "--filesystem", "ext4", str(disk))
    said = in_container(podman, disk.parent, "bootc", *words)
    assert said == "Bootloader: grub\nInstallation complete!\n"
    assert held_below(tmp_path / "out") == []

    found = partitions(disk)
    assert list(found) == ["BIOS-BOOT", "EFI-SYSTEM", "root"]
    check_boot_partitions(found["BIOS-BOOT"], found["EFI-SYSTEM"])
    root = found["root"]
    with mounted(disk, tmp_path / "root", f"loop,offset={root.start},sizelimit={root.size}") as sysroot:
        check_sysroot(sysroot, digest_of(image_layout, "v1"))
        with podman.flattened(NAME) as flattened:
            check_tree(sysroot, flattened)
    disk.unlink()


def digest_of(layout: Path, tag: str) -> str:
    """What a tag of an OCI layout names."""
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    return str(next(e["digest"] for e in entries if e["annotations"]["org.opencontainers.image.ref.name"] == tag))


def check_boot_partitions(bios: Partition, esp: Partition) -> None:
    """GRUB for both kinds of firmware: its image in the BIOS boot partition, and its files on the ESP."""
    assert bios.read(4096).strip(b"\0")
    names = esp.fat("mdir", "-/", "-b", "::").decode().upper().split()
    assert {"::/EFI/BOOT/BOOTX64.EFI", "::/EFI/BOOTC/GRUBX64.EFI", "::/EFI/BOOTC/GRUB.CFG"} <= set(names)
    assert esp.fat("mtype", "::/EFI/BOOT/BOOTX64.EFI").startswith(b"MZ")
    assert b"/boot" in esp.fat("mtype", "::/EFI/BOOTC/GRUB.CFG")


def check_sysroot(sysroot: Path, digest: str) -> None:
    """One deployment, which follows the name by which the container was started; and our records."""
    assert images(sysroot) == ["1"]
    system = json.loads((sysroot / "ostree/bootc/system.json").read_text())
    expected = {"backend": "ostree", "bootloader": "grub", "firmware": ["bios", "uefi"], "stateroot": "default"}
    assert {key: system[key] for key in expected} == expected
    aleph = json.loads((sysroot / ".bootc-aleph.json").read_text())
    assert (aleph["digest"], aleph["target-image"], aleph["version"]) == (digest, NAME, "1")
    assert aleph["image"].startswith("containers-storage:")
    (origin,) = (sysroot / "ostree/deploy/default/deploy").glob("*.0.origin")
    assert origin.read_text() == f"[origin]\ncontainer-image-reference=ostree-unverified-registry:{NAME}\n"
    (entry,) = (sysroot / "boot/loader/entries").iterdir()
    assert "root=UUID=" in entry.read_text()


def check_tree(sysroot: Path, flattened: Path) -> None:
    """The deployment is the image, and /var too."""
    (deployment,) = (path for path in (sysroot / "ostree/deploy/default/deploy").iterdir() if path.is_dir())
    deployed = trees.of_deployment(deployment, sysroot / "ostree/deploy/default/var")
    image = trees.of_image(flattened)
    assert trees.difference(deployed, image, has_var=True) == {}
    assert trees.lost_links(deployed, image) == []
