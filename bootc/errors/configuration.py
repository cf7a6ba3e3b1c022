"""What configuration, plugins and records can have wrong."""

from __future__ import annotations

from collections.abc import Iterable

from bootc.errors.base import BootcError


class ConfigError(BootcError):
    """A configuration file that cannot be read or does not say something valid."""

    usual_hint = "correct this, then try again"

    def __init__(self, source: str, key: str | None, problem: str, hint: str | None = None) -> None:
        self.source, self.key, self.problem = source, key, problem
        super().__init__(f"{source}: {key}: {problem}" if key else f"{source}: {problem}", hint)


class PluginError(BootcError):
    """A plugin broke its contract: it could not be loaded, or one of its hooks raised."""

    def __init__(self, plugin: str, problem: str) -> None:
        self.plugin, self.problem = plugin, problem
        super().__init__(f"plugin {plugin}: {problem}", "`bootc plugins` lists what was loaded and what failed")


class UnknownPluginError(BootcError):
    """No loaded plugin of this kind has this name."""

    def __init__(self, kind: str, name: str, known: Iterable[str], failure: str | None = None) -> None:
        self.kind, self.name, self.known, self.failure = kind, name, tuple(known), failure
        why = f": {failure}" if failure else ""
        super().__init__(f"unknown {kind} {name!r}{why}", f"known: {', '.join(self.known) or 'none'}")


class UnavailablePluginError(BootcError):
    """The selected plugin cannot work on this machine."""

    def __init__(self, kind: str, name: str, reason: str) -> None:
        self.kind, self.name, self.reason = kind, name, reason
        super().__init__(f"{kind} {name!r} is not available: {reason}", "install what it needs or select another one")


class MissingCapabilityError(BootcError):
    """What was asked for is a capability that the selected plugin does not declare."""

    def __init__(self, kind: str, name: str, capability: str) -> None:
        self.kind, self.name, self.capability = kind, name, capability
        super().__init__(f"{kind} {name!r} does not support {capability}", "`bootc plugins` lists capabilities")


class StateError(BootcError):
    """A record on the sysroot is missing, damaged or from a newer version."""

    usual_hint = "restore this file, or install again"

    def __init__(self, path: str, problem: str, hint: str | None = None) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}", hint)


class BackendMismatchError(BootcError):
    """Another backend was asked for than the one that owns the sysroot."""

    def __init__(self, requested: str, installed: str) -> None:
        self.requested, self.installed = requested, installed
        super().__init__(
            f"this system was installed with backend {installed!r}; cannot use {requested!r}",
            f"leave out --backend, or use --backend {installed}",
        )
