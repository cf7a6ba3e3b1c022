"""The Host document's values for the system that a command line names."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from bootc import host
from bootc.cli.following import followed
from bootc.cli.options import GlobalOptions
from bootc.deployment import Deployment, DeploymentId, Slots
from bootc.errors import BootcError, DeploymentError, StateError
from bootc.events import Notice, Report
from bootc.fetcher import Explain
from bootc.image import ImageReference
from bootc.session import OpenSystem, Session
from bootc.state import Failure
from bootc.status import CachedUpdate, Explanation, Host


def read_host(options: GlobalOptions, report: Report, *, is_verbose: bool = False) -> Host:
    """What there is to know; an empty Host on a machine that is none of ours. `is_verbose`: also how its images are
    fetched."""
    session = Session(options.selection, report)
    system = session.reader()
    if system is None:
        return Host()
    deployments = system.deployments
    booted = Slots.of(deployments).booted
    found = Host.of(
        deployments,
        cached_updates=_cached_update(system, booted, report) if booted else {},
        is_read_only=host.is_medium_read_only(system.machine.root),
        failures=_failures(system, report),
        verdicts=_verdicts(system, deployments, report),
    )
    return evolve(found, explanation=_explanation(session, deployments, report)) if is_verbose else found


def _explanation(session: Session, deployments: Sequence[Deployment], report: Report) -> Explanation | None:
    try:
        return _explained(session, followed(deployments))
    except DeploymentError:  # nothing is followed
        return None
    except BootcError as error:
        report(Notice(f"{error.message}; how upgrades are fetched is not shown", is_warning=True))
        return None


def _explained(session: Session, reference: ImageReference) -> Explanation:
    name = session.plugins.fetcher_for(reference.transport, session.config.settings.fetcher).name
    with session.fetcher(reference) as fetcher:
        texts = fetcher.explain(reference) if isinstance(fetcher, Explain) else {}
    return Explanation(reference, {"Fetcher": name, **texts})


def _verdicts(system: OpenSystem, deployments: Sequence[Deployment], report: Report) -> dict[DeploymentId, str]:
    try:
        found = {
            d.id: system.state.acceptances.verdict(d.reference, d.image.digest)
            for d in deployments
            if d.reference and d.image
        }
    except StateError as error:
        report(Notice(f"{error.message}; why images were accepted is not shown", is_warning=True))
        return {}
    return {id: verdict for id, verdict in found.items() if verdict}


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
