"""composefs with fs-verity required: installed inside a guest, for this takes a kernel that has it, and then damaged.

A bit that flips in an object is an I/O error; one in the image of a new deployment is a boot that is refused, and the
old system is back. An object that the kernel holds to another digest than its name is replaced by the next update.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.servers import RegistryServer
from tests.vm import bad_images
from tests.vm.derived import Images
from tests.vm.disks import ROOT, Disk
from tests.vm.machine import VirtualMachine
from tests.vm.story import NAME, Parts, Story, Teller, closing_power, host
from tests.vm.test_bad_deployments import booted, wait_for

pytestmark = [pytest.mark.vm, pytest.mark.matrix, pytest.mark.root, pytest.mark.usefixtures("own_mounts")]

PARTS = Parts("systemd-boot", "registry", "ext4", "composefs")
REQUIRE = '[backends.composefs]\nverity = "require"\n'
BLOCK = 4096
VICTIM = "/usr/bin/less"
OTHER = "/usr/bin/lessecho"


def test_damage_is_an_error_and_a_damaged_image_falls_back(
    tmp_path: Path, image_layout: Path, registry: RegistryServer
) -> None:
    images = Images(image_layout)
    first = bad_images.make_first(images, tries=1, verity="auto")
    story = Story(tmp_path, image_layout, PARTS, Teller())
    second = tmp_path / "second.img"
    install_inside(story, registry, second)
    with closing_power(VirtualMachine(second, tmp_path / "second")) as machine:
        with story.teller.step("the second disk boots, and enforces fs-verity"):
            machine.start()
            machine.wait_up()
            assert booted(machine) == first
            assert "FsVerity: Enforced" in story.in_guest(machine, "bootc status --format humanreadable --verbose")
            assert host(machine)["status"]["booted"]["composefs"]["missingVerityAllowed"] is False
            assert "verity=require" in machine.run("findmnt -no OPTIONS /").out
            assert machine.run(f"less --version > /dev/null; echo x >> {VICTIM}", check=False).rc
        with story.teller.step("an update is staged; it replaces an object that has fs-verity of another kind"):
            digest = digest_of(machine, OTHER)
            other = f"/sysroot{object_of(digest)}"
            made = f"cp {other} {other}.new && fsverity enable --hash-alg=sha512 {other}.new"
            replaced = f"mount -o remount,bind,rw /sysroot && {made} && mv -f {other}.new {other}"
            machine.run(["unshare", "--mount", "/bin/sh", "-c", replaced])
            assert machine.run(["fsverity", "measure", other]).out.startswith("sha512:")
            bad_images.make_good(images)
            registry.push(image_layout, bad_images.GOOD, NAME)
            story.in_guest(machine, "bootc upgrade")
            assert machine.run(["fsverity", "measure", other]).out.startswith(f"sha256:{digest} ")
        with story.teller.step("one bit flips in the image of the update, and one in an object"):
            staged = host(machine)["status"]["staged"]["composefs"]
            assert staged["missingVerityAllowed"] is False
            erofs = staged["verity"]
            victim = digest_of(machine, VICTIM)
            machine.poweroff()
            for digest in (erofs, victim):
                flip_bit(second, object_of(digest))
        with story.teller.step("the update does not boot, and version 1 is back"):
            machine.start()
            wait_for(machine, first)
            assert re.search("bootc: cannot mount the root of deployment 2-.*: mount -t erofs", serial(machine))
            outcome = machine.run(f"cat {VICTIM} > /dev/null", check=False)
            assert "Input/output error" in outcome.err
            machine.poweroff()


def install_inside(story: Story, registry: RegistryServer, second: Path) -> None:
    """Install to a second disk of a guest, with fs-verity required; where it cannot be, it is refused."""
    with story.teller.step("a first disk is installed from here, and boots"):
        registry.push(story.layout, bad_images.FIRST, NAME)
        story.install(registry)
        second.touch()
        os.truncate(second, 5 << 30)
    with closing_power(VirtualMachine(story.disk, story.folder / "machine", more_disks=[second])) as machine:
        machine.start()
        machine.wait_up()
        assert "FsVerity: Not Enforced" in story.in_guest(machine, "bootc status --format humanreadable --verbose")
        machine.write_file("/etc/bootc/config.d/70-verity.toml", REQUIRE)
        install = "bootc --backend composefs install to-disk --wipe --bootloader systemd-boot"
        source = f"--source-imgref docker://10.0.2.2:{registry.port}/{NAME} /dev/vdb"
        with story.teller.step("xfs, which has no fs-verity, is refused"):
            refused = machine.run(f"{install} --filesystem xfs {source}", check=False, timeout=1800)
            assert "fs-verity is required, but" in refused.err
        with story.teller.step("ext4 has it"):
            machine.run(f"{install} --filesystem ext4 {source}", timeout=1800)
        machine.poweroff()


def digest_of(machine: VirtualMachine, path: str) -> str:
    """The fs-verity digest of a file of the guest."""
    return machine.run(["fsverity", "digest", path]).out.partition(" ")[0].removeprefix("sha256:")


def object_of(digest: str) -> str:
    """Where an object lies in the root filesystem."""
    return f"/composefs/objects/{digest[:2]}/{digest[2:]}"


def flip_bit(disk: Path, path: str) -> None:
    """Flip a bit of a file in the root filesystem, as a disk that goes bad does: below the filesystem."""
    offset, _ = Disk(disk, PARTS.filesystem).partition(ROOT)
    argv = ["debugfs", "-R", f"bmap {path} 0", f"{disk}?offset={offset}"]
    block = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    assert block, f"{path} has no blocks"
    with disk.open("r+b") as file:
        file.seek(offset + block * BLOCK + 1100)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def serial(machine: VirtualMachine) -> str:
    return machine.serial_log.read_text(errors="replace")
