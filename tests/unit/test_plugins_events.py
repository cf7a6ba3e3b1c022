"""Event hooks: who is asked, in which order, and what happens when a plugin fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any

import pytest
from attrs import frozen

from bootc.deployment import BootEntry, Deployment, DeploymentId, KernelArguments
from bootc.errors import CancelledError, ImageError, PluginError
from bootc.events import Event, Notice
from bootc.hookspec import ImageView, hookimpl
from bootc.plugins import EventHooks, Plugins
from bootc.storage import Finding

VIEW: Any = ImageView(object(), object())  # type: ignore[arg-type]
DEPLOYMENT = Deployment(
    DeploymentId("a.0"),
    "default",
    None,
    None,
    KernelArguments(),
    None,
    BootEntry(DeploymentId("a.0"), "a", "1", PurePosixPath("vmlinuz"), (), KernelArguments()),
)


@frozen
class LoadedEntry:
    """An entry point whose object is here already."""

    name: str
    plugin: object
    value: str = "here"
    dist: None = None

    def load(self) -> object:
        return self.plugin


def plugins(**functions: Callable[..., Any]) -> tuple[EventHooks, list[Event]]:
    """One plugin for each function, named by its key; the function's own name is the hook's."""
    entries: list[Any] = []
    for name, function in functions.items():
        plugin = ModuleType(name)
        setattr(plugin, function.__name__, hookimpl(function))
        entries.append(LoadedEntry(name, plugin))
    loaded = Plugins.load(entries)
    assert loaded.failures == ()
    events: list[Event] = []
    return loaded.hooks(events.append), events


def checking(answer: Any) -> Callable[..., Any]:
    """A hook that answers this, or raises it."""

    def bootc_check_image(image: ImageView) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return bootc_check_image


def adding(*arguments: str) -> Callable[..., Any]:
    """A hook that adds these kernel arguments."""

    def bootc_kernel_arguments(image: ImageView) -> Any:
        return arguments

    return bootc_kernel_arguments


def test_findings_of_all_plugins_come_in_order_of_their_names() -> None:
    first, second = Finding("a", "x", False), Finding("b", "y", True)
    hooks, _ = plugins(z=checking([second]), a=checking([first]))

    assert hooks.check_image(VIEW) == [first, second]


def test_a_generator_is_an_answer() -> None:
    def bootc_check_image(image: ImageView) -> Iterator[Finding]:
        yield Finding("a", "x", False)

    hooks, _ = plugins(a=bootc_check_image)

    assert hooks.check_image(VIEW) == [Finding("a", "x", False)]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(None, "answered None, not Finding records", id="nothing"),
        pytest.param("x", "answered 'x', not Finding records", id="text"),
        pytest.param(["x"], "answered 'x', not Finding records", id="list of texts"),
        pytest.param(3, "TypeError: 'int' object is not iterable", id="number"),
        pytest.param(ValueError("bo\nom"), "ValueError: bo om", id="raises"),
        pytest.param(ImageError("x", "no kernel"), "x: no kernel", id="raises an error of ours"),
        pytest.param(SystemExit(1), "SystemExit: 1", id="exits"),
    ],
)
def test_a_check_that_breaks_stops_the_update_and_names_the_plugin(answer: object, problem: str) -> None:
    hooks, _ = plugins(a=checking([]), b=checking(answer))

    with pytest.raises(PluginError) as caught:
        hooks.check_image(VIEW)

    assert caught.value.message == f"plugin b: bootc_check_image: {problem}"


def test_a_generator_that_breaks_in_the_middle_stops_the_update() -> None:
    def bootc_check_image(image: ImageView) -> Iterator[Finding]:
        yield Finding("a", "x", False)
        raise RuntimeError("late")

    hooks, _ = plugins(a=bootc_check_image)

    with pytest.raises(PluginError, match="RuntimeError: late"):
        hooks.check_image(VIEW)


def test_cancellation_passes_through_a_plugin() -> None:
    hooks, _ = plugins(a=checking(CancelledError()))

    with pytest.raises(CancelledError):
        hooks.check_image(VIEW)


def test_kernel_arguments_of_all_plugins() -> None:
    hooks, _ = plugins(b=adding("quiet"), a=adding("x=1", 'y="a b"'))

    assert hooks.kernel_arguments(VIEW) == ("x=1", 'y="a b"', "quiet")


@pytest.mark.parametrize("argument", ["a b", "", " a", "a\nb", "a\0", 'a="b c', "a\x1b[1m"])
def test_what_is_not_one_kernel_argument_is_refused(argument: str) -> None:
    hooks, _ = plugins(a=adding(argument))

    with pytest.raises(PluginError, match="is not one kernel argument"):
        hooks.kernel_arguments(VIEW)


def test_preparing_stops_at_the_first_plugin_that_fails() -> None:
    done = []

    def bootc_prepare(image: ImageView) -> None:
        done.append(image)

    def failing(image: ImageView) -> None:
        raise OSError(28, "No space left on device")

    failing.__name__ = "bootc_prepare"
    hooks, _ = plugins(a=bootc_prepare, b=failing, c=bootc_prepare)

    with pytest.raises(PluginError, match=r"plugin b: bootc_prepare: OSError: .*No space left"):
        hooks.prepare(VIEW)
    assert done == [VIEW]


def test_notices_only_warn_and_reach_every_plugin() -> None:
    told = []

    def bootc_deployment_staged(deployment: Deployment) -> None:
        told.append(("staged", deployment))

    def bootc_boot_completed(deployment: Deployment) -> None:
        told.append(("booted", deployment))

    def broken(deployment: Deployment) -> None:
        raise KeyError("x")

    broken.__name__ = "bootc_deployment_staged"
    hooks, events = plugins(a=broken, b=bootc_deployment_staged, c=bootc_boot_completed)

    hooks.staged(DEPLOYMENT)
    hooks.boot_completed(DEPLOYMENT)

    assert told == [("staged", DEPLOYMENT), ("booted", DEPLOYMENT)]
    assert events == [Notice("plugin a: bootc_deployment_staged: KeyError: 'x'", is_warning=True)]


def test_without_plugins_nothing_is_said() -> None:
    hooks = Plugins.load(list[EntryPoint]()).hooks(print)

    hooks.prepare(VIEW)
    hooks.staged(DEPLOYMENT)

    assert (hooks.check_image(VIEW), hooks.kernel_arguments(VIEW)) == ([], ())
