"""What all conformance suites share: clauses, declared capabilities, and the public ledger of deviations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from bootc.hookspec import Capability

clause = pytest.mark.clause
"""`@clause("S1.2")`: the clause of the contract, in docs/contracts, that a test holds a plugin to"""


def needs(capability: Capability) -> pytest.MarkDecorator:
    """For a test of something that only plugins with this capability can do; it is skipped for others."""
    return pytest.mark.needs(capability)


def lacks(capability: Capability) -> pytest.MarkDecorator:
    """For a test of what plugins do that lack this capability."""
    return pytest.mark.lacks(capability)


recorded = pytest.mark.recorded
"""for a test of plugins whose changes all go through volumes; it is skipped for others"""


class ConformanceSuite:
    """Base of the suites. A plugin's own class derives from a suite, and has a name that pytest collects (`Test…`).

    It is no ABC on purpose: pytest silently drops a class that leaves an abstract method open.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    """what the plugin declares; tests of others are skipped"""
    deviations: ClassVar[Mapping[str, str]] = {}
    """name of a test to the reason why the plugin cannot pass it: known, public, and checked to be still so"""
    runs_in_child: ClassVar[bool] = False
    """each test in a process of its own, with its own mounts and process ids; needs root"""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        unknown = sorted(set(cls.deviations) - cls.names_of_tests())
        if unknown:
            raise TypeError(f"{cls.__name__}.deviations names no test of the suite: {', '.join(unknown)}")

    @classmethod
    def names_of_tests(cls) -> frozenset[str]:
        """The tests that a run of this class must have, whatever a subclass put in their place."""
        return frozenset(name for base in cls.__mro__ for name in vars(base) if name.startswith("test_"))

    @classmethod
    def clauses(cls) -> Mapping[str, tuple[str, ...]]:
        """The clauses that each test cites."""
        return {name: _cited(getattr(cls, name)) for name in sorted(cls.names_of_tests())}


def _cited(test: object) -> tuple[str, ...]:
    marks: list[pytest.Mark] = getattr(test, "pytestmark", [])
    return tuple(number for mark in marks if mark.name == "clause" for number in mark.args)
