"""The pytest plugin of the kit, opted into with `-p bootc.testing.plugin`.

It applies the public ledger of deviations, skips tests of capabilities that are not declared, makes sure that no test
of a suite is missing, and runs tests in processes of their own where the suite asks for it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bootc.testing.child import ChildError, in_namespaces
from bootc.testing.selection import selected
from bootc.testing.suite import ConformanceSuite

pytest.register_assert_rewrite(
    "bootc.testing.storage",
    "bootc.testing.bootloader",
    *(f"bootc.testing.fetcher_{part}" for part in ("blobs", "failures", "hostile", "place", "resolving")),
)

PATIENCE = 300
"""seconds that a test in a process of its own may take"""

_UNDECLARED = pytest.StashKey[bool]()
_MODULES: pytest.StashKey[list[pytest.Module]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the kit."""
    group = parser.getgroup("bootc", "conformance of bootc plugins")
    for kind in ("backend", "fetcher", "bootloader"):
        group.addoption(f"--bootc-{kind}", metavar="NAME", help=f"run the conformance suite on this installed {kind}")
    group.addoption(
        "--bootc-deviations", metavar="FILE", help="the ledger of a plugin that is named: TEST = REASON (TOML)"
    )
    group.addoption("--bootc-no-skip", action="store_true", help="any skip but of an undeclared capability fails")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and remember what was selected."""
    config.addinivalue_line("markers", "clause(number, ...): the clauses of the contract that a test is of")
    config.addinivalue_line("markers", "needs(capability): for plugins that declare this capability")
    config.addinivalue_line("markers", "undeclared(what): for what the plugin does not offer")
    config.addinivalue_line("markers", "recorded: for plugins whose changes all go through volumes")
    config.addinivalue_line("markers", "lacks(capability): for plugins that do not declare this capability")
    modules: list[pytest.Module] = []
    config.stash[_MODULES] = modules
    for kind in ("backend", "fetcher", "bootloader"):
        setattr(selected, kind, config.getoption(f"--bootc-{kind}"))
    ledger = config.getoption("--bootc-deviations")
    selected.deviations = tomllib.loads(Path(ledger).read_text()) if ledger else {}


# ---------------------------------------------------------------- collection


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Note modules, to look for suites of which nothing was collected; a module that is skipped is a skip, too."""
    outcome: Any = yield
    report = outcome.get_result()
    if isinstance(collector, pytest.Module) and report.outcome == "passed":
        collector.config.stash[_MODULES].append(collector)
    if report.outcome == "skipped" and collector.config.getoption("--bootc-no-skip"):
        report.outcome = "failed"
        report.longrepr = f"skipped under --bootc-no-skip: {report.longrepr}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Apply the ledgers; refuse a run in which a test of a suite is missing."""
    for item in items:
        suite = _suite_of(item)
        reason = suite.deviations.get(_name_of(item)) if suite else None
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=f"known deviation: {reason}", strict=True))
    is_narrowed = any("::" in str(argument) for argument in config.args) or config.getoption("lf", False)
    if not is_narrowed:
        modules = config.stash[_MODULES]
        _require_all(modules, items)


def _require_all(modules: Iterable[pytest.Module], items: Iterable[pytest.Item]) -> None:
    found: dict[type, set[str]] = {}
    for item in items:
        suite = _suite_of(item)
        if suite:
            found.setdefault(suite, set()).add(_name_of(item))
    for module in modules:
        for suite in _suites_in(module.obj):
            missing = suite.names_of_tests() - found.get(suite, set())
            if missing:
                some = ", ".join(sorted(missing)[:3])
                hint = "a class must be named Test…; what a plugin cannot do stands in `deviations`"
                raise pytest.UsageError(f"{suite.__name__}: {len(missing)} tests not collected ({some}, …); {hint}")


def _suites_in(module: Any) -> list[type[ConformanceSuite]]:
    own = (value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
    classes = (value for value in own if isinstance(value, type) and issubclass(value, ConformanceSuite))
    return [suite for suite in classes if not suite.__name__.startswith("_")]


# ---------------------------------------------------------------- skips


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of what the plugin does not declare."""
    suite = _suite_of(item)
    if suite is None:
        return
    needed = {capability for mark in item.iter_markers("needs") for capability in mark.args}
    excluded = {capability for mark in item.iter_markers("lacks") for capability in mark.args}
    reasons = [f"capability {capability.value} is not declared" for capability in needed - suite.capabilities]
    reasons += [f"capability {capability.value} is declared" for capability in excluded & suite.capabilities]
    reasons += [f"{what} is not declared" for mark in item.iter_markers("undeclared") for what in mark.args]
    if item.get_closest_marker("recorded") and getattr(suite, "writes", "recorded") != "recorded":
        reasons.append("its writes are declared opaque")
    if reasons:
        item.stash[_UNDECLARED] = True
        pytest.skip(", ".join(sorted(reasons)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Under --bootc-no-skip, a skip for any other reason is a failure."""
    outcome: Any = yield
    report = outcome.get_result()
    is_skip = report.outcome == "skipped" and not hasattr(report, "wasxfail")
    if is_skip and item.config.getoption("--bootc-no-skip") and not item.stash.get(_UNDECLARED, False):
        report.outcome = "failed"
        report.longrepr = f"skipped under --bootc-no-skip: {report.longrepr}"


# ---------------------------------------------------------------- processes


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test in a child with its own mounts and process ids, and report what it reported."""
    suite = _suite_of(item)
    if suite is None or not suite.runs_in_child:
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _run_in_child(item):
        hook.pytest_runtest_logreport(report=report)
    # what an earlier test of this process set up, and kept for this one
    item.session._setupstate.teardown_exact(nextitem)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _run_in_child(item: pytest.Item) -> list[pytest.TestReport]:
    from _pytest.runner import runtestprotocol

    hook, config = item.config.hook, item.config

    def run() -> list[dict[str, Any]]:
        # only the test itself is torn down: wider fixtures may be the parent's, who goes on using them
        within: Any = item.parent
        reports = runtestprotocol(item, log=False, nextitem=within)
        return [hook.pytest_report_to_serializable(config=config, report=report) for report in reports]

    try:
        answers = in_namespaces(run, PATIENCE)
    except ChildError as error:
        return [pytest.TestReport(item.nodeid, item.location, {}, "failed", error.message, "call")]
    return [hook.pytest_report_from_serializable(config=config, data=answer) for answer in answers]


def _suite_of(item: pytest.Item) -> type[ConformanceSuite] | None:
    cls = getattr(item, "cls", None)
    return cls if isinstance(cls, type) and issubclass(cls, ConformanceSuite) else None


def _name_of(item: pytest.Item) -> str:
    """Without what parameters add."""
    name: str | None = getattr(item, "originalname", None)
    return name or item.name
