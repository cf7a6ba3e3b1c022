"""The life of a machine with the dirimage backend: install, upgrade, roll back; two slots and more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve
from bootc_dirimage import bootc_storage_backends
from bootc_dirimage.options import DirimageOptions

from bootc.errors import DeploymentError, EtcConflictError, ImageError, NoSpaceError, StateError, StoreError
from bootc.events import Notice
from bootc.hookspec import Capability
from bootc.storage import Pinning
from bootc.updates import Change
from tests.boot_parts import MIB, fat_volume
from tests.dirimage_system import Registry, System, os_layers, registry
from tests.ostree_images import MODULES, Tar, normal_form

pytestmark = pytest.mark.root

THREE = DirimageOptions(slots=3)


@pytest.fixture
def system(tmp_path: Path) -> System:
    """Version 1 is installed and runs."""
    made = System(tmp_path)
    made.install(registry("1"))
    made.boot()
    return made


def upgraded(system: System, version: str) -> None:
    """The next version is staged, made the default and started."""
    assert system.upgrade(registry(version)).change is Change.STAGED
    system.shut_down()
    system.boot()
    assert system.slots.booted
    assert system.slots.booted.image
    assert system.slots.booted.image.version == version


def test_an_installed_system_is_what_the_image_says(system: System) -> None:
    deployment = system.slots.booted
    assert deployment is not None
    tree = system.tree(deployment.id)
    assert (tree / "usr/lib/version").read_text() == "1"
    assert (system.etc(deployment.id) / "version").read_text() == "image 1\n"
    assert normal_form(system.etc(deployment.id)) == normal_form(tree / "etc")
    assert normal_form(system.root / "dirimage/var/default") == normal_form(tree / "var")
    assert str(deployment.arguments) == "root=LABEL=root rw"
    assert deployment.entry.title.startswith("Test System 1 (")
    plan = f"dirimage/deployments/{deployment.id}/mounts"
    assert str(deployment.entry.options) == f"root=LABEL=root rw bootc.deployment={deployment.id} bootc.plan={plan}"
    assert (system.root / deployment.entry.kernel).read_bytes() == b"kernel 1"
    assert (system.root / plan).read_text().splitlines() == [
        "bootc-mount-plan 1",
        f"root dirimage/slots/{tree.parent.name}/tree",
        f"bind dirimage/deployments/{deployment.id}/etc etc",
        "bind dirimage/var/default var",
    ]
    assert list(system.backend.deployer.check()) == list(system.backend.store.check()) == []


def test_an_upgrade_carries_etc_over_and_leaves_var_alone(system: System) -> None:
    first = system.running
    assert first
    (system.etc(first) / "mine").write_text("mine\n")
    (system.etc(first) / "default").write_text("changed\n")
    (system.root / "dirimage/var/default/lib/data/file").write_text("written\n")
    system.upgrade(registry("2"))
    assert system.versions() == ["2", "1"]
    (system.etc(first) / "late").write_text("after staging\n")
    system.shut_down()
    second = system.boot()
    found = {name: (system.etc(second) / name).read_text() for name in ("version", "mine", "default", "late")}
    assert found == {"version": "image 2\n", "mine": "mine\n", "default": "changed\n", "late": "after staging\n"}
    assert (system.root / "dirimage/var/default/lib/data/file").read_text() == "written\n"
    assert system.versions() == ["2", "1"]


def test_with_two_slots_an_import_takes_the_rollback_s_place_and_says_so(system: System) -> None:
    upgraded(system, "2")
    rollback = system.slots.rollback
    assert rollback
    assert rollback.is_expendable
    system.upgrade(registry("3"))
    assert system.versions() == ["3", "2"]
    assert len(system.names("slots")) == 2
    assert not (system.root / "dirimage/deployments" / rollback.id).exists()
    assert any(rollback.id in event.message for event in system.events if isinstance(event, Notice))


def test_with_three_slots_the_rollback_survives_staging(tmp_path: Path) -> None:
    system = System(tmp_path, THREE)
    system.install(registry("1"))
    system.boot()
    upgraded(system, "2")
    assert not any(d.is_expendable for d in system.backend.deployer.deployments())
    system.upgrade(registry("3"))
    assert system.versions() == ["3", "2", "1"]
    assert len(system.names("slots")) == 3
    system.transaction().roll_back()
    assert system.versions() == ["1", "2"]
    assert system.boot() in system.names("deployments")


def test_capabilities_are_what_the_slots_allow() -> None:
    (plugin,) = bootc_storage_backends()
    assert plugin.capabilities_with(DirimageOptions()) == frozenset()
    assert plugin.capabilities_with(THREE) == {Capability.PIN, Capability.SPARE}


def test_a_pinned_deployment_stays_until_no_slot_is_left(tmp_path: Path) -> None:
    assert not isinstance(System(tmp_path).backend.deployer, Pinning)
    system = System(tmp_path, THREE)
    pinned = system.install(registry("1")).id
    system.boot()
    deployer = system.backend.deployer
    assert isinstance(deployer, Pinning)
    deployer.set_pinned(pinned, True)
    upgraded(system, "2")
    upgraded(system, "3")
    assert system.versions() == ["3", "2", "1"]
    assert [d.is_pinned for d in system.backend.deployer.deployments()] == [False, False, True]
    before = normal_form(system.root)
    with pytest.raises(StoreError, match="no slot is free") as failure:
        system.upgrade(registry("4"))
    assert failure.value.hint
    assert normal_form(system.root) == before
    deployer.set_pinned(pinned, False)
    upgraded(system, "4")
    assert system.versions() == ["4", "3"]


def test_rollback_is_its_own_inverse_and_an_upgrade_follows_it(system: System) -> None:
    upgraded(system, "2")
    assert system.transaction().roll_back() is False
    assert system.versions() == ["1", "2"]
    assert system.transaction().roll_back() is True
    system.transaction().roll_back()
    system.boot()
    assert system.slots.booted
    assert (system.tree(system.slots.booted.id) / "usr/lib/version").read_text() == "1"
    upgraded(system, "3")
    assert system.versions() == ["3", "1"]


def test_going_back_to_an_image_that_is_still_there_needs_no_import(system: System) -> None:
    upgraded(system, "2")
    slots = system.names("slots")
    upgraded(system, "1")
    assert system.streams.opened == []
    assert (system.names("slots"), system.versions()) == (slots, ["1", "2"])


def test_what_is_staged_is_forgotten_with_run(system: System) -> None:
    first = system.running
    system.upgrade(registry("2"))
    assert system.boot() == first
    assert system.versions() == ["1"]
    system.transaction().collect_garbage()
    assert system.names("deployments") == [first]
    assert len(system.names("slots")) == 1


def test_a_locked_deployment_is_not_applied(system: System) -> None:
    system.upgrade(registry("2"), is_locked=True)
    system.shut_down()
    flags = [(d.is_staged, d.is_locked) for d in system.backend.deployer.deployments()]
    assert (system.versions(), flags) == (["2", "1"], [(True, True), (False, False)])
    system.transaction().apply_downloaded()
    system.shut_down()
    flags = [(d.is_staged, d.is_locked) for d in system.backend.deployer.deployments()]
    assert (system.versions(), flags) == (["2", "1"], [(False, False), (False, False)])


def test_ids_never_come_back(system: System) -> None:
    seen = [system.running]
    for version in ("2", "1", "2", "1"):
        upgraded(system, version)
        assert system.running not in seen
        seen.append(system.running)


def test_only_new_layers_are_fetched(system: System) -> None:
    source = registry("2")
    assert [layer.diff_id for layer in system.backend.store.missing(source.image)] == [
        source.image.layers[0].diff_id,
        source.image.layers[2].diff_id,
    ]
    system.upgrade(source)
    assert system.streams.opened == [source.image.layers[0].diff_id, source.image.layers[2].diff_id]


def test_what_layers_hold_goes_with_their_images(system: System) -> None:
    upgraded(system, "2")
    upgraded(system, "3")
    slots = [system.root / "dirimage/slots" / name for name in system.names("slots")]
    assert [len(list((slot / "layers").iterdir())) for slot in slots] == [3, 3]


def test_a_layer_of_a_slot_that_makes_way_counts_as_missing(system: System) -> None:
    """With two slots, what only the rollback has is gone when the import begins."""
    upgraded(system, "2")
    image = Registry(os_layers("1"), "another manifest of the same layers").image
    assert system.backend.store.missing(image) == (image.layers[0], image.layers[2])


def test_a_conflict_in_etc_is_known_when_staging(system: System) -> None:
    assert system.running
    (system.etc(system.running) / "thing").write_text("a file here")
    with pytest.raises(EtcConflictError):
        system.upgrade(registry("2", Tar().directory("etc/thing").add("etc/thing/inside")))
    assert system.versions() == ["1"]
    assert system.slots.staged is None


def test_a_conflict_after_staging_leaves_the_old_default(system: System) -> None:
    first = system.running
    assert first
    system.upgrade(registry("2", Tar().directory("etc/thing").add("etc/thing/inside")))
    (system.etc(first) / "thing").write_text("a file here")
    with pytest.raises(EtcConflictError):
        system.shut_down()
    assert system.boot() == first


def test_an_image_whose_initramfs_cannot_mount_it_is_refused(system: System) -> None:
    plain = Registry([layer for number, layer in enumerate(os_layers("2")) if number != 1], "2")
    with pytest.raises(ImageError, match="initramfs cannot mount") as failure:
        system.upgrade(plain)
    assert failure.value.hint
    newer = Registry([*os_layers("3"), Tar().add("usr/lib/bootc/initramfs/version", data=b"0\n").data], "3")
    with pytest.raises(ImageError, match="version 0; version 1 is needed"):
        system.upgrade(newer)
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
    assert not (system.root / "dirimage" / "var/default/.updated").exists()


@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("name", ["etc", "var"])
def test_an_image_without_a_directory_for_what_is_mounted_is_refused(system: System, name: str, is_link: bool) -> None:
    instead = Tar().symlink(name, f"usr/{name}").directory(f"usr/{name}") if is_link else Tar()
    layers = [*os_layers("2"), Tar().whiteout(name).data, instead.data]
    with pytest.raises(ImageError, match=f"/{name} is no directory"):
        system.upgrade(Registry(layers, "2"))
    assert system.slots.staged is None
    assert system.versions() == ["1"]


def test_with_systemd_boot_the_menu_offers_only_what_is_whole(tmp_path: Path) -> None:
    system = System(tmp_path, esp=fat_volume(tmp_path / "esp", 40 * MIB))
    loader = Tar().add("usr/lib/systemd/boot/efi/systemd-bootx64.efi", data=b"boot")
    system.install(registry("1", loader))
    first = system.boot()
    upgraded(system, "2")
    assert [entry.deployment for entry in system.bootloader.read().entries] == [system.running, first]
    system.upgrade(registry("3"))
    assert [entry.deployment for entry in system.bootloader.read().entries] == [system.running]
    system.shut_down()
    system.boot()
    assert [entry.version for entry in system.bootloader.read().entries] == ["3", "2"]


def test_a_full_esp_is_told_when_staging_and_changes_nothing(tmp_path: Path) -> None:
    system = System(tmp_path, esp=fat_volume(tmp_path / "esp", 40 * MIB))
    system.install(registry("1", Tar().add("usr/lib/systemd/boot/efi/systemd-bootx64.efi", data=b"boot")))
    first = system.boot()
    with pytest.raises(NoSpaceError, match="in the EFI system partition"):
        system.upgrade(registry("2", Tar().add(f"{MODULES}/vmlinuz", data=bytes(40 * MIB))))
    assert system.slots.staged is None
    assert [entry.deployment for entry in system.bootloader.read().entries] == [first]
    assert system.names("deployments") == [first]
    upgraded(system, "3")
    assert system.versions() == ["3", "1"]


@pytest.mark.parametrize(
    ("path", "data"),
    [("state.json", b""), ("state.json", b"[]"), ("state.json", b'{"format": {"incompatible": ["new"]}}')],
    ids=["truncated", "altered", "newer"],
)
def test_a_damaged_state_is_an_error_with_a_hint(system: System, path: str, data: bytes) -> None:
    (system.root / "dirimage" / path).write_bytes(data)
    before = normal_form(system.root)
    with pytest.raises(StateError) as failure:
        system.upgrade(registry("2"))
    assert failure.value.hint
    assert normal_form(system.root) == before


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_record_of_the_rollback_can_be_moved_away(system: System, damage: str) -> None:
    first = system.running
    upgraded(system, "2")
    record = system.root / f"dirimage/deployments/{first}/deployment.json"
    record.unlink() if damage == "missing" else os.truncate(record, 10)
    with pytest.raises(StateError, match=r"deployment\.json") as failure:
        system.upgrade(registry("3"))
    assert "move dirimage/deployments" in str(failure.value.hint)
    record.parent.rename(system.folder / "away")
    assert [finding.subject for finding in system.backend.deployer.check()] == [first]
    upgraded(system, "3")
    assert system.versions() == ["3", "2"]
    assert list(system.backend.deployer.check()) == []


def test_damage_is_found(system: System) -> None:
    assert system.running
    (system.tree(system.running) / "usr/lib/version").write_text("9")
    (system.tree(system.running) / "usr/lib/large").unlink()
    (system.root / system.slots.booted.entry.kernel).write_bytes(b"other") if system.slots.booted else None
    (system.root / f"dirimage/deployments/{system.running}/mounts").unlink()
    messages = [finding.message for finding in system.backend.store.check()]
    assert len(messages) == 3
    assert any("usr/lib/large: No such file" in message for message in messages)
    assert len(list(system.backend.deployer.check())) == 2


def test_an_order_must_name_each_deployment_once(system: System) -> None:
    with pytest.raises(DeploymentError, match="each deployment once"):
        system.backend.deployer.arrange([])


def test_arguments_of_the_backend_cannot_be_set_by_others(system: System) -> None:
    assert system.running
    booted = system.slots.booted
    assert booted
    assert evolve(booted.arguments).value("bootc.plan") is None
    assert list(booted.entry.options).count(f"bootc.deployment={system.running}") == 1
