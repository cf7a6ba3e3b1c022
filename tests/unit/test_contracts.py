"""The written contracts and the suites of the kit: each clause has a test, and each test cites one."""

import re
from pathlib import Path

import pytest

from bootc.testing.bootloader import BootloaderSuite
from bootc.testing.fetcher import FetcherSuite
from bootc.testing.storage import StorageBackendSuite
from bootc.testing.suite import ConformanceSuite

CONTRACTS = Path(__file__).parents[2] / "docs/contracts"
SUITES = {"bootloader": BootloaderSuite, "fetcher": FetcherSuite, "storage": StorageBackendSuite}


@pytest.mark.parametrize(("name", "suite"), SUITES.items(), ids=SUITES.keys())
def test_clauses_and_tests_are_the_same(name: str, suite: type[ConformanceSuite]) -> None:
    written = re.findall(r"^- \*\*([A-Z][\d.]+)\*\* ", (CONTRACTS / f"{name}.md").read_text(), re.MULTILINE)
    tests = {test: clauses for test, clauses in suite.clauses().items() if clauses}
    assert sorted(set(written)) == sorted(written)
    assert {clause for clauses in tests.values() for clause in clauses} == set(written)


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES.keys())
def test_every_test_cites_a_clause(suite: type[ConformanceSuite]) -> None:
    assert [test for test, clauses in suite.clauses().items() if not clauses] == []
