"""The life of a machine with the composefs backend: install, upgrade, roll back, pin; what is shared, what is kept."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

import pytest
from bootc_composefs import bootc_storage_backends
from bootc_composefs.fsverity import Algorithm, digest_of
from bootc_composefs.options import ComposefsOptions
from bootc_composefs.records import path_of

from bootc.deployment import KernelArguments
from bootc.durable import DirectoryVolume
from bootc.errors import ImageError, StateError
from bootc.storage import DeployRequest, Pinning
from bootc.system.initramfs import MARKER
from tests.composefs_system import System, os_layers, registry
from tests.dirimage_system import REFERENCE, Registry
from tests.ostree_images import Tar

pytestmark = pytest.mark.root


@pytest.fixture
def system(tmp_path: Path) -> System:
    """Version 1 is installed and runs, with a local change."""
    system = System(tmp_path)
    system.install(registry("1"))
    system.boot()
    (system.etc(str(system.running)) / "mine").write_text("mine\n")
    return system


def upgraded(system: System, version: str) -> str:
    """Upgrade, shut down, boot; the deployment that runs then."""
    system.upgrade(registry(version))
    system.shut_down()
    return system.boot()


def test_what_boots_stands_in_the_entry_the_plan_and_the_status(system: System) -> None:
    booted = system.slots.booted
    assert booted
    record = system.image(booted.id)
    digest = record.erofs.digest.hex()
    assert digest_of((system.root / "composefs/objects" / digest[:2] / digest[2:]).read_bytes()).hex() == digest
    assert booted.entry.options.value("bootc.composefs") == f"?sha256-12:{digest}"
    assert booted.entry.options.value("bootc.plan") == f"composefs/deployments/{booted.id}/mounts"
    assert (system.root / f"composefs/deployments/{booted.id}/mounts").read_text().splitlines() == [
        "bootc-mount-plan 2",
        f"composefs composefs/objects/{digest[:2]}/{digest[2:]} composefs/objects sha256-12:{digest} unverified",
        f"bind composefs/deployments/{booted.id}/etc etc",
        "bind composefs/var/default var",
    ]
    assert booted.details == {
        "composefs": {
            "verity": digest,
            "bootType": "Bls",
            "bootloader": "none",
            "bootDigest": booted.boot_digest.hex if booted.boot_digest else "",
            "missingVerityAllowed": True,
        }
    }
    assert (system.root / booted.entry.kernel).read_bytes() == b"kernel 1"


def test_an_upgrade_reads_one_layer_and_writes_what_changed(system: System) -> None:
    before = {digest: path.stat().st_ino for digest, path in system.objects().items()}
    system.upgrade(Registry([*os_layers("1")[:3], Tar().add("usr/lib/new", data=b"new" * 99).data], "2"))
    assert len(system.streams.opened) == 1
    after = system.objects()
    assert {digest: after[digest].stat().st_ino for digest in before} == before
    assert len(after) == len(before) + 2, "the new file, and the new image"


def test_etc_is_merged_and_var_is_shared(system: System) -> None:
    first = str(system.running)
    (system.root / "composefs/var/default/data").write_text("data")
    second = upgraded(system, "2")
    assert second != first
    assert (system.etc(second) / "mine").read_text() == "mine\n"
    assert (system.etc(second) / "version").read_text() == "image 2\n"
    assert (system.etc(first) / "version").read_text() == "image 1\n"
    assert system.versions() == ["2", "1"]
    assert (system.root / "composefs/var/default/data").read_text() == "data"
    assert system.names("checkouts") == []
    assert system.names("incoming") == []


def test_a_rollback_and_back(system: System) -> None:
    upgraded(system, "2")
    for expected in (["1", "2"], ["2", "1"]):
        system.transaction().roll_back()
        system.boot()
        assert system.versions() == expected


def test_pinned_deployments_and_their_objects_stay(system: System) -> None:
    first = str(system.running)
    deployer = system.backend.deployer
    assert isinstance(deployer, Pinning)
    deployer.set_pinned(system.backend.deployer.deployments()[0].id, True)
    for version in ("2", "3", "4"):
        upgraded(system, version)
    assert system.versions() == ["4", "3", "1"]
    assert [f.message for f in (*system.backend.store.check(), *system.backend.deployer.check())] == []
    deployer.set_pinned(next(d.id for d in deployer.deployments() if d.id == first), False)
    upgraded(system, "5")
    assert "1" not in system.versions()
    system.transaction().collect_garbage()
    kernels = {path.read_bytes() for path in system.objects().values() if path.stat().st_size < 10}
    assert kernels == {b"kernel 4", b"kernel 5"}


def test_deployments_of_one_image_share_everything(system: System) -> None:
    system.upgrade(registry("2"))
    before = system.objects().keys()
    layers = system.names("layers")
    system.transaction().roll_back() if system.slots.rollback else system.backend.deployer.unstage()
    system.upgrade(registry("2"))
    assert system.streams.opened == []
    assert (system.objects().keys(), system.names("layers")) == (before, layers)


@pytest.mark.parametrize("marker", [b"", b"1\n", b"x\n"])
def test_an_image_whose_initramfs_is_too_old_is_refused(system: System, marker: bytes) -> None:
    layers = [*os_layers("2"), Tar().add(str(MARKER), data=marker).data]
    with pytest.raises(ImageError, match=r"version 2 is needed|cannot mount the root"):
        system.upgrade(Registry(layers, "2"))
    assert system.slots.staged is None
    assert system.versions() == ["1"]


def test_the_stamps_of_an_image_come_into_no_deployment(tmp_path: Path) -> None:
    """Otherwise units with ConditionNeedsUpdate= would not run."""
    system, stamps = System(tmp_path), Tar().add("etc/.updated").add("var/.updated").add("etc/conf.d/.updated").data
    system.install(Registry([*os_layers("1"), stamps], "1"))
    first = system.boot()
    system.upgrade(Registry([*os_layers("2"), stamps], "2"))
    system.shut_down()
    second = system.boot()
    for etc in (system.etc(first), system.etc(second)):
        assert not (etc / ".updated").exists()
        assert (etc / "conf.d/.updated").exists()
    assert not (system.root / "composefs" / "var/default/.updated").exists()


@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("name", ["etc", "var"])
def test_an_image_without_a_directory_for_what_is_mounted_is_refused(system: System, name: str, is_link: bool) -> None:
    instead = Tar().symlink(name, f"usr/{name}").directory(f"usr/{name}") if is_link else Tar()
    layers = [*os_layers("2"), Tar().whiteout(name).data, instead.data]
    with pytest.raises(ImageError, match=f"/{name} is no directory"):
        system.upgrade(Registry(layers, "2"))
    assert system.slots.staged is None
    assert system.versions() == ["1"]


@pytest.mark.parametrize("has_program", [False, True])
def test_where_fs_verity_is_required_the_image_must_have_the_program_that_measures(
    tmp_path: Path, has_program: bool
) -> None:
    """No initramfs can take it along otherwise, and the deployment would never start."""
    system = System(tmp_path)
    system.install(registry("1", Tar().add("usr/bin/fsverity", data=b"a program") if has_program else None))
    system.boot()
    system.options = ComposefsOptions(verity="require")
    deployer, request = system.backend.deployer, DeployRequest("default", REFERENCE, KernelArguments())
    image = deployer.deployments()[0].image
    assert image
    if has_program:
        staged = deployer.stage(image, request)
        assert (staged.entry.options.value("bootc.composefs") or "?")[0] != "?"
    else:
        with pytest.raises(ImageError, match="it has no program fsverity") as failure:
            deployer.stage(image, request)
        assert failure.value.hint
        assert system.slots.staged is None


def test_a_deployment_whose_image_has_lost_its_record_loses_nothing_else(system: System) -> None:
    """Its objects are named by its EROFS image, which its own record names."""
    first = str(system.running)
    system.volume.remove(path_of(system.image(first).image.key))
    assert system.versions() == ["None"]
    objects = system.objects()
    system.transaction().collect_garbage()
    assert system.objects() == objects
    second = upgraded(system, "2")
    assert (system.etc(second) / "mine").read_text() == "mine\n"
    assert system.versions() == ["2", "None"]
    assert system.objects().keys() > objects.keys()


def test_a_deployment_without_its_digest_is_told(system: System) -> None:
    path = system.root / f"composefs/deployments/{system.running}/deployment.json"
    path.write_text(path.read_text().replace("bootc.composefs=?sha256", "bootc.composefs=?md5"))
    with pytest.raises(StateError, match="is no digest of an image"):
        system.upgrade(registry("2"))


def test_the_algorithm_is_decided_once(tmp_path: Path) -> None:
    system = System(tmp_path, options=ComposefsOptions(algorithm="sha512"))
    system.install(registry("1"))
    system.options = ComposefsOptions()
    system.boot()
    upgraded(system, "2")
    assert {len(digest) for digest in system.objects()} == {128}
    image = system.image(str(system.running))
    data = (system.root / "composefs/objects" / image.erofs.path.decode()).read_bytes()
    assert digest_of(data, Algorithm.SHA512) == image.erofs.digest
    booted = system.slots.booted
    assert booted
    assert re.fullmatch(r"\?sha512-12:[0-9a-f]{128}", booted.entry.options.value("bootc.composefs") or "")
    assert list(system.backend.store.check()) == []


def test_labels_of_the_image_s_own_policy_are_in_the_tree(tmp_path: Path) -> None:
    policy = Tar().directory("etc/selinux").add("etc/selinux/config", data=b"SELINUXTYPE=targeted\n")
    contexts = "etc/selinux/targeted/contexts/files/file_contexts"
    policy.directory("etc/selinux/targeted").directory("etc/selinux/targeted/contexts")
    policy.directory("etc/selinux/targeted/contexts/files")
    policy.add(contexts, data=b"/.* system_u:object_r:default_t:s0\n/etc(/.*)? system_u:object_r:etc_t:s0\n")
    policy.directory("etc/selinux/targeted/policy").add("etc/selinux/targeted/policy/policy.33", data=b"x")
    system = System(tmp_path)
    system.install(registry("1", policy))
    etc = system.etc(system.default)
    assert os.getxattr(etc / "version", "security.selinux") == b"system_u:object_r:etc_t:s0\0"
    var = system.root / "composefs/var/default"
    assert os.getxattr(var / "lib", "security.selinux") == b"system_u:object_r:default_t:s0\0"


def test_the_record_probes_its_own_sysroots_only(tmp_path: Path, system: System) -> None:
    (plugin,) = bootc_storage_backends()
    assert plugin.probe(system.volume) is True
    assert plugin.probe(DirectoryVolume(tmp_path / "system")) is False


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("repository.json", b"{", "damaged"),
        ("repository.json", b"{}", "'algorithm' is not a text"),
        ("repository.json", b'{"algorithm": "md5", "image-format": "1/1", "verity": "off"}', "md5"),
        ("repository.json", b'{"algorithm": "sha256", "image-format": "2/2", "verity": "off"}', "format 2/2, not 1/1"),
        ("repository.json", b'{"format": {"incompatible": ["blake3"]}}', "does not know: blake3"),
        ("state.json", b'{"format": {"incompatible": ["new"]}}', "does not know: new"),
        ("state.json", b'{"number": -1}', "'number' is no number"),
    ],
)
def test_damaged_and_newer_records_are_told(system: System, path: str, content: bytes, message: str) -> None:
    (system.root / "composefs" / path).write_bytes(content)
    with pytest.raises(StateError, match=re.escape(message)):
        system.upgrade(registry("2"))
    assert (system.root / PurePosixPath("composefs", path)).read_bytes() == content
