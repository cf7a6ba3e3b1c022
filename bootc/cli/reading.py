"""The Host document's values for the system that a command line names."""

from __future__ import annotations

from bootc import host
from bootc.cli.options import GlobalOptions
from bootc.deployment import Deployment, DeploymentId, Slots
from bootc.errors import StateError
from bootc.events import Notice, Report
from bootc.session import OpenSystem, Session
from bootc.state import Failure
from bootc.status import CachedUpdate, Host


def read_host(options: GlobalOptions, report: Report) -> Host:
    """What there is to know; an empty Host on a machine that is none of ours."""
    system = Session(options.selection, report).reader()
    if system is None:
        return Host()
    deployments = system.deployments
    booted = Slots.of(deployments).booted
    return Host.of(
        deployments,
        cached_updates=_cached_update(system, booted, report) if booted else {},
        is_read_only=host.is_medium_read_only(system.machine.root),
        failures=_failures(system, report),
    )


def _failures(system: OpenSystem, report: Report) -> tuple[Failure, ...]:
    try:
        return system.state.boots.read().failures
    except StateError as error:
        report(Notice(f"{error.message}; failed boots are not shown", is_warning=True))
        return ()


def _cached_update(system: OpenSystem, booted: Deployment, report: Report) -> dict[DeploymentId, CachedUpdate]:
    if booted.reference is None:
        return {}
    try:
        update = system.state.references.cached_update(booted.reference)
    except StateError as error:
        report(Notice(f"{error.message}; known updates are not shown", is_warning=True))
        return {}
    return {booted.id: CachedUpdate(update, booted.reference)} if update else {}
