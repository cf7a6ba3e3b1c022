"""A few seconds of fuzzing, the same ones each time; `make fuzz` is the long form."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.mutations import changed, words_of
from tests.fuzz.targets import FOUND, TARGETS, found


@pytest.mark.parametrize("name", TARGETS)
def test_samples_and_what_was_found_once(name: str) -> None:
    for data in (*TARGETS[name].samples, *(path.read_bytes() for path in found(name))):
        TARGETS[name].check(data)


def test_every_folder_of_findings_belongs_to_a_target() -> None:
    assert {path.name for path in FOUND.glob("*")} <= TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_changed_samples(name: str) -> None:
    target, chance = TARGETS[name], Random(name)
    words = words_of(target.samples)
    for _ in range(300):
        data = chance.choice(target.samples)
        for _ in range(chance.randint(1, 3)):
            data = changed(data, chance, words)
            target.check(target.mend(data))
