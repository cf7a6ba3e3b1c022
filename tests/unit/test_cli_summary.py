"""`--json` of upgrade, switch and their check: whole documents, as docs/upgrade.md describes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from bootc.cli.account import Account
from bootc.cli.summary import check_document, show, update_document
from bootc.events import Event, FetchPlanned, LayerFetched, Phase, PhaseFinished, RequestMade
from bootc.partial.prediction import LayerPrediction, Method, Prediction
from bootc.updates import Change, Check, Update
from tests.unit.test_cli_messages import (
    AFTER,
    BEFORE,
    FAILURE,
    NEW,
    OLD,
    REFERENCE,
    SIGNED,
    STAGED,
    deployment,
    fetched,
)

DOCS = Path(__file__).parents[2] / "docs/upgrade.md"
ONE = f"sha256:{'e' * 64}"
EVENTS: tuple[Event, ...] = (
    RequestMade(),
    PhaseFinished(Phase.RESOLVE, 0.12345),
    FetchPlanned(str(NEW), layers_present=1, bytes_present=1000, layers_needed=1, bytes_needed=3_000_000),
    RequestMade(ONE),
    RequestMade(ONE),
    LayerFetched(ONE, 3_000_000, 500_000, reused=2_400_000, seconds=1.5004),
    PhaseFinished(Phase.IMPORT, 2.0),
    PhaseFinished(Phase.STAGE, 0.5),
)
NO_COST = {
    "layersPresent": 0,
    "bytesPresent": 0,
    "layersFetched": [],
    "bytesFetched": 0,
    "bytesReused": 0,
    "bytesSaved": 0,
    "requests": None,
    "seconds": {},
}


def account(*events: Event) -> Account:
    found = Account()
    for event in events:
        found(event)
    return found


def test_an_update_and_what_it_cost() -> None:
    assert update_document(Update(Change.STAGED, SIGNED, STAGED, BEFORE), account(*EVENTS)) == {
        "change": "staged",
        "reference": "docker://reg.example/os:stable",
        "signature": "containerPolicy",
        "digest": str(NEW),
        "version": "2",
        "timestamp": None,
        "previousDigest": str(OLD),
        "failure": None,
        "deployment": STAGED.id,
        "downloadOnly": False,
        "layersPresent": 1,
        "bytesPresent": 1000,
        "layersFetched": [
            {
                "digest": ONE,
                "size": 3_000_000,
                "bytesFetched": 500_000,
                "bytesReused": 2_400_000,
                "bytesSaved": 2_500_000,
                "requests": 2,
                "seconds": 1.5,
            }
        ],
        "bytesFetched": 500_000,
        "bytesReused": 2_400_000,
        "bytesSaved": 2_501_000,
        "requests": 3,
        "seconds": {"resolve": 0.123, "import": 2.0, "stage": 0.5},
    }


UPDATES: dict[str, tuple[Update, dict[str, Any]]] = {
    "nothing new": (
        Update(Change.NONE, REFERENCE, deployment(BEFORE, is_booted=True)),
        {"change": "none", "digest": str(OLD), "version": "1", "deployment": deployment(BEFORE).id},
    ),
    "only downloaded": (
        Update(Change.LOCKED, REFERENCE, evolve(STAGED, is_locked=True)),
        {"change": "locked", "digest": str(NEW), "version": "2", "deployment": STAGED.id, "downloadOnly": True},
    ),
    "failed before": (
        Update(Change.FAILED_BEFORE, REFERENCE, failure=FAILURE),
        {
            "change": "failed-before",
            "digest": str(NEW),
            "failure": "failed to boot, 2026-01-02T03:04:05Z: none of 3 boots was completed",
        },
    ),
}


@pytest.mark.parametrize(("update", "told"), UPDATES.values(), ids=UPDATES)
def test_an_update_that_fetched_nothing(update: Update, told: dict[str, Any]) -> None:
    assert update_document(update, account()) == {
        "reference": "docker://reg.example/os:stable",
        "signature": None,
        "version": None,
        "timestamp": None,
        "previousDigest": None,
        "failure": None,
        "deployment": None,
        "downloadOnly": False,
        **NO_COST,
        **told,
    }


PARTS = LayerPrediction(NEW, Method.PARTS, 3_000_000, 25_000, 4)
WHOLE = LayerPrediction(OLD, Method.WHOLE, 1000, 1000, 1)
CHECK = Check(REFERENCE, fetched(NEW, "2"), BEFORE, None, Prediction((PARTS, WHOLE)))


def test_a_check_tells_what_would_be_fetched() -> None:
    assert check_document(CHECK, account(*EVENTS[:2])) == {
        "change": "available",
        "reference": "docker://reg.example/os:stable",
        "signature": None,
        "digest": str(NEW),
        "version": "2",
        "timestamp": None,
        "previousDigest": str(OLD),
        "failure": None,
        "prediction": {
            "bytes": 26_000,
            "requests": 5,
            "layers": [
                {"digest": str(NEW), "size": 3_000_000, "method": "parts", "bytes": 25_000, "requests": 4},
                {"digest": str(OLD), "size": 1000, "method": "whole", "bytes": 1000, "requests": 1},
            ],
        },
        "requests": 1,
        "seconds": {"resolve": 0.123},
    }


def test_a_check_without_news() -> None:
    found = check_document(Check(REFERENCE, None, AFTER), account())
    assert (found["change"], found["digest"], found["prediction"]) == ("none", str(NEW), None)


def test_a_check_of_an_image_that_failed_before() -> None:
    found = check_document(Check(REFERENCE, fetched(NEW, "2"), BEFORE, FAILURE, Prediction(())), account())
    assert (found["change"], found["digest"]) == ("failed-before", str(NEW))
    assert found["failure"] == "failed to boot, 2026-01-02T03:04:05Z: none of 3 boots was completed"


def test_one_line_of_json_or_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    show({"b": 1, "a": "\x1b"}, ["never"], is_json=True)
    show({"b": 1}, ["one", "two\x1b"], is_json=False)
    assert capsys.readouterr().out == '{"a":"\\u001b","b":1}\none\ntwo\\x1b\n'


def test_every_key_is_documented() -> None:
    update = update_document(Update(Change.STAGED, REFERENCE, STAGED, BEFORE), account(*EVENTS))
    named = set(re.findall(r"`([\w-]+)`", DOCS.read_text()))
    assert keys(update) | keys(check_document(CHECK, account())) <= named
    assert {change.value for change in Change} <= named


def keys(value: object) -> set[str]:
    """The names of all fields, but for the phases."""
    if isinstance(value, list):
        return {key for item in value for key in keys(item)}
    if isinstance(value, dict):
        inner = {key for name, item in value.items() if name != "seconds" for key in keys(item)}
        return {*value, *inner}
    return set()
