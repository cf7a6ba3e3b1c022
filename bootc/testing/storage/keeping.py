"""Clauses S8 and S9: what lasts, and what is thrown away."""

from __future__ import annotations

import os

import pytest

from bootc.deployment import DeploymentId
from bootc.errors import BootcError, DeploymentError
from bootc.hookspec import Capability
from bootc.machine import Command
from bootc.storage import Pinning
from bootc.testing.child import in_child
from bootc.testing.fakes import MIB, FakeLayer, os_image
from bootc.testing.storage.base import StorageSuite
from bootc.testing.storage.system import System
from bootc.testing.suite import clause, lacks, needs

_SLACK = 512 * 1024
"""bytes by which an index or a directory of the filesystem may grow"""


def ballast(size: int = 2 * MIB) -> FakeLayer:
    """A layer that cannot be compressed, and that no other image has."""
    return FakeLayer().file("usr/lib/ballast", os.urandom(size))


def used(system: System) -> int:
    """Bytes on the sysroot's filesystem."""
    system.machine.machine.sysroot.sync()
    found = os.statvfs(system.machine.root)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


class Lasting(StorageSuite):
    """S8."""

    @clause("S8.1")
    def test_reopening_loses_nothing(self, system: System) -> None:
        system.install("1")
        system.upgrade("2")
        system.stage(os_image("3"), is_locked=True)
        before = system.deployments()
        assert system.reopen().deployer.deployments() == before

    @clause("S8.2")
    def test_another_process_sees_the_same(self, system: System) -> None:
        system.install("1")
        system.upgrade("2")
        system.stage(os_image("3"))
        answered = in_child(lambda: system.open_backend().deployer.deployments())
        assert answered == system.deployments()

    @clause("S8.3")
    def test_an_unknown_deployment_is_an_error(self, system: System) -> None:
        system.install("1")
        with pytest.raises(DeploymentError):
            system.deployer.etc(DeploymentId("nonsense"))


class Collecting(StorageSuite):
    """S9."""

    @clause("S9.1")
    def test_collecting_keeps_what_can_be_booted(self, system: System) -> None:
        first = system.install("1")
        second = system.upgrade("2")
        staged = system.stage(os_image("3"))
        kept = system.ids()
        system.clean()
        system.clean()
        assert system.ids() == kept
        assert {staged.id, second.id} <= {*kept}
        assert system.findings() == []
        system.publish()
        system.finalize()
        assert (system.reboot().id, system.running()) == (staged.id, "3")
        system.arrange(*[id for id in system.ids() if id != staged.id], staged.id)
        assert (system.reboot().id, system.running()) == (second.id, "2")
        assert first.id not in system.ids()

    @clause("S9.2")
    def test_what_is_deployed_is_kept_whoever_forgets_to_say_so(self, system: System) -> None:
        system.install("1")
        system.upgrade("2")
        system.deployer.clean()
        system.store.prune([])
        assert [d.image is not None for d in system.deployments()] == [True, True]
        assert system.findings() == []

    @clause("S9.3")
    def test_collecting_frees_the_rest(self, system: System) -> None:
        system.install("1", ballast())
        system.upgrade("2", ballast())
        before = used(system)
        for version in ("3", "4", "5"):
            system.upgrade(version, ballast())
        assert used(system) - before < _SLACK

    @clause("S9.3")
    def test_an_etc_with_immutable_files_goes_too(self, system: System) -> None:
        first = system.install("1")
        (system.etc / "fixed").write_text("mine\n")
        (system.etc / "fixed.d").mkdir()
        (system.etc / "fixed.d/file").write_text("mine\n")
        Command(("chattr", "-R", "+i", *(str(system.etc / name) for name in ("fixed", "fixed.d"))), "fix files").run()
        for version in ("2", "3", "4"):
            system.upgrade(version)
            assert (system.etc / "fixed.d/file").read_text() == "mine\n"
        assert first.id not in system.ids()
        assert system.findings() == []
        assert len(list(system.machine.root.rglob("etc/fixed"))) <= len(system.ids())

    @clause("S9.4")
    def test_an_image_that_is_not_deployed_goes_unless_it_is_to_be_kept(self, system: System) -> None:
        system.initialize()
        image = os_image("1", ballast())
        imported = system.fetch(image)
        assert system.store.prune([imported]) < MIB
        assert system.store.find(image.image) == imported
        assert system.store.prune([]) >= 2 * MIB
        assert system.store.find(image.image) is None
        assert system.store.missing(image.image) == image.image.layers
        system.fetch(image)
        assert system.findings() == []

    @clause("S9.5")
    def test_what_was_staged_and_dropped_leaves_nothing(self, system: System) -> None:
        system.install("1")
        before = used(system)
        system.stage(os_image("2", ballast()))
        system.deployer.unstage()
        system.clean()
        assert used(system) - before < _SLACK

    @clause("S9.6")
    def test_deletion_waits_for_the_menu(self, system: System) -> None:
        system.install("1")
        system.upgrade("2")
        offered = [d.entry for d in system.deployments() if not d.is_expendable]
        system.fetch(os_image("3"))
        for entry in offered:
            for path in (entry.kernel, *entry.initramfs):
                assert (system.machine.root / path).is_file()
        system.stage(os_image("3"))
        offered = [d.entry for d in system.deployments() if not d.is_expendable and not d.is_staged]
        system.deployer.finalize()
        for entry in offered:
            for path in (entry.kernel, *entry.initramfs):
                assert (system.machine.root / path).is_file()


class Sparing(StorageSuite):
    """S10: capabilities."""

    @clause("S10.1")
    def test_capabilities_are_what_the_backend_can(self, system: System) -> None:
        assert isinstance(system.deployer, Pinning) == (Capability.PIN in self.capabilities)

    @clause("S10.2")
    @needs(Capability.SPARE)
    def test_the_rollback_survives_an_import_and_staging(self, system: System) -> None:
        first = system.install("1")
        second = system.upgrade("2")
        system.fetch(os_image("3"))
        assert system.ids() == [second.id, first.id]
        staged = system.stage(os_image("3"), is_locked=True)
        assert system.ids() == [staged.id, second.id, first.id]
        system.deployer.unstage()
        system.arrange(first.id, second.id)
        assert system.reboot().id == first.id

    @clause("S10.3")
    @lacks(Capability.SPARE)
    def test_a_rollback_that_is_not_spared_is_expendable(self, system: System) -> None:
        first = system.install("1")
        second = system.upgrade("2")
        assert [(d.id, d.is_expendable) for d in system.deployments()] == [(second.id, False), (first.id, True)]
        system.fetch(os_image("3"))
        assert system.ids() == [second.id]

    @clause("S10.4")
    @needs(Capability.PIN)
    def test_a_pinned_deployment_stays_until_it_is_unpinned(self, system: System) -> None:
        first = system.install("1")
        _pin(system, first.id, True)
        system.upgrade("2")
        assert {d.id: d.is_pinned for d in system.reopen().deployer.deployments()}[first.id]
        third = system.upgrade("3")
        assert system.ids()[0] == third.id
        assert first.id in system.ids()
        assert system.findings() == []
        _pin(system, first.id, False)
        _pin(system, first.id, False)
        system.upgrade("4")
        assert first.id not in system.ids()

    @clause("S10.5")
    @needs(Capability.PIN)
    def test_a_pinned_deployment_boots(self, system: System) -> None:
        first = system.install("1")
        _pin(system, first.id, True)
        system.upgrade("2")
        try:
            system.upgrade("3")
        except BootcError:
            system.clean()
        system.arrange(first.id, *[id for id in system.ids() if id != first.id])
        assert (system.reboot().id, system.running()) == (first.id, "1")

    @clause("S10.6")
    @needs(Capability.PIN)
    def test_only_a_deployment_can_be_pinned(self, system: System) -> None:
        system.install("1")
        with pytest.raises(DeploymentError):
            _pin(system, DeploymentId("nonsense"), True)


def _pin(system: System, deployment: DeploymentId, is_pinned: bool) -> None:
    deployer = system.deployer
    assert isinstance(deployer, Pinning)
    deployer.set_pinned(deployment, is_pinned)
