"""The kit's pytest plugin: nothing of a suite is left out in silence."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

SUITE = """
    import pytest
    from bootc.hookspec import Capability
    from bootc.testing.suite import ConformanceSuite, clause, lacks, needs, recorded

    class Suite(ConformanceSuite):
        @pytest.fixture
        def answer(self):
            raise NotImplementedError("define the fixture answer")

        @clause("X1")
        def test_answer(self, answer):
            assert answer == 42

        @clause("X2", "X3")
        @needs(Capability.PIN)
        def test_pin(self):
            pass

        @clause("X4")
        @lacks(Capability.PIN)
        @pytest.mark.parametrize("number", [1, 2])
        def test_no_pin(self, number):
            pass
"""
OPTIONS = ("-p", "bootc.testing.plugin", "-p", "no:cacheprovider", "-rsx", "--strict-markers")


class Runner:
    """Runs pytest on a class that derives from the suite."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester

    def __call__(self, body: str, *options: str, head: str = "class TestMine(Suite):") -> pytest.RunResult:
        lines = ["import pytest", "from kit_suite import *", "", head, *(f"    {line}" for line in body.splitlines())]
        self._pytester.makepyfile(test_mine="\n".join(lines))
        return self._pytester.runpytest(*OPTIONS, *options)


@pytest.fixture
def run(pytester: pytest.Pytester) -> Runner:
    pytester.makepyfile(kit_suite=SUITE)
    return Runner(pytester)


RIGHT = """@pytest.fixture
def answer(self):
    return 42
"""
WRONG = RIGHT.replace("42", "41")


def test_what_is_not_declared_is_skipped_with_its_reason(run: Runner) -> None:
    result = run(RIGHT, "--bootc-no-skip")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["*capability pin is not declared*"])
    run(RIGHT + "capabilities = frozenset({Capability.PIN})").assert_outcomes(passed=2, skipped=2)


def test_a_fixture_that_is_left_open_is_an_error_in_every_test(run: Runner) -> None:
    result = run("pass")
    result.assert_outcomes(passed=2, skipped=1, errors=1)
    result.stdout.fnmatch_lines(["*define the fixture answer*"])


def test_a_known_deviation_is_shown_and_a_mended_one_fails(run: Runner) -> None:
    ledger = 'deviations = {"test_answer": "it says 41"}'
    result = run(WRONG + ledger)
    result.assert_outcomes(passed=2, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["*known deviation: it says 41*"])
    # Of another length: Python tells files of one second apart by that.
    run(f"{RIGHT}{ledger}  # mended").assert_outcomes(passed=2, skipped=1, failed=1)


def test_a_misspelt_deviation_fails_at_once(run: Runner) -> None:
    result = run(RIGHT + 'deviations = {"test_anwser": "typo"}')
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*TestMine.deviations names no test of the suite: test_anwser*"])


@pytest.mark.parametrize(
    ("body", "head", "missing"),
    [
        (RIGHT, "class Mine(Suite):", "Mine: 3 tests not collected"),
        (RIGHT + "test_pin = None", "class TestMine(Suite):", "TestMine: 1 tests not collected"),
        (RIGHT + "def __init__(self): pass", "class TestMine(Suite):", "TestMine: 3 tests not collected"),
    ],
    ids=["name", "overridden", "constructor"],
)
def test_tests_that_pytest_drops_fail_the_run(run: Runner, body: str, head: str, missing: str) -> None:
    result = run(body, head=head)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{missing}*"])


def test_selected_tests_are_no_reason_to_complain(run: Runner, pytester: pytest.Pytester) -> None:
    run(RIGHT, "-k", "answer").assert_outcomes(passed=1, deselected=3)
    pytester.runpytest(*OPTIONS, "test_mine.py::TestMine::test_answer").assert_outcomes(passed=1)


def test_any_other_skip_is_a_failure_where_none_is_allowed(run: Runner, pytester: pytest.Pytester) -> None:
    skipping = RIGHT.replace("    return 42", "    pytest.skip('no network')")
    run(skipping).assert_outcomes(passed=2, skipped=2)
    result = run(skipping, "--bootc-no-skip")
    result.assert_outcomes(passed=2, skipped=1, errors=1)
    pytester.makepyfile(test_more="import pytest\npytest.skip('all of it', allow_module_level=True)")
    assert pytester.runpytest(*OPTIONS, "--bootc-no-skip", "test_more.py").ret == pytest.ExitCode.INTERRUPTED


def test_clauses_are_what_tests_cite(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(kit_suite=SUITE)
    pytester.makepyfile("""
        from kit_suite import Suite

        def test_clauses():
            assert Suite.clauses() == {"test_answer": ("X1",), "test_pin": ("X2", "X3"), "test_no_pin": ("X4",)}
    """)
    pytester.runpytest(*OPTIONS).assert_outcomes(passed=1)


def test_nobody_gets_the_plugin_who_does_not_ask_for_it() -> None:
    assert [entry for entry in entry_points(group="pytest11") if entry.value.startswith("bootc")] == []
