"""The text of a registries.conf, containers-registries.conf(5): one file, checked and normalised."""

from __future__ import annotations

import enum
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from attrs import frozen

from bootc.errors import ConfigError

AUTH_FILES = "containers-auth.json"
"""in `credential-helpers`: no program, but the files with credentials"""
_LONGEST_NAME = 255
"""characters, as of any repository's name"""
_V1 = ("search", "insecure", "block")
T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)


class PullRule(enum.Enum):
    """For which references a mirror is asked (`pull-from-mirror`)."""

    ALL = "all"
    DIGEST_ONLY = "digest-only"
    TAG_ONLY = "tag-only"


class ShortNameMode(enum.Enum):
    """When podman asks what a short name means (`short-name-mode`). This tool cannot ask: it refuses in all of them."""

    ENFORCING = "enforcing"
    PERMISSIVE = "permissive"
    DISABLED = "disabled"


@frozen
class Mirror:
    """A `[[registry.mirror]]`."""

    location: str
    is_insecure: bool = False
    rule: PullRule = PullRule.ALL


@frozen
class Registry:
    """A `[[registry]]`. `location` is empty for a wildcard that rewrites nothing."""

    prefix: str
    location: str
    is_insecure: bool = False
    is_blocked: bool = False
    is_mirrored_by_digest_only: bool = False
    mirrors: tuple[Mirror, ...] = ()
    source: str = ""
    """the file it stands in"""

    @property
    def is_wildcard(self) -> bool:
        """Whether the prefix is `*.DOMAIN`."""
        return self.prefix.startswith("*.")


@frozen
class RegistriesFile:
    """What one file says; None: nothing about that."""

    registries: tuple[Registry, ...] = ()
    search: tuple[str, ...] | None = None
    helpers: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = {}
    """short name to full name; empty: an alias of an earlier file is taken back"""


def parse(data: bytes, source: str, *, is_drop_in: bool = False) -> RegistriesFile:
    """Read version 2, and in main files version 1, too. Unknown keys are passed over. Raises ConfigError."""
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(source, None, f"not valid TOML: {error}") from error
    table = _Table(document, source)
    first = document.get("registries")
    if isinstance(first, dict) and any(name in first for name in _V1):
        if is_drop_in or "registry" in document or "unqualified-search-registries" in document:
            raise ConfigError(source, "registries", "version 1 of the format, which cannot stand here")
        return _version_1(_Table(first, source, "registries."))
    if table.get("short-name-mode", str, ""):
        table.choice("short-name-mode", ShortNameMode)
    return RegistriesFile(
        _without_conflicts(tuple(_registry(entry) for entry in table.tables("registry")), source),
        _texts(table, "unqualified-search-registries"),
        _texts(table, "credential-helpers"),
        _aliases(table.get("aliases", dict, {}), source),
    )


@frozen
class _Table:
    """A table and where it stands, for errors."""

    values: Mapping[str, Any]
    source: str
    path: str = ""

    def get(self, key: str, kind: type[T], default: T) -> T:
        value = self.values.get(key, default)
        if not isinstance(value, kind):
            raise self.error(key, f"must be of type {kind.__name__}")
        return value

    def choice(self, key: str, kind: type[E]) -> E:
        try:
            return kind(self.get(key, str, ""))
        except ValueError:
            raise self.error(key, f"must be one of {', '.join(str(item.value) for item in kind)}") from None

    def tables(self, key: str) -> Iterator[_Table]:
        entries: list[Any] = self.get(key, list, [])
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict):
                raise self.error(key, "must be a list of tables")
            yield _Table(entry, self.source, f"{self.path}{key} {number}: ")

    def location(self, key: str) -> str:
        """HOST[:PORT][/PATH], without the slashes at its end."""
        text = self.get(key, str, "").rstrip("/")
        if text.startswith(("http://", "https://")):
            raise self.error(key, "must be HOST[:PORT][/PATH] without a scheme")
        if any(character.isspace() or not character.isprintable() for character in text):
            raise self.error(key, "contains characters that cannot be part of a name")
        if len(text) > _LONGEST_NAME:
            raise self.error(key, f"is longer than {_LONGEST_NAME} characters")
        return text

    def error(self, key: str, problem: str) -> ConfigError:
        return ConfigError(self.source, f"{self.path}{key}", problem)


def _registry(table: _Table) -> Registry:
    location = table.location("location")
    prefix = table.location("prefix") or location
    is_wildcard = prefix.startswith("*.")
    if is_wildcard and any(character in prefix for character in "/@:"):
        raise table.error("prefix", "a wildcard must be *.DOMAIN, without port and path")
    if not location and not is_wildcard:
        raise table.error("location", "is missing; only a prefix with a wildcard can do without")
    if "pull-from-mirror" in table.values:
        raise table.error("pull-from-mirror", "belongs to a mirror")
    is_blocked = table.get("blocked", bool, False)
    if is_blocked and re.search(r"/.*[:@]", prefix):
        raise table.error("prefix", "names a tag or a digest; only a whole repository can be blocked")
    by_digest = table.get("mirror-by-digest-only", bool, False)
    return Registry(
        prefix,
        location,
        table.get("insecure", bool, False),
        is_blocked,
        by_digest,
        tuple(_mirror(entry, by_digest=by_digest) for entry in table.tables("mirror")),
        table.source,
    )


def _mirror(table: _Table, *, by_digest: bool) -> Mirror:
    location = table.location("location")
    if not location:
        raise table.error("location", "is missing")
    rule = PullRule.ALL
    if table.get("pull-from-mirror", str, ""):
        rule = table.choice("pull-from-mirror", PullRule)
        if by_digest:
            raise table.error("pull-from-mirror", "cannot be used together with mirror-by-digest-only")
    return Mirror(location, table.get("insecure", bool, False), rule)


def _without_conflicts(registries: Sequence[Registry], source: str) -> tuple[Registry, ...]:
    """The first of each prefix. One location must be described alike wherever it is named."""
    known: dict[str, Registry] = {}
    result: dict[str, Registry] = {}
    for registry in registries:
        place = registry.location or registry.prefix
        other = known.setdefault(place, registry)
        for key, ours, theirs in (
            ("insecure", registry.is_insecure, other.is_insecure),
            ("blocked", registry.is_blocked, other.is_blocked),
        ):
            if ours != theirs:
                raise ConfigError(source, "registry", f"{place} is listed twice, with different `{key}`")
        result.setdefault(registry.prefix, registry)
    return tuple(result.values())


def _texts(table: _Table, key: str) -> tuple[str, ...] | None:
    if key not in table.values:
        return None
    values: list[Any] = table.get(key, list, [])
    if not all(isinstance(value, str) and value for value in values):
        raise table.error(key, "must be a list of texts")
    return tuple(value.rstrip("/") for value in values)


def _aliases(values: Mapping[str, object], source: str) -> Mapping[str, str]:
    for name, value in values.items():
        if not isinstance(value, str):
            raise ConfigError(source, f"aliases.{name}", "must be a text")
    return {name: str(value) for name, value in values.items()}


def _version_1(table: _Table) -> RegistriesFile:
    """`[registries.search]`, `[registries.insecure]` and `[registries.block]`, each with a list `registries`."""
    search, insecure, blocked = (
        _texts(_Table(table.get(name, dict, {}), table.source, f"{table.path}{name}."), "registries") or ()
        for name in _V1
    )
    places = dict.fromkeys((*insecure, *blocked))
    registries = tuple(
        Registry(place, place, place in insecure, place in blocked, source=table.source) for place in places
    )
    return RegistriesFile(registries, search)
