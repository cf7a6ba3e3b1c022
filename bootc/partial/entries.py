"""The entries of a table of contents, read as a stream: that of a large layer would not fit into memory as objects."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

from bootc.errors import IntegrityError, UnsupportedError
from bootc.fetcher import Readable

ENTRY_LIMIT = 1 << 20
"""characters of one entry, or of anything else that stands beside the entries"""
_CHUNK = 256 << 10
_SPACE = " \t\r\n"


class Unusable(Exception):
    """The layer cannot be fetched in parts, or not this time; the whole blob still can."""


def entries(stream: Readable) -> Iterator[dict[str, Any]]:
    """Each object in the array `entries` of the object in this stream (RFC 8259). Raises Unusable."""
    document = _Document(stream)
    document.expect("{")
    seen = 0
    while document.following() != "}":
        key = document.value()
        document.expect(":")
        if key == "entries":
            seen += 1
            yield from _array(document)
        elif (value := document.value()) != 1 and key == "version":
            raise Unusable(f"its table of contents has version {value!r:.20}")
        if document.following() != "}":
            document.expect(",")
    document.expect("}")
    if document.following() or seen != 1:
        raise Unusable("its table of contents has no list of entries, several, or something behind them")


def _array(document: _Document) -> Iterator[dict[str, Any]]:
    document.expect("[")
    is_first = True
    while document.following() != "]":
        if not is_first:
            document.expect(",")
        is_first = False
        value = document.value()
        if not isinstance(value, dict):
            raise Unusable("its table of contents has an entry that is no object")
        yield value
    document.expect("]")


class _Document:
    """A window on JSON text that moves on as values are taken."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder(parse_constant=_refuse_constant)
        self._text, self._position, self._is_whole = "", 0, False

    def following(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self._position < len(self._text):
                if self._text[self._position] not in _SPACE:
                    return self._text[self._position]
                self._position += 1
            if not self._extend():
                return ""

    def expect(self, char: str) -> None:
        """Pass over this character, which must follow."""
        if self.following() != char:
            raise Unusable("its table of contents is no valid JSON")
        self._position += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.following()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._position)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._position > ENTRY_LIMIT or not self._extend():
                    raise Unusable("its table of contents is no valid JSON, or has an entry beyond measure") from error
                continue
            if end < len(self._text) or not self._extend():  # A number at the end may go on.
                self._position = end
                return value

    def _extend(self) -> bool:
        if self._is_whole:
            return False
        try:
            data = self._stream.read(_CHUNK)
            more = self._decoder.decode(data, final=not data)
        except (UnicodeDecodeError, IntegrityError, UnsupportedError) as error:
            raise Unusable("its table of contents is damaged") from error
        self._is_whole = not data
        self._text, self._position = self._text[self._position :] + more, 0
        return not self._is_whole


def _refuse_constant(text: str) -> None:
    raise ValueError(text)
