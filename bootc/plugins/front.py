"""The typed front of all plugins: by name, by transport, and as a list for people."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from attrs import frozen

from bootc.config import Config
from bootc.durable import DirectoryVolume
from bootc.errors import ConfigError, UnavailablePluginError, UnknownPluginError
from bootc.events import Report
from bootc.hookspec import PROJECT, BackendPlugin, BootloaderPlugin, Capability, CommandOffer, FetcherPlugin, Plugin
from bootc.machine import Machine
from bootc.plugins.events import EventHooks
from bootc.plugins.loading import PluginFailure, Registered, broken_as_error, distribution_of, explain, register_all
from bootc.plugins.offers import Offer, collect

_Record = TypeVar("_Record", bound=Plugin[Any, Any])


@frozen
class Description:
    """One line of `bootc plugins`."""

    kind: str
    name: str
    summary: str
    distribution: str
    version: str
    capabilities: tuple[str, ...]
    unavailable: str | None
    """why it cannot work on this machine"""


@frozen(eq=False)
class Plugins:
    """All plugins of this Python installation."""

    registered: tuple[Registered, ...]
    offers: tuple[Offer, ...]
    failures: tuple[PluginFailure, ...]

    @classmethod
    def load(cls, entries: Iterable[EntryPoint] | None = None) -> Plugins:
        """Load every entry point of the group `bootc` (or these). Never fails: see `failures`."""
        registered, broken = register_all(entry_points(group=PROJECT) if entries is None else entries)
        offers, refused = collect(registered)
        return cls(tuple(registered), offers, (*broken, *refused))

    def fetchers(self) -> dict[str, FetcherPlugin[Any]]:
        """By name."""
        return self._of(FetcherPlugin)

    def backends(self) -> dict[str, BackendPlugin[Any]]:
        """By name."""
        return self._of(BackendPlugin)

    def bootloaders(self) -> dict[str, BootloaderPlugin[Any]]:
        """By name."""
        return self._of(BootloaderPlugin)

    def commands(self) -> dict[str, CommandOffer]:
        """By name."""
        return {offer.record.name: offer.record for offer in self.offers if isinstance(offer.record, CommandOffer)}

    def backend(self, name: str) -> BackendPlugin[Any]:
        """The backend of this name. Raises UnknownPluginError or UnavailablePluginError."""
        return self._usable(BackendPlugin.kind, name, self.backends())

    def bootloader(self, name: str) -> BootloaderPlugin[Any]:
        """The bootloader of this name. Raises UnknownPluginError or UnavailablePluginError."""
        return self._usable(BootloaderPlugin.kind, name, self.bootloaders())

    def fetcher(self, name: str) -> FetcherPlugin[Any]:
        """The fetcher of this name. Raises UnknownPluginError or UnavailablePluginError."""
        return self._usable(FetcherPlugin.kind, name, self.fetchers())

    def fetcher_for(self, transport: str, preferred: str | None = None) -> FetcherPlugin[Any]:
        """The fetcher for a transport: the preferred one if it serves it, else the available one of highest priority.

        Two of equal priority need a preference: ConfigError. Raises UnknownPluginError and UnavailablePluginError.
        """
        if (
            preferred is not None
            and transport in self._known(FetcherPlugin.kind, preferred, self.fetchers()).transports
        ):
            return self.fetcher(preferred)
        serving = [fetcher for fetcher in self.fetchers().values() if transport in fetcher.transports]
        if not serving:
            served = sorted({name for fetcher in self.fetchers().values() for name in fetcher.transports})
            raise UnknownPluginError("fetcher for transport", transport, served, self._broken())
        usable = [fetcher for fetcher in serving if unavailable(fetcher) is None]
        best = max(usable or serving, key=lambda fetcher: fetcher.priority)
        rivals = sorted(fetcher.name for fetcher in usable if fetcher.priority == best.priority)
        if len(rivals) > 1:
            problem = f"{' and '.join(rivals)} both serve {transport}"
            raise ConfigError("configuration", "bootc.fetcher", problem, "set it to the one that you prefer")
        return self.fetcher(best.name)

    def probe_backends(self, sysroot: DirectoryVolume) -> tuple[BackendPlugin[Any], ...]:
        """Backends that recognise a sysroot which has no record of ours. Raises PluginError."""
        return tuple(plugin for plugin in self.backends().values() if _probed(plugin, sysroot))

    def probe_bootloaders(self, machine: Machine) -> tuple[BootloaderPlugin[Any], ...]:
        """Bootloaders by which this machine starts. Raises PluginError."""
        return tuple(plugin for plugin in self.bootloaders().values() if _probed(plugin, machine))

    def hooks(self, report: Report) -> EventHooks:
        """The event hooks of all plugins; their warnings go to `report`."""
        return EventHooks(self.registered, report)

    def check_configuration(self, config: Config) -> None:
        """Every plugin's table must fit its plugin. Raises ConfigError."""
        known = {(offer.kind, offer.record.name): offer.record for offer in self.offers}
        for section in config.sections():
            record, key = known.get((section.kind, section.name)), f"{section.kind}s.{section.name}"
            if isinstance(record, Plugin):
                config.options(record)
            elif failure := self._failure(section.name):
                raise ConfigError(section.source, key, failure)
            else:
                names = [name for kind, name in known if kind == section.kind]
                hint = f"known: {', '.join(names) or 'none'}"
                raise ConfigError(section.source, key, f"there is no {section.kind} {section.name!r}", hint)

    def configurable(self) -> tuple[Plugin[Any, Any], ...]:
        """All that has a table in the configuration."""
        return tuple(offer.record for offer in self.offers if isinstance(offer.record, Plugin))

    def describe(self, config: Config | None = None) -> tuple[Description, ...]:
        """All fetchers, backends, bootloaders and commands, by kind and name. What failed is in `failures`.

        Capabilities are those with the options of `config`; without it, or where it is wrong, those with any options.
        """
        found = (_describe(offer, config) for offer in self.offers)
        return tuple(sorted(found, key=lambda item: (item.kind, item.name)))

    def _of(self, cls: type[_Record]) -> dict[str, _Record]:
        return {offer.record.name: offer.record for offer in self.offers if isinstance(offer.record, cls)}

    def _known(self, kind: str, name: str, plugins: dict[str, _Record]) -> _Record:
        if name not in plugins:
            raise UnknownPluginError(kind, name, plugins, self._failure(name) or self._broken())
        return plugins[name]

    def _usable(self, kind: str, name: str, plugins: dict[str, _Record]) -> _Record:
        plugin = self._known(kind, name, plugins)
        reason = unavailable(plugin)
        if reason is not None:
            raise UnavailablePluginError(kind, name, reason)
        return plugin

    def _failure(self, name: str) -> str | None:
        return next((str(failure) for failure in self.failures if name in (failure.name, failure.record)), None)

    def _broken(self) -> str | None:
        names = ", ".join(dict.fromkeys(failure.name for failure in self.failures))
        return f"perhaps from a plugin that failed to load: {names}" if names else None


def unavailable(plugin: Plugin[Any, Any]) -> str | None:
    """Why this plugin cannot work on this machine; None if it can."""
    try:
        return plugin.unavailable()
    except (Exception, SystemExit) as error:
        return f"its own check failed: {explain(error)}"


def _probed(plugin: Any, subject: object) -> bool:
    with broken_as_error(plugin.name, "probe"):
        return bool(plugin.probe(subject))


def _describe(offer: Offer, config: Config | None) -> Description:
    record = offer.record
    capable = sorted(item.value for item in _capabilities(record, config)) if isinstance(record, Plugin) else []
    reason = unavailable(record) if isinstance(record, Plugin) else None
    owner = distribution_of(offer.plugin.entry)
    return Description(offer.kind, record.name, record.summary, *owner, tuple(capable), reason)


def _capabilities(plugin: Plugin[Any, Any], config: Config | None) -> frozenset[Capability]:
    if config is None:
        return plugin.capabilities
    try:
        return plugin.capabilities_with(config.options(plugin))
    except (Exception, SystemExit):  # its options, or the plugin itself: to list it is possible all the same
        return plugin.capabilities
