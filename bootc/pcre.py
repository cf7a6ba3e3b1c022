"""Patterns of file_contexts (PCRE, anchored at both ends) in the words of Python's `re`, and what they begin with."""

from __future__ import annotations

import re
from collections.abc import Iterator

META = frozenset(".^$?*+|[({")
_QUANTIFIERS = frozenset("?*+{")
_SAME_ESCAPES = frozenset("dDwWsSbBntrfax")
_CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "blank": r" \t",
    "xdigit": "0-9A-Fa-f",
    "word": r"\w",
    "punct": r"!-/:-@\[-`{-~",
    "print": " -~",
    "graph": "!-~",
    "cntrl": r"\x00-\x1f\x7f",
}
_PIECE = re.compile(
    r"\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^]\\])*\]|\{\d+(?:,\d*)?\}|\((?:\?(?:[:=!>]|<[=!]))?|.", re.DOTALL
)
_IN_CLASS = re.compile(r"\[:(\^?)(\w+):\]|\\.|.", re.DOTALL)


def translate(regex: str) -> str:
    """The same pattern for `re` with DOTALL, without groups that capture. Raises ValueError for what it cannot say."""
    return "".join(_translated(piece) for piece in _pieces(regex))


def alternatives(regex: str) -> list[str]:
    """What stands between the `|` that are in no group: one for nearly every pattern there is."""
    found, depth = [""], 0
    for piece in _pieces(regex):
        depth += piece.startswith("(") - (piece == ")")
        if piece == "|" and depth == 0:
            found.append("")
        else:
            found[-1] += piece
    return found


def beginning(regex: str) -> tuple[str, int]:
    """The text with which every match of a pattern of one alternative begins, and where the rest of it starts."""
    text, index, last = "", 0, 0
    while index < len(regex) and regex[index] not in META:
        end = index + 1 + (regex[index] == "\\")
        if regex[index] == "\\" and (end > len(regex) or regex[end - 1].isalnum()):
            return text, index
        text, last, index = text + regex[end - 1], index, end
    if text and index < len(regex) and regex[index] in _QUANTIFIERS:
        return text[:-1], last
    return text, index


def _pieces(regex: str) -> Iterator[str]:
    return (found[0] for found in _PIECE.finditer(regex))


def _translated(piece: str) -> str:
    if piece == "(":
        return "(?:"
    if piece == "{":
        return r"\{"
    if piece.startswith("\\"):
        return _escape(piece)
    if piece.startswith("[") and len(piece) > 1:
        return _class(piece)
    if piece == "[":
        raise ValueError("a [ without its ]")
    return piece


def _escape(piece: str) -> str:
    if len(piece) == 1:
        raise ValueError("nothing after the last \\")
    if piece[1].isalnum() and piece[1] not in _SAME_ESCAPES:
        raise ValueError(f"{piece} is not supported")
    return piece


def _class(piece: str) -> str:
    negation = "^" if piece[1] == "^" else ""
    body = piece[1 + len(negation) : -1]
    return f"[{negation}{''.join(_member(found) for found in _IN_CLASS.finditer(body))}]"


def _member(found: re.Match[str]) -> str:
    text = found[0]
    if found[2]:
        if found[1] or found[2] not in _CLASSES:
            raise ValueError(f"{text} is not supported")
        return _CLASSES[found[2]]
    if text.startswith("\\"):
        return _escape(text)
    return f"\\{text}" if text in "[]&|~" else text
