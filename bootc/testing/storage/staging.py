"""Clauses S4 and S5: staging, and making the staged deployment the default."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from attrs import evolve

from bootc.deployment import Deployment, KernelArguments
from bootc.errors import DeploymentError
from bootc.image import Digest, ImageReference
from bootc.testing.fakes import FakeLayer, os_image
from bootc.testing.storage.base import StorageSuite
from bootc.testing.storage.system import ARGUMENTS, System, versions
from bootc.testing.suite import clause
from bootc.testing.trees import read

OTHER = ImageReference.of("registry.example/other:stable", signature="containerPolicy")


def settled(deployments: tuple[Deployment, ...]) -> list[Deployment]:
    """Without what is staged, and without what a staged one will make expendable."""
    return [evolve(d, is_expendable=False) for d in deployments if not d.is_staged]


class Staging(StorageSuite):
    """S4."""

    @clause("S4.1")
    def test_a_staged_deployment_is_what_was_asked_for(self, system: System) -> None:
        system.install("1")
        image = os_image("2", reference=OTHER)
        arguments = KernelArguments(("root=LABEL=root", "one", "one", 'two="a b"', "x.y=z"))
        staged = system.stage(image, arguments=arguments)
        assert staged == system.deployments()[0] == system.reopen().deployer.deployments()[0]
        assert (staged.is_staged, staged.is_booted, staged.is_locked) == (True, False, False)
        assert (staged.stateroot, staged.reference, staged.arguments) == ("default", OTHER, arguments)
        assert staged.image == system.store.find(image.image)

    @clause("S4.2")
    def test_the_boot_entry_names_whole_files_of_the_image(self, system: System) -> None:
        system.install("1")
        image = os_image("2")
        staged = system.stage(image)
        entry = staged.entry
        content = b"".join((system.machine.root / path).read_bytes() for path in (entry.kernel, *entry.initramfs))
        assert content == image.kernel
        assert staged.boot_digest == Digest("sha256", hashlib.sha256(content).hexdigest())
        assert entry.deployment == staged.id
        assert list(entry.options)[: len(list(ARGUMENTS))] == list(ARGUMENTS)
        assert list(entry.options) != list(system.booted.entry.options), "something must tell them apart"
        for text in (entry.title, entry.version):
            assert text
            assert text.isprintable()

    @clause("S4.3")
    def test_staging_leaves_the_booted_deployment_alone(self, system: System) -> None:
        system.install("1")
        before, tree = settled(system.deployments()), read(system.machine.system, skip=(b"sysroot", b"proc"))
        system.stage(os_image("2"))
        assert settled(system.deployments()) == before
        assert read(system.machine.system, skip=(b"sysroot", b"proc")) == tree

    @clause("S4.4")
    def test_a_power_cut_forgets_what_was_staged(self, system: System) -> None:
        first = system.install("1")
        system.stage(os_image("2"))
        assert system.reboot().id == first.id
        assert system.staged is None
        assert system.running() == "1"
        system.clean()
        assert system.findings() == []

    @clause("S4.5")
    def test_what_is_staged_is_known_to_every_process(self, system: System) -> None:
        system.install("1")
        staged = system.stage(os_image("2"))
        system.reopen()
        assert system.staged == staged
        system.finalize()
        system.reopen()
        assert [d.is_staged for d in system.deployments()] == [False, False]
        assert system.reboot().id == staged.id

    @clause("S4.6")
    def test_staging_again_replaces_what_was_staged(self, system: System) -> None:
        first = system.install("1")
        second = system.stage(os_image("2"))
        third = system.stage(os_image("3"))
        assert third.id not in (first.id, second.id)
        assert [d.id for d in system.deployments() if d.is_staged] == [third.id]
        system.finalize()
        system.clean()
        assert system.ids() == [third.id, first.id]

    @clause("S4.7")
    def test_staging_the_same_image_again_changes_nothing_else(self, system: System) -> None:
        system.install("1")
        image, streams = os_image("2"), os_image("2").streams()
        system.stage(image)
        before = settled(system.deployments())
        again = system.store.import_image(image.image, streams)
        staged = system.deployer.stage(again, system.request())
        assert streams.opened == []
        assert [d.id for d in system.deployments() if d.is_staged] == [staged.id]
        assert staged.image == again
        assert settled(system.deployments()) == before

    @clause("S4.8")
    def test_a_locked_deployment_waits(self, system: System) -> None:
        first = system.install("1")
        staged = system.stage(os_image("2"), is_locked=True)
        assert staged.is_locked
        assert system.reopen().deployer.deployments()[0].is_locked
        system.finalize()
        assert system.ids() == [staged.id, first.id]
        assert system.staged is not None
        system.deployer.set_locked(False)
        assert [d.is_locked for d in system.reopen().deployer.deployments()] == [False, False]
        system.deployer.set_locked(True)
        system.deployer.set_locked(False)
        system.finalize()
        assert system.reboot().id == staged.id

    @clause("S4.8")
    def test_what_takes_the_place_of_a_locked_deployment_is_applied(self, system: System) -> None:
        system.install("1")
        system.stage(os_image("2"), is_locked=True)
        staged = system.stage(os_image("3"))
        assert not staged.is_locked
        assert not system.reopen().deployer.deployments()[0].is_locked
        system.finalize()
        assert system.reboot().id == staged.id

    @clause("S4.9")
    def test_only_a_staged_deployment_can_be_locked(self, system: System) -> None:
        system.install("1")
        with pytest.raises(DeploymentError):
            system.deployer.set_locked(True)

    @clause("S4.10")
    def test_a_dropped_deployment_is_not_applied(self, system: System) -> None:
        first = system.install("1")
        before = system.deployments()
        dropped = system.stage(os_image("2"), is_locked=True)
        system.deployer.unstage()
        system.deployer.unstage()
        assert system.deployments() == before == system.reopen().deployer.deployments()
        system.finalize()
        system.clean()
        assert system.ids() == [first.id]
        again = system.stage(os_image("2"))
        assert (again.id != dropped.id, again.is_locked) == (True, False)
        system.deployer.unstage()
        system.publish()
        assert system.reboot().id == first.id

    @clause("S4.11")
    def test_ids_are_never_used_again(self, system: System) -> None:
        seen = [system.install("1").id]
        for version in ("2", "3", "1", "2"):
            dropped = system.stage(os_image(version)).id
            system.deployer.unstage()
            system.clean()
            seen += [dropped, system.upgrade(version).id]
        assert len(set(seen)) == len(seen)


class Finalizing(StorageSuite):
    """S5."""

    @clause("S5.1")
    def test_the_staged_deployment_boots_next(self, system: System) -> None:
        first = system.install("1")
        staged = system.stage(os_image("2"))
        system.finalize()
        assert system.ids() == [staged.id, first.id]
        assert system.booted.id == first.id
        assert (system.reboot().id, system.running()) == (staged.id, "2")
        assert system.rollback.id == first.id
        assert system.staged is None

    @clause("S5.2")
    def test_what_boots_is_the_image(self, system: System) -> None:
        layer = FakeLayer().file("usr/bin/setuid", b"s", mode=0o4755, uid=5).symlink("usr/bin/link", "setuid")
        layer.file("usr/lib/attributed", b"a", xattrs={"user.a": b"1"}).hardlink("usr/lib/twice", "usr/bin/setuid")
        image = os_image("1", layer.directory("usr/lib/d", mode=0o2770, gid=6).file("usr/lib/d/file", b"f"))
        system.initialize()
        system.stage(image)
        system.finalize()
        system.reboot()
        expected = image.tree.below(b"usr").without_times().nodes
        found = read(system.machine.system, skip=(b"sysroot", b"etc", b"var", b"proc")).without_times().nodes
        assert {path: found.get(path) for path in expected} == expected

    @clause("S5.3")
    def test_finalizing_with_nothing_staged_does_nothing(self, system: System) -> None:
        system.install("1")
        before = system.deployments()
        system.finalize()
        assert system.deployments() == before == system.reopen().deployer.deployments()

    @clause("S5.4")
    def test_a_sysroot_that_is_not_booted_is_finalized_at_once(self, system: System) -> None:
        system.initialize()
        first = system.stage(os_image("1"))
        assert system.deployments() == (first,)
        system.finalize()
        second = system.stage(os_image("2"))
        assert [d.is_staged for d in system.deployments()] == [True, False]
        system.finalize()
        assert system.reopen().deployer.deployments()[0].id == second.id
        assert (system.reboot().id, system.running()) == (second.id, "2")

    @clause("S5.5")
    def test_only_what_is_expendable_goes(self, system: System) -> None:
        system.install("1")
        for version in ("2", "3", "4"):
            expendable = {d.id for d in system.deployments() if d.is_expendable}
            kept = [d.id for d in system.deployments() if not d.is_expendable]
            system.fetch(os_image(version))
            assert [id for id in system.ids() if id not in expendable] == kept
            system.stage(os_image(version))
            kept = [d.id for d in system.deployments() if not d.is_expendable]
            system.finalize()
            assert system.ids() == kept
            assert system.booted.id in kept, "what runs is never expendable"
            system.reboot()
            system.clean()
            assert set(system.ids()) == set(kept)
            assert system.findings() == []

    @clause("S5.6")
    def test_two_deployments_of_one_image(self, system: System) -> None:
        first = system.install("1")
        (system.etc / "mine").write_text("of the first")
        second = system.upgrade("1", arguments=KernelArguments(("root=LABEL=root", "other")))
        assert first.id != second.id
        assert first.image == second.image
        assert [d.id for d in system.deployments()] == [second.id, first.id]
        assert "other" in Path("/proc/cmdline").read_text().split()
        (system.etc / "mine").write_text("of the second")
        system.arrange(first.id, second.id)
        assert (system.reboot().id, (system.etc / "mine").read_text()) == (first.id, "of the first")
        assert system.findings() == []

    @clause("S5.7")
    def test_what_was_deployed_is_reported_for_good(self, system: System) -> None:
        system.install("1")
        image = os_image("2", reference=OTHER)
        staged = system.stage(image)
        system.finalize()
        booted = system.reboot()
        entry = evolve(staged.entry, kernel=booted.entry.kernel, initramfs=booted.entry.initramfs)
        assert evolve(booted, is_booted=False) == evolve(staged, is_staged=False, entry=entry)
        assert (booted.image, booted.reference) == (system.store.find(image.image), OTHER)
        system.upgrade("3")
        assert evolve(system.rollback, is_expendable=False) == evolve(booted, is_booted=False)
        assert versions(system.deployments()) == ["3", "2"]
