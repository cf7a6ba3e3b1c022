"""Kernel arguments that an image ships: usr/lib/bootc/kargs.d/*.toml."""

from __future__ import annotations

import tomllib
from pathlib import PurePosixPath
from typing import Any

from bootc.deployment import KernelArguments
from bootc.errors import ConfigError
from bootc.platform import Platform
from bootc.storage import Tree

DIRECTORY = PurePosixPath("usr/lib/bootc/kargs.d")


def read(tree: Tree, platform: Platform) -> tuple[str, ...]:
    """The arguments of all files, in order of file names, for this architecture.

    Keys: `kargs`, a list of strings (each may hold several arguments), and `match-architectures`, a list of
    architecture names. Raises ConfigError for anything else.
    """
    found: list[str] = []
    for name in tree.names(DIRECTORY):
        if name.endswith(".toml") and not name.startswith("."):
            found += _arguments(_parse(tree, DIRECTORY / name), str(DIRECTORY / name), platform)
    return tuple(found)


def _parse(tree: Tree, path: PurePosixPath) -> dict[str, Any]:
    try:
        return tomllib.loads((tree.read_optional(path) or b"").decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), None, f"not valid TOML: {error}") from error


def _arguments(document: dict[str, Any], source: str, platform: Platform) -> list[str]:
    for key in document:
        if key not in ("kargs", "match-architectures"):
            raise ConfigError(source, key, "unknown key")
    architectures = _strings(document, "match-architectures", source)
    if "match-architectures" in document and platform.kargs_name not in architectures:
        return []
    return [item for text in _strings(document, "kargs", source) for item in _split(text, source)]


def _strings(document: dict[str, Any], key: str, source: str) -> list[str]:
    value = document.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(source, key, "not a list of strings")
    return value


def _split(text: str, source: str) -> tuple[str, ...]:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ConfigError(source, "kargs", f"control characters in {text!r}")
    return KernelArguments.parse(text).items
