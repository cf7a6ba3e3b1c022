"""Requests for a part of a blob, and servers that answer another one."""

from __future__ import annotations

import re

from attrs import evolve

from bootc.testing.hostile.case import RIGHT, SAFE, case, stalls
from bootc.testing.hostile.knobs import always, at, moved, private
from bootc.testing.hostile.scene import LAYER
from bootc.testing.registry import (
    Action,
    Received,
    Reply,
    answers,
    compressed,
    cut_after,
    holds,
    ignores_range,
    together,
    with_headers,
)


def _another(start: int = 0, end: int = 0, of: int = 0) -> Action:
    """A part that begins and ends so many bytes later than asked, of a blob so much larger, as its headers say."""

    def action(request: Received, reply: Reply) -> Reply:
        asked = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", reply.headers.get("Content-Range", ""))
        if asked is None or reply.whole is None:
            return reply
        first, last, size = (int(text) + more for text, more in zip(asked.groups(), (start, end, of), strict=True))
        first, last = max(first, 0), min(last, len(reply.whole) - 1)
        headers = {**reply.headers, "Content-Range": f"bytes {first}-{last}/{size}"}
        return evolve(reply, headers=headers, body=reply.whole[first : last + 1])

    return action


def _unsized(request: Received, reply: Reply) -> Reply:
    said = reply.headers.get("Content-Range", "")
    return with_headers(Content_Range=re.sub(r"/.*", "/*", said))(request, reply)


def _as(status: int) -> Action:
    return lambda request, reply: evolve(reply, status=status)


_FAR = 1 << 40

CASES = (
    case("as asked", RIGHT),
    case("as asked, of a blob whose size is not said", RIGHT, always(LAYER, _unsized)),
    case(
        "from storage on another host",
        RIGHT,
        private(),
        moved(LAYER, "{elsewhere}/storage/{digest}?signature={signature}"),
    ),
    case("503 once", RIGHT, at(LAYER, answers(503))),
    case("cut in the middle", RIGHT, at(LAYER, cut_after(9000))),
    case("cut, then another part", SAFE, at(LAYER, cut_after(9000), _another(start=-5))),
    case("cut, then the whole blob", SAFE, at(LAYER, cut_after(9000), ignores_range)),
    stalls("stalls in the middle, then not", RIGHT, at(LAYER, holds(9000))),
    case("a byte too early", SAFE, always(LAYER, _another(start=-1))),
    case("a byte too late", SAFE, always(LAYER, _another(start=1))),
    case("from the beginning of the blob", SAFE, always(LAYER, _another(start=-_FAR))),
    case("a byte too few", SAFE, always(LAYER, _another(end=-1))),
    case("a byte too many", SAFE, always(LAYER, _another(end=1))),
    case("all that follows", SAFE, always(LAYER, _another(end=_FAR))),
    case("a part of the same size behind it", SAFE, always(LAYER, _another(start=100, end=100))),
    case("a part of the same size before it", SAFE, always(LAYER, _another(start=-100, end=-100))),
    case("of a larger blob", SAFE, always(LAYER, _another(of=1))),
    case("a part, but 200", SAFE, always(LAYER, together(_another(start=5), _as(200)))),
    case(
        "another part, without Content-Range",
        SAFE,
        always(LAYER, together(_another(start=5), with_headers(Content_Range=""))),
    ),
    case(
        "another part, in other units",
        SAFE,
        always(LAYER, together(_another(start=5), with_headers(Content_Range="items 1-2/3"))),
    ),
    case("the whole blob", SAFE, always(LAYER, ignores_range)),
    case("the whole blob, but 206", SAFE, always(LAYER, together(ignores_range, _as(206)))),
    case("several parts", SAFE, always(LAYER, with_headers(Content_Type="multipart/byteranges; boundary=x"))),
    case("compressed on the way", SAFE, always(LAYER, compressed)),
    *(case(f"{status}", SAFE, always(LAYER, answers(status))) for status in (204, 206, 404, 416, 501)),
)
"""as a catalogue of `open_blob` with an offset, and of `open_range`"""
