"""Clauses S6: the boot order, rollback and its undo."""

from __future__ import annotations

import pytest

from bootc.deployment import DeploymentId
from bootc.errors import DeploymentError
from bootc.testing.fakes import os_image
from bootc.testing.storage.base import StorageSuite
from bootc.testing.storage.system import System
from bootc.testing.suite import clause


class Ordering(StorageSuite):
    """S6."""

    @clause("S6.1")
    def test_rollback_boots_the_previous_deployment(self, system: System) -> None:
        first = system.install("1")
        second = system.upgrade("2")
        system.arrange(first.id, second.id)
        assert system.reopen().deployer.deployments()[0].id == first.id
        assert system.slots.is_rollback_queued
        assert (system.reboot().id, system.running()) == (first.id, "1")
        assert system.ids() == [first.id, second.id]

    @clause("S6.2")
    def test_rollback_is_its_own_inverse(self, system: System) -> None:
        first = system.install("1")
        second = system.upgrade("2")
        before = system.deployments()
        system.arrange(first.id, second.id)
        system.arrange(second.id, first.id)
        assert system.deployments() == before == system.reopen().deployer.deployments()
        assert system.reboot().id == second.id
        assert system.deployments() == before

    @clause("S6.3")
    def test_a_deployment_is_the_same_in_any_place(self, system: System) -> None:
        first = system.install("1")
        second = system.upgrade("2")
        before = {deployment.id: deployment for deployment in system.deployments()}
        system.arrange(first.id, second.id)
        assert {deployment.id: deployment for deployment in system.deployments()} == before
        system.arrange(first.id, second.id)
        assert system.ids() == [first.id, second.id]

    @clause("S6.4")
    def test_an_order_names_each_deployment_once(self, system: System) -> None:
        first = system.install("1")
        second = system.upgrade("2")
        before = system.deployments()
        for order in ([], [first.id], [first.id, first.id], [first.id, second.id, second.id]):
            with pytest.raises(DeploymentError):
                system.deployer.arrange(order)
        with pytest.raises(DeploymentError):
            system.deployer.arrange([first.id, second.id, DeploymentId("nonsense")])
        assert system.deployments() == before

    @clause("S6.5")
    def test_an_order_says_nothing_of_what_is_staged(self, system: System) -> None:
        first = system.install("1")
        second = system.upgrade("2")
        third = system.stage(os_image("3"), is_locked=True)
        present = [d.id for d in system.deployments() if not d.is_staged]
        system.arrange(*reversed(present))
        assert {first.id, second.id} >= {*present}
        assert system.ids() == [third.id, *reversed(present)]
        system.reopen()
        assert system.ids() == [third.id, *reversed(present)]

    @clause("S6.6")
    def test_after_a_rollback_the_next_update_follows_what_runs(self, system: System) -> None:
        first = system.install("1")
        second = system.upgrade("2")
        (system.etc / "mine").write_text("of the second")
        system.arrange(first.id, second.id)
        system.reboot()
        assert not (system.etc / "mine").exists()
        third = system.upgrade("3")
        assert system.ids()[:2] == [third.id, first.id], "what ran is the rollback now"
        assert system.running() == "3"
        system.arrange(*[id for id in system.ids() if id != third.id], third.id)
        assert (system.reboot().id, system.running()) == (first.id, "1")
