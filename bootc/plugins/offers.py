"""The records that plugins offer: asked for, checked, and refused where two share a name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from attrs import frozen

from bootc.config.typed import defect
from bootc.hookspec import BackendPlugin, BootloaderPlugin, Capability, CommandOffer, FetcherPlugin, Plugin
from bootc.plugins.loading import PluginFailure, Registered, explain

Record: TypeAlias = Plugin[Any, Any] | CommandOffer

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@frozen(eq=False)
class Offer:
    """A record and the plugin that offers it."""

    plugin: Registered
    kind: str
    record: Record


_HOOKS: tuple[tuple[str, str, type], ...] = (
    ("bootc_fetchers", FetcherPlugin.kind, FetcherPlugin),
    ("bootc_storage_backends", BackendPlugin.kind, BackendPlugin),
    ("bootc_bootloaders", BootloaderPlugin.kind, BootloaderPlugin),
    ("bootc_commands", "command", CommandOffer),
)


def collect(plugins: Iterable[Registered]) -> tuple[tuple[Offer, ...], tuple[PluginFailure, ...]]:
    """All valid records, in order of plugins; a plugin with one bad answer loses all its records."""
    offers: list[Offer] = []
    failures: list[PluginFailure] = []
    for plugin in plugins:
        found, problem = _offers_of(plugin)
        offers += found
        failures += [plugin.failure(problem)] if problem else []
    return _without_duplicates(offers, failures)


def _offers_of(plugin: Registered) -> tuple[list[Offer], str | None]:
    found: list[Offer] = []
    for hook, kind, expected in _HOOKS:
        if plugin.offers(hook):
            answer = _answer(plugin, hook, expected)
            if isinstance(answer, str):
                return [], f"{hook}: {answer}"
            found += [Offer(plugin, kind, record) for record in answer]
    return found, None


def _answer(plugin: Registered, hook: str, expected: type) -> Sequence[Record] | str:
    try:
        answer = plugin.call(hook)
        if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
            return f"answered {_short(answer)}, not a sequence of {expected.__name__}"
        for record in answer:
            problem = _defect(record, expected)
            if problem:
                return problem
        return answer
    except (Exception, SystemExit) as error:
        return explain(error)


def _defect(record: object, expected: type) -> str | None:
    if not isinstance(record, expected):
        return f"answered {_short(record)} where a {expected.__name__} belongs"
    name = getattr(record, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"{_short(name)} is no name (lower-case letters, digits and dashes)"
    problem = _plugin_defect(record) if isinstance(record, Plugin) else None
    return f"{name}: {problem}" if problem else None


def _plugin_defect(record: Plugin[Any, Any]) -> str | None:
    capabilities: object = record.capabilities
    if not isinstance(capabilities, frozenset) or not all(isinstance(item, Capability) for item in capabilities):
        return "capabilities is no frozenset of Capability"
    calls: tuple[Callable[..., object], ...] = (record.open, record.unavailable, record.more_capabilities)
    if isinstance(record, FetcherPlugin):
        transports: object = record.transports
        if not isinstance(transports, frozenset) or not transports or not all(isinstance(t, str) for t in transports):
            return "transports is no frozenset of names"
    if isinstance(record, BackendPlugin | BootloaderPlugin):
        calls = (*calls, record.probe)
    if isinstance(record, BackendPlugin):
        state: object = record.state
        if not isinstance(state, PurePosixPath) or state.is_absolute() or not state.parts or ".." in state.parts:
            return "state is no path below the sysroot"
    if not all(callable(call) for call in calls):
        return "open, unavailable, more_capabilities or probe cannot be called"
    return defect(record.options)


def _without_duplicates(
    offers: Sequence[Offer], failures: list[PluginFailure]
) -> tuple[tuple[Offer, ...], tuple[PluginFailure, ...]]:
    same: defaultdict[tuple[str, str], list[Offer]] = defaultdict(list)
    for offer in offers:
        same[offer.kind, offer.record.name].append(offer)
    for (kind, name), rivals in same.items():
        if len(rivals) > 1:
            owners = " and ".join(f"{offer.plugin.failure('').owner}" for offer in rivals)
            reason = f"{kind} {name!r} is offered by {owners}; none of them is used"
            failures += [offer.plugin.failure(reason, name) for offer in rivals]
    kept = tuple(offer for offer in offers if len(same[offer.kind, offer.record.name]) == 1)
    return kept, tuple(failures)


def _short(value: object) -> str:
    return f"{value!r:.80}"
