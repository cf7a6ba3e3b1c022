"""From entry points to registered plugins, one by one; what fails is reported and harms no other.

Every plugin gets a pluggy manager of its own: a registration that fails leaves nothing behind (pluggy 1.0 keeps half of
it in a shared manager), a hook's answer belongs to one plugin, and no plugin can wrap another's hooks.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import Any

import pluggy
from attrs import frozen

from bootc.errors import BootcError, CancelledError, PluginError
from bootc.hookspec import PROJECT, Hooks

HOOKS = tuple(name for name in vars(Hooks) if name.startswith("bootc_"))


@frozen
class PluginFailure:
    """A plugin, or one of its records, that is not used, and why."""

    name: str
    """the entry point's"""
    distribution: str
    version: str
    reason: str
    record: str | None = None
    """the name of the fetcher, backend, bootloader or command, where only that is refused"""

    def __str__(self) -> str:
        return f"{self.owner}: {self.reason}"

    @property
    def owner(self) -> str:
        """The plugin and the distribution that brought it."""
        return f"plugin {self.name} ({self.distribution} {self.version})"


@frozen(eq=False)
class Registered:
    """A plugin that was loaded and whose hooks fit the specification."""

    entry: EntryPoint
    manager: pluggy.PluginManager

    @property
    def name(self) -> str:
        """The entry point's name."""
        return self.entry.name

    def offers(self, hook: str) -> bool:
        """Whether it has this hook."""
        return bool(getattr(self.manager.hook, hook).get_hookimpls())

    def call(self, hook: str, **arguments: object) -> Any:
        """The hook's answer, None if it gave none. Whatever it raises passes."""
        answers = getattr(self.manager.hook, hook)(**arguments)
        return answers[0] if answers else None

    def failure(self, reason: str, record: str | None = None) -> PluginFailure:
        """That this plugin, or one of its records, is refused."""
        return failure_of(self.entry, reason, record)


def register_all(entries: Iterable[EntryPoint]) -> tuple[list[Registered], list[PluginFailure]]:
    """Load each entry point, in order of names. Entry points that share a name are all refused."""
    by_name: defaultdict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entries:
        by_name[entry.name].append(entry)
    plugins: list[Registered] = []
    failures: list[PluginFailure] = []
    for _, same in sorted(by_name.items()):
        result = _register(same[0]) if len(same) == 1 else _ambiguous(same)
        if isinstance(result, Registered):
            plugins.append(result)
        else:
            failures.append(result)
    return plugins, failures


def distribution_of(entry: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that brought an entry point."""
    try:
        if entry.dist is None:
            return "unknown", "unknown"
        return entry.dist.metadata["Name"] or "unknown", entry.dist.version or "unknown"
    except Exception:  # damaged metadata must not hide what else is to say of the plugin
        return "unknown", "unknown"


def failure_of(entry: EntryPoint, reason: str, record: str | None = None) -> PluginFailure:
    """That an entry point, or one record of its plugin, is refused."""
    return PluginFailure(entry.name, *distribution_of(entry), reason, record)


@contextmanager
def broken_as_error(plugin: str, doing: str) -> Iterator[None]:
    """Whatever foreign code raises in here becomes a PluginError; cancellation passes."""
    try:
        yield
    except (CancelledError, PluginError):
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(plugin, f"{doing}: {explain(error)}") from error


def explain(error: BaseException) -> str:
    """One line on what foreign code raised."""
    text = " ".join(str(error).split())
    if isinstance(error, BootcError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _register(entry: EntryPoint) -> Registered | PluginFailure:
    try:
        plugin = entry.load()
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(Hooks)
        manager.register(plugin, entry.name)
        manager.check_pending()
        registered = Registered(entry, manager)
        problem = _shape(plugin, registered)
    except (Exception, SystemExit) as error:
        return failure_of(entry, explain(error))
    return failure_of(entry, problem) if problem else registered


def _shape(plugin: object, registered: Registered) -> str | None:
    if inspect.isclass(plugin):
        return f"{registered.entry.value} is a class; the entry point must name a module or an instance"
    for hook in HOOKS:
        if callable(getattr(plugin, hook, None)) and not registered.offers(hook):
            return f"{hook} is not marked with hookimpl"
    if not any(map(registered.offers, HOOKS)):
        return f"{registered.entry.value} has no hooks"
    return None


def _ambiguous(entries: list[EntryPoint]) -> PluginFailure:
    owners = [distribution_of(entry) for entry in entries]
    names = " and ".join(
        f"{name} {version} ({entry.value})" for (name, version), entry in zip(owners, entries, strict=True)
    )
    return PluginFailure(
        entries[0].name,
        ", ".join(name for name, _ in owners),
        ", ".join(version for _, version in owners),
        f"the name is used by {names}; none of them is loaded",
    )
