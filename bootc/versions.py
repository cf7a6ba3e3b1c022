"""Orders of version labels; none is assumed, because labels follow no common rule."""

from __future__ import annotations

import re
from typing import TypeAlias

_TOKEN = re.compile(r"\d+|[A-Za-z]+|[~^.-]", re.ASCII)
_SIGNS = {"~": 0, "-": 2, "^": 3, ".": 4}
_END, _WORD, _NUMBER = 1, 5, 6

Key: TypeAlias = tuple[tuple[int, int, str], ...]


def uapi_key(version: str) -> Key:
    """Sorts as the UAPI group's Version Format Specification says, and `systemd-analyze compare-versions` does."""
    return (*map(_rank, _TOKEN.findall(version)), (_END, 0, ""))


def _rank(token: str) -> tuple[int, int, str]:
    if token in _SIGNS:
        return _SIGNS[token], 0, ""
    if token.isdecimal():
        digits = token.lstrip("0")
        return _NUMBER, len(digits), digits
    return _WORD, 0, token
