"""Hostile registries: a catalogue of cases, each with what may come of it, and the trial of one case with one fetcher.

A case is a name, an outcome, and knobs that are turned: in the image that is served (`scene`), or in how the registry
behaves (`bootc.testing.registry`). Whatever the outcome, there is an end within seconds, no secret reaches a log, a
message or another host, no wrong byte counts, and memory stays below 200 MiB. `CATALOGUE` has all cases by clause of
the contract; the suite of fetchers has a test for each clause (`bootc.testing.fetcher_hostile`).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from bootc.testing.hostile import (
    encryption,
    indexes,
    layers,
    logins,
    manifests,
    parts,
    peeks,
    redirection,
    refusals,
    transfers,
    trouble,
)
from bootc.testing.hostile.case import Case, Knob, Outcome
from bootc.testing.hostile.errands import FETCH, PART, PEEK, REST, Errand

__all__ = ["CATALOGUE", "Case", "Chapter", "Errand", "Knob", "Outcome", "count"]


@frozen
class Chapter:
    """The cases of one clause, and what a fetcher is sent for in them."""

    cases: tuple[Case, ...]
    errand: Errand = FETCH


CATALOGUE: Mapping[str, Chapter] = {
    "F29": Chapter(trouble.PASSING),
    "F30": Chapter((*trouble.LASTING, *trouble.WAITING)),
    "F31": Chapter(refusals.CASES),
    "F32": Chapter(transfers.FRAMING),
    "F33": Chapter(transfers.HEADERS),
    "F34": Chapter(transfers.RANGES),
    "F35": Chapter(redirection.CASES),
    "F36": Chapter(logins.TOKENS),
    "F37": Chapter(logins.REALMS),
    "F38": Chapter(logins.STRANGERS),
    "F39": Chapter(manifests.MANIFESTS),
    "F40": Chapter(manifests.CONFIGS),
    "F41": Chapter(indexes.INDEXES),
    "F42": Chapter(layers.NAMED),
    "F43": Chapter(layers.INSIDE),
    "F44": Chapter(encryption.CASES),
    "F45": Chapter(parts.CASES, REST),
    "F46": Chapter(parts.CASES, PART),
    "F47": Chapter(peeks.CASES, PEEK),
}
"""the clauses of docs/contracts/fetcher.md"""


def count() -> int:
    """The cases in all."""
    return sum(len(chapter.cases) for chapter in CATALOGUE.values())
