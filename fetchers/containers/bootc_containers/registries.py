"""Which registries serve an image: all of registries.conf(5) and its drop-ins, applied to one name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import evolve, field, frozen

from bootc.errors import ConfigError, PolicyError, ReferenceError
from bootc_containers.names import RegistryName
from bootc_containers.places import Places, read_bounded
from bootc_containers.registries_file import AUTH_FILES, PullRule, RegistriesFile, Registry, parse

_ALIAS_CACHE = "var/cache/containers/short-name-aliases.conf"


def is_listed(authority: str, listed: Iterable[str]) -> bool:
    """Whether HOST[:PORT] is among names of hosts; HOST alone stands for all its ports."""
    authority = authority.lower()
    host, _, port = authority.rpartition(":")
    names = {authority, host} if port.isdecimal() else {authority}
    return not names.isdisjoint(name.lower() for name in listed)


@frozen
class PullSource:
    """One place to ask for an image: `name` is its name there."""

    name: RegistryName
    is_insecure: bool
    """its certificate is not checked, and plain http is tried where https fails"""
    is_mirror: bool


@frozen
class Registries:
    """The configuration of all registries; without any file, every image comes from its own registry."""

    registries: Mapping[str, Registry] = field(factory=dict)
    """by prefix"""
    search: tuple[str, ...] = ()
    """where podman looks for short names"""
    helpers: tuple[str, ...] = (AUTH_FILES,)
    """where credentials are looked up, in order"""
    aliases: Mapping[str, str] = field(factory=dict)
    """full names of short names"""
    learned: Path | None = None
    """file with the aliases that podman's users chose when they were asked; they go before those of the files"""
    files: tuple[Path, ...] = ()
    """which were read, in order"""

    @classmethod
    def load(cls, places: Places) -> Registries:
        """Read the main file, then the drop-ins. Raises ConfigError."""
        found = cls()
        explicit = places.variable("CONTAINERS_REGISTRIES_CONF")
        if explicit is not None:
            found = found.with_file(explicit, is_drop_in=False, is_needed=True)
        else:
            main = next((path for path in places.main("registries.conf") if path.exists()), None)
            found = found.with_file(main, is_drop_in=False) if main else found
            for path in places.drop_ins("conf.d", "registries", ".conf"):
                found = found.with_file(path, is_drop_in=True)
        last = places.variable("CONTAINERS_REGISTRIES_CONF_OVERRIDE")
        found = found.with_file(last, is_drop_in=True, is_needed=True) if last else found
        return evolve(found, learned=places.root / _ALIAS_CACHE)

    def with_file(self, path: Path, *, is_drop_in: bool, is_needed: bool = False) -> Registries:
        """With what one more file says. Raises ConfigError."""
        try:
            file = parse(read_bounded(path), str(path), is_drop_in=is_drop_in)
        except FileNotFoundError as error:
            if is_needed:
                raise ConfigError(str(path), None, "does not exist; a variable of the environment names it") from error
            return self
        return evolve(self._merged(file), files=(*self.files, path))

    def sources(self, name: RegistryName, reference: str) -> tuple[PullSource, ...]:
        """Where to ask for the image, in order; its own registry (or what stands for it) comes last.

        Raises PolicyError if it is blocked, under its own name or under the one it is rewritten to. A blocked mirror is
        left out.
        """
        registry = self._find(name)
        primary = name if registry is None else _rewritten(name, registry, registry.location)
        for blocked in (registry, self._find(primary)):
            if blocked is not None and blocked.is_blocked:
                hint = f"`blocked` is set for {blocked.prefix} in {blocked.source}"
                raise PolicyError(reference, "blocked by the configuration of registries", hint)
        if registry is None:
            return (PullSource(name, False, False),)
        mirrors = tuple(
            PullSource(_rewritten(name, registry, mirror.location), mirror.is_insecure, True)
            for mirror in registry.mirrors
            if _asks_mirrors(name, registry, mirror.rule)
        )
        return (
            *(mirror for mirror in mirrors if not self._is_blocked(mirror.name)),
            PullSource(primary, registry.is_insecure, False),
        )

    def only(self, prefix: str) -> Registries:
        """What one table says, if it stood alone."""
        table = self.registries.get(prefix)
        return Registries({prefix: table} if table else {})

    def is_insecure(self, authority: str) -> bool:
        """Whether a whole HOST[:PORT] is listed as insecure: for servers to which a registry redirects."""
        registry = self.registries.get(authority)
        return registry is not None and registry.is_insecure

    def require_unambiguous(self, text: str) -> None:
        """Refuse a short name that podman would look for elsewhere than Docker Hub. Raises ReferenceError."""
        meanings = self.meanings(text)
        plain = str(RegistryName.parse(text).repository)
        if meanings and meanings != (plain,):
            names = ", ".join(meanings)
            hint = f"write the full name: here it means {plain}, to podman {names}"
            raise ReferenceError(text, "a short name that is ambiguous on this machine", hint)

    def meanings(self, text: str) -> tuple[str, ...]:
        """The repositories in which podman would look for a short name; () for a full one, or if it would not know."""
        short = re.sub(r"(:[^/]*)?(@.*)?$", "", text)
        domain, slash, _ = short.partition("/")
        if slash and (domain == "localhost" or re.search(r"[.:A-Z]", domain)):
            return ()
        alias = {**self.aliases, **self._learned_aliases()}.get(short)
        names = (alias,) if alias else tuple(f"{host}/{short}" for host in self.search)
        return tuple(dict.fromkeys(str(RegistryName.parse(name).repository) for name in names))

    def _find(self, name: RegistryName) -> Registry | None:
        """The table with the longest prefix that fits."""
        fitting = [registry for registry in self.registries.values() if _matched(name, registry) is not None]
        return max(fitting, key=lambda registry: (len(registry.prefix), not registry.is_wildcard), default=None)

    def _is_blocked(self, name: RegistryName) -> bool:
        registry = self._find(name)
        return registry is not None and registry.is_blocked

    def _merged(self, file: RegistriesFile) -> Registries:
        """A table replaces that of the same prefix as a whole; lists are replaced, too."""
        return evolve(
            self,
            registries={**self.registries, **{registry.prefix: registry for registry in file.registries}},
            search=self.search if file.search is None else file.search,
            helpers=self.helpers if file.helpers is None else file.helpers or (AUTH_FILES,),
            aliases={**self.aliases, **file.aliases},
        )

    def _learned_aliases(self) -> Mapping[str, str]:
        try:
            return parse(read_bounded(self.learned), str(self.learned), is_drop_in=True).aliases if self.learned else {}
        except FileNotFoundError:
            return {}


def _text(name: RegistryName) -> str:
    return f"{name.repository}@{name.digest}" if name.digest else f"{name.repository}:{name.tag}"


def _matched(name: RegistryName, registry: Registry) -> int | None:
    """How many characters of the repository's name the prefix stands for; None: it does not fit."""
    if registry.is_wildcard:
        host = name.repository.domain.partition(":")[0]
        return len(host) if host.endswith(registry.prefix[1:]) else None
    text, prefix = str(name.repository), registry.prefix
    # `h.example` stands for `h.example:5000`, too: upstream calls that unintended, and keeps it.
    fits = text == prefix or text.startswith((f"{prefix}/", f"{prefix}:"))
    return len(prefix) if fits else None


def _rewritten(name: RegistryName, registry: Registry, location: str) -> RegistryName:
    """The name with its beginning replaced. Raises ConfigError if no name results."""
    matched = _matched(name, registry)
    if not location or matched is None:
        return name
    text = location + _text(name)[matched:]
    try:
        parsed = RegistryName.parse(text)
    except ReferenceError as error:
        raise ConfigError(registry.source, registry.prefix, f"makes {text!r} of {_text(name)}") from error
    if _text(parsed) != text:
        raise ConfigError(registry.source, registry.prefix, f"location {location!r} makes an incomplete name: {text!r}")
    return parsed if name.digest is None else evolve(parsed, tag=name.tag)


def _asks_mirrors(name: RegistryName, registry: Registry, rule: PullRule) -> bool:
    if name.digest is not None:
        return rule is not PullRule.TAG_ONLY
    return rule is not PullRule.DIGEST_ONLY and not registry.is_mirrored_by_digest_only
