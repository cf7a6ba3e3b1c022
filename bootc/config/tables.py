"""TOML files as tables in which every value knows where it was written."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from attrs import field, frozen

from bootc.errors import ConfigError

KeyPath: TypeAlias = tuple[str, ...]

_LIMIT = 1 << 20
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@frozen
class Value:
    """A value that is no table, and the files (or "command line") that gave it."""

    value: object
    source: str


@frozen
class Table:
    """A table; `source` is the last file that wrote into it."""

    entries: Mapping[str, Value | Table] = field(factory=dict)
    source: str = "default"

    @classmethod
    def of(cls, document: Mapping[str, object], source: str) -> Table:
        """From parsed TOML."""
        entries = {
            key: cls.of(value, source) if isinstance(value, dict) else Value(value, source)
            for key, value in document.items()
        }
        return cls(entries, source)

    def table(self, *path: str) -> Table:
        """The table of that name; an empty one if there is none. ConfigError if a value is there."""
        found = self
        for number, key in enumerate(path, 1):
            entry = found.entries.get(key, Table())
            if isinstance(entry, Value):
                raise ConfigError(entry.source, dotted(path[:number]), "must be a table")
            found = entry
        return found

    def without(self, *path: str) -> Table:
        """The same without one entry."""
        key, *rest = path
        entries = {name: entry for name, entry in self.entries.items() if name != key}
        inner = self.entries.get(key)
        if rest and isinstance(inner, Table):
            entries[key] = inner.without(*rest)
        return Table(entries, self.source)

    def leaves(self, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Value]]:
        """All values with their keys, in the order of keys."""
        for key, entry in sorted(self.entries.items()):
            if isinstance(entry, Table):
                yield from entry.leaves((*path, key))
            else:
                yield (*path, key), entry


def merge(base: Table, new: Table, appended: Collection[KeyPath] = (), path: KeyPath = ()) -> Table:
    """Both tables in one: key by key the value of `new` wins; lists whose key is in `appended` are put together."""
    entries = dict(base.entries)
    for key, entry in new.entries.items():
        old, here = entries.get(key), (*path, key)
        if isinstance(old, Table) and isinstance(entry, Table):
            entries[key] = merge(old, entry, appended, here)
        elif here in appended and isinstance(old, Value) and isinstance(entry, Value):
            entries[key] = _joined(old, entry)
        else:
            entries[key] = entry
    return Table(entries, new.source)


def _joined(old: Value, new: Value) -> Value:
    if not (isinstance(old.value, list) and isinstance(new.value, list)):
        return new
    return Value([*old.value, *new.value], ", ".join(dict.fromkeys((old.source, new.source))))


def read(path: Path) -> Table:
    """Parse one file. ConfigError names it, and the line where it is no TOML."""
    source = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(source, None, "not a regular file")
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise ConfigError(source, None, error.strerror or str(error)) from error
    if len(data) > _LIMIT:
        raise ConfigError(source, None, f"larger than {_LIMIT} bytes")
    try:
        return Table.of(tomllib.loads(data.decode()), source)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(source, None, f"not UTF-8 (at line {line})") from error
    except ValueError as error:
        raise ConfigError(source, None, f"not valid TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(source, None, "not valid TOML: nested too deeply") from error


def files_in(directory: Path) -> tuple[Path, ...]:
    """The `*.toml` files of a directory in order of their names; hidden ones are ignored."""
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise ConfigError(str(directory), None, error.strerror or str(error)) from error
    return tuple(directory / name for name in names if name.endswith(".toml") and not name.startswith("."))


def dotted(path: Iterable[str]) -> str:
    """A key as TOML writes it: `install.filesystem."odd key"`."""
    return ".".join(key if _BARE_KEY.fullmatch(key) else json.dumps(key) for key in path)
