"""JSON records of ours on a sysroot: read with suspicion, written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from bootc.durable import Volume
from bootc.errors import StateError

_LIMIT = 64 << 20


def read(volume: Volume, path: PurePosixPath, hint: str | None = None) -> dict[str, Any] | None:
    """The object in this file; None if there is no file. Everything else is a StateError with this hint."""
    size = volume.size(path)
    if size is not None and size > _LIMIT:
        raise StateError(str(path), f"larger than {_LIMIT} bytes", hint)
    data = volume.read_optional(path)
    if data is None:
        return None
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise StateError(str(path), f"damaged: {error}", hint) from error
    if not isinstance(value, dict):
        raise StateError(str(path), "damaged: not a JSON object", hint)
    return value


def write(volume: Volume, path: PurePosixPath, document: Mapping[str, object]) -> None:
    """Replace the file, making its directories; what an earlier writing left half done there is removed."""
    volume.make_directories(path.parent)
    volume.sweep(path.parent)
    volume.replace(path, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode())


def text(document: Mapping[str, Any], key: str, path: PurePosixPath, hint: str | None = None) -> str:
    """A string that must be there and not empty."""
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise StateError(str(path), f"damaged: {key!r} is not a text", hint)
    return value


def texts(document: Mapping[str, Any], key: str, path: PurePosixPath, hint: str | None = None) -> tuple[str, ...]:
    """A list of strings; an absent one is empty."""
    value = document.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise StateError(str(path), f"damaged: {key!r} is not a list of texts", hint)
    return tuple(value)


def table(document: Mapping[str, Any], key: str, path: PurePosixPath, hint: str | None = None) -> dict[str, Any]:
    """An object; an absent one is empty."""
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise StateError(str(path), f"damaged: {key!r} is not an object", hint)
    return value
