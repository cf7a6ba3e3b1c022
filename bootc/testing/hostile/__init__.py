"""Hostile registries: a catalogue of cases, each with what may come of it, and the trial of one case with one fetcher.

A case is a name, an outcome, and knobs that are turned: in the image that is served (`scene`), or in how the registry
behaves (`bootc.testing.registry`). Whatever the outcome, there is an end within seconds, no secret reaches a log, a
message or another host, no wrong byte counts, and memory stays below 200 MiB. `CATALOGUE` has all cases by clause of
the contract; the suite of fetchers has a test for each clause (`bootc.testing.fetcher_hostile`).
"""

from __future__ import annotations

from collections.abc import Mapping

from bootc.testing.hostile import (
    encryption,
    indexes,
    layers,
    logins,
    manifests,
    peeks,
    redirection,
    refusals,
    transfers,
    trouble,
)
from bootc.testing.hostile.case import Case, Knob, Outcome

__all__ = ["CATALOGUE", "Case", "Knob", "Outcome"]

CATALOGUE: Mapping[str, tuple[Case, ...]] = {
    "F29": trouble.PASSING,
    "F30": (*trouble.LASTING, *trouble.WAITING),
    "F31": refusals.CASES,
    "F32": transfers.FRAMING,
    "F33": transfers.HEADERS,
    "F34": transfers.RANGES,
    "F35": redirection.CASES,
    "F36": logins.TOKENS,
    "F37": logins.REALMS,
    "F38": logins.STRANGERS,
    "F39": manifests.MANIFESTS,
    "F40": manifests.CONFIGS,
    "F41": indexes.INDEXES,
    "F42": layers.NAMED,
    "F43": layers.INSIDE,
    "F44": encryption.CASES,
    "F45": peeks.CASES,
}
"""the clauses of docs/contracts/fetcher.md, and the cases of each"""
