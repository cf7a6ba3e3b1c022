"""Servers in trouble: for a moment, for ever, or longer than anybody wants to wait."""

from __future__ import annotations

from bootc.errors import FetchError, NetworkError
from bootc.testing.hostile.case import RIGHT, SAFE, WAITS, case, error, stalls
from bootc.testing.hostile.knobs import always, at, private
from bootc.testing.hostile.scene import CONFIG, LAYER, MANIFEST, TOKEN
from bootc.testing.registry import (
    answers,
    cut_after,
    drips,
    drips_head,
    hangs_up,
    headed,
    holds,
    preceded_by,
    resets,
    stops_in_head,
    unanswered,
)

_PAST, _FUTURE = "Fri, 01 Jan 2021 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
_LOST = error(NetworkError)
_TIRED = error(FetchError)

PASSING = (
    *(case(f"manifest: {status} once", RIGHT, at(MANIFEST, answers(status))) for status in (429, 500, 503)),
    *(case(f"config: {status} once", RIGHT, at(CONFIG, answers(status))) for status in (429, 503)),
    *(case(f"layer: {status} once", RIGHT, at(LAYER, answers(status))) for status in (429, 502, 504)),
    *(case(f"token: {status} once", SAFE, private(), at(TOKEN, answers(status))) for status in (429, 503)),
    *(case(f"{what}: 408 once", SAFE, at(what, answers(408))) for what in (MANIFEST, LAYER)),
    *(case(f"{what}: 425 once", SAFE, at(what, answers(425))) for what in (MANIFEST, LAYER)),
    *(
        case(f"manifest: 429, Retry-After: {wish}", RIGHT, at(MANIFEST, answers(429, Retry_After=wish)))
        for wish in ("0", "-5", "soon", "", "1e9", _PAST)
    ),
    case("manifest: 503, Retry-After: 0", RIGHT, at(MANIFEST, answers(503, Retry_After="0"))),
    case("layer: 429, Retry-After: 0", RIGHT, at(LAYER, answers(429, Retry_After="0"))),
    case("manifest: cut before its first byte", RIGHT, at(MANIFEST, cut_after(0))),
    case("manifest: cut after its first byte", RIGHT, at(MANIFEST, cut_after(1))),
    case("manifest: cut in the middle", RIGHT, at(MANIFEST, cut_after(300))),
    case("config: cut in the middle", RIGHT, at(CONFIG, cut_after(100))),
    case("layer: cut before its first byte", RIGHT, at(LAYER, cut_after(0))),
    case("layer: cut after its first byte", RIGHT, at(LAYER, cut_after(1))),
    case("layer: cut in the middle", RIGHT, at(LAYER, cut_after(70_000))),
    case("layer: cut twice", RIGHT, at(LAYER, cut_after(70_000), cut_after(30_000))),
    case("token: cut in the middle", SAFE, private(), at(TOKEN, cut_after(10))),
    case("manifest: reset in the middle", RIGHT, at(MANIFEST, resets(300))),
    case("layer: reset in the middle", RIGHT, at(LAYER, resets(70_000))),
    case("manifest: hung up on", RIGHT, at(MANIFEST, hangs_up)),
    case("config: hung up on", RIGHT, at(CONFIG, hangs_up)),
    case("layer: hung up on", RIGHT, at(LAYER, hangs_up)),
    case("layer: reset instead of an answer", RIGHT, at(LAYER, resets())),
    stalls("manifest: no answer, then one", RIGHT, at(MANIFEST, unanswered)),
    stalls("manifest: stalls in the middle, then not", RIGHT, at(MANIFEST, holds(300))),
    stalls("layer: no answer, then one", RIGHT, at(LAYER, unanswered)),
    stalls("layer: stalls in the middle, then not", RIGHT, at(LAYER, holds(70_000))),
)
"""trouble that passes"""

LASTING = (
    *(
        case(f"{what}: {status} for ever", _LOST, always(what, answers(status)))
        for what in (MANIFEST, CONFIG, LAYER)
        for status in (500, 503)
    ),
    *(case(f"manifest: {status} for ever", _TIRED, always(MANIFEST, answers(status))) for status in (408, 501, 599)),
    case("layer: 501 for ever", _TIRED, always(LAYER, answers(501))),
    case("manifest: 429 for ever, Retry-After: 0", _LOST, always(MANIFEST, answers(429, Retry_After="0"))),
    case("token: 503 for ever", _TIRED, private(), always(TOKEN, answers(503))),
    case("manifest: hung up on for ever", _LOST, always(MANIFEST, hangs_up)),
    case("manifest: cut for ever", _LOST, always(MANIFEST, cut_after(300))),
    case("config: cut for ever", _LOST, always(CONFIG, cut_after(0))),
    case("layer: cut at the same byte for ever", _TIRED, always(LAYER, cut_after(0))),
    case("layer: reset for ever", _TIRED, always(LAYER, resets(0))),
    case("token: hung up on for ever", _TIRED, private(), always(TOKEN, hangs_up)),
    case("manifest: another protocol", _TIRED, always(MANIFEST, headed(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n"))),
    case("layer: noise", _TIRED, always(LAYER, headed(bytes(range(256)) * 20))),
    stalls("manifest: no answer for ever", _LOST, always(MANIFEST, unanswered)),
    stalls("manifest: stalls for ever", _LOST, always(MANIFEST, holds(300))),
    stalls("layer: no answer for ever", _LOST, always(LAYER, unanswered)),
    stalls("layer: stalls for ever", _LOST, always(LAYER, holds(0))),
    stalls("token: no answer for ever", _LOST, private(), always(TOKEN, unanswered)),
    stalls("manifest: a byte now and then", _TIRED, always(MANIFEST, drips)),
    stalls("layer: a byte now and then", _TIRED, always(LAYER, drips)),
    stalls("manifest: a byte of the headers now and then", _LOST, always(MANIFEST, drips_head)),
    stalls("manifest: half a header", _TIRED, always(MANIFEST, stops_in_head(b"HTTP/1.1 200 OK\r\nContent-Ty"))),
    stalls(
        "manifest: 100 Continue without end",
        _TIRED,
        always(MANIFEST, preceded_by(b"HTTP/1.1 100 Continue\r\n\r\n", times=1 << 40)),
    ),
)
"""trouble that stays"""

WAITING = tuple(
    case(
        f"{what}: {status}, Retry-After: {wish}", WAITS, always(what, answers(status, Retry_After=wish)), stops_after=1
    )
    for what, status, wish in (
        (MANIFEST, 429, "99999999"),
        (MANIFEST, 429, "9" * 400),
        (MANIFEST, 503, _FUTURE),
        (LAYER, 429, _FUTURE),
    )
)
"""trouble that is said to take long"""
