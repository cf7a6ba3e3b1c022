"""From tables to typed options: attrs classes whose fields are the keys.

A field `root_fs_type` is the key `root-fs-type`. Types of fields: `str`, `int`, `bool`, `float`, `Literal[...]` of
strings or integers, `tuple[T, ...]` of these, `T | None`, and another such class for a table within the table. Every
field has a default.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from bootc.config.tables import KeyPath, Table, Value, dotted
from bootc.errors import ConfigError

Options = TypeVar("Options")

_SECRET_WORDS = ("password", "passphrase", "token", "secret", "credential")
_NAMES = {str: "a string", int: "an integer", bool: "true or false", float: "a number"}


def convert(cls: type[Options], table: Table, path: KeyPath) -> Options:
    """The table at `path` as an instance of `cls`. ConfigError names the file and the key."""
    keys = _keys(cls)
    values: dict[str, object] = {}
    for key, entry in table.entries.items():
        here = (*path, key)
        if key not in keys:
            raise ConfigError(entry.source, dotted(here), "unknown key", _suggestion(key, keys))
        name, hint = keys[key]
        values[name] = _value(hint, entry, here)
        _construct(cls, {name: values[name]}, entry.source, here)
    return _construct(cls, values, table.source, path)


def defaults(cls: type, path: KeyPath) -> dict[KeyPath, object]:
    """What holds for each key that no file mentions."""
    return dict(_leaves(cls(), path))


def defect(cls: object) -> str | None:
    """Why this cannot be a class of options; None if it can."""
    if not isinstance(cls, type) or not attrs.has(cls):
        return f"options {cls!r} is no attrs class"
    try:
        hints = [hint for _, hint in _keys(cls).values()]
        cls()
    except Exception as error:
        return f"options class {cls.__name__}: {error}"
    for hint in map(_inner, hints):
        if attrs.has(hint):
            problem = defect(hint)
            if problem:
                return problem
        elif not _is_supported(hint):
            return f"options class {cls.__name__}: type {hint!r} cannot be configured"
    return None


def is_secret(path: KeyPath) -> bool:
    """Whether values of this key must not be shown."""
    return any(word in key.lower() for key in path for word in _SECRET_WORDS)


def _keys(cls: type) -> Mapping[str, tuple[str, Any]]:
    hints = get_type_hints(cls)
    fields = [attribute for attribute in attrs.fields(cls) if attribute.init]
    return {field.alias.replace("_", "-"): (field.alias, hints[field.name]) for field in fields}


def _leaves(options: Any, path: KeyPath) -> list[tuple[KeyPath, object]]:
    found: list[tuple[KeyPath, object]] = []
    for field in (attribute for attribute in attrs.fields(type(options)) if attribute.init):
        value, here = getattr(options, field.name), (*path, field.alias.replace("_", "-"))
        found += _leaves(value, here) if attrs.has(type(value)) else [(here, value)]
    return found


def _construct(cls: type[Options], values: Mapping[str, object], source: str, path: KeyPath) -> Options:
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        problem = "not a valid value" if is_secret(path) else str(error.args[0] if error.args else error)
        raise ConfigError(source, dotted(path), problem) from error


def _value(hint: Any, entry: Value | Table, path: KeyPath) -> object:
    hint = _inner(hint)
    if attrs.has(hint):
        if isinstance(entry, Value):
            raise ConfigError(entry.source, dotted(path), "must be a table")
        return convert(hint, entry, path)
    if isinstance(entry, Table):
        raise ConfigError(entry.source, dotted(path), f"must be {_name(hint)}, not a table")
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint)[0], entry, path)
    return _scalar(hint, entry.value, entry.source, dotted(path))


def _tuple(hint: Any, entry: Value, path: KeyPath) -> tuple[object, ...]:
    if not isinstance(entry.value, list | tuple):
        raise ConfigError(entry.source, dotted(path), "must be a list")
    return tuple(
        _scalar(_inner(hint), item, entry.source, f"{dotted(path)}[{number}]")
        for number, item in enumerate(entry.value)
    )


def _scalar(hint: Any, value: object, source: str, key: str) -> object:
    if hint is float and type(value) in (int, float) and math.isfinite(value):  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type]
    if get_origin(hint) is Literal:
        if any(value == choice and type(value) is type(choice) for choice in get_args(hint)):
            return value
    elif hint is type(value) and hint is not float:  # bool is an int, but true is no number of tries
        return value
    raise ConfigError(source, key, f"must be {_name(hint)}")


def _inner(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        others = [choice for choice in get_args(hint) if choice is not type(None)]
        return others[0] if len(others) == 1 else hint
    return hint


def _is_supported(hint: Any) -> bool:
    if get_origin(hint) is tuple:
        args = get_args(hint)
        return len(args) == 2 and args[1] is Ellipsis and get_origin(args[0]) is not tuple and _is_supported(args[0])
    if get_origin(hint) is Literal:
        return all(type(choice) in (str, int) for choice in get_args(hint))
    return hint in _NAMES


def _name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    return "a list" if get_origin(hint) is tuple else _NAMES.get(hint, str(hint))


def _suggestion(key: str, keys: Mapping[str, object]) -> str:
    close = get_close_matches(key, keys, 1) or get_close_matches(key.replace("_", "-"), keys, 1)
    return f"did you mean {close[0]}?" if close else f"known keys: {', '.join(sorted(keys)) or 'none'}"
