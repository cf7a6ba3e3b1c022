"""Servers that do not want to, and those whose status says something that it should not."""

from __future__ import annotations

from bootc.errors import AuthenticationError, FetchError, NotFoundError
from bootc.testing.hostile.case import REFUSED, RIGHT, SAFE, case, error
from bootc.testing.hostile.knobs import always, at, plain_login, private, set_by, without_login
from bootc.testing.hostile.scene import ALL, BLOBS, CONFIG, LAYER, MANIFEST, TOKEN
from bootc.testing.registry import answers

_UNKNOWN = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'
_ESCAPES = b'{"errors":[{"code":"DENIED","message":"\\u001b]0;title\\u0007\\r\\nnothing\\u202e wrong"}]}'
_DENIED = error(AuthenticationError)
_GONE = error(NotFoundError)

CASES = (
    case("manifest: 404", _GONE, always(MANIFEST, answers(404, _UNKNOWN))),
    case("manifest: 404 without words", _GONE, always(MANIFEST, answers(404))),
    case("config: 404", _GONE, always(CONFIG, answers(404))),
    case("layer: 404", _GONE, always(LAYER, answers(404))),
    case("token: 404", REFUSED, private(), always(TOKEN, answers(404))),
    case("manifest: 403", _DENIED, always(MANIFEST, answers(403))),
    case("config: 403", _DENIED, always(CONFIG, answers(403))),
    case("layer: 403", _DENIED, always(LAYER, answers(403))),
    case("token: 403", _DENIED, private(), always(TOKEN, answers(403))),
    case("everything: 403 with escapes for a terminal", error(FetchError), always(ALL, answers(403, _ESCAPES))),
    case("manifest: 401 without a challenge", _DENIED, always(MANIFEST, answers(401))),
    case("layer: 401 without a challenge", _DENIED, always(LAYER, answers(401))),
    case("everything: 401 without a challenge", _DENIED, always(ALL, answers(401))),
    case("everything: 401 for a scheme that nobody knows", _DENIED, always(ALL, answers(401, WWW_Authenticate="Quux"))),
    case("everything: 401 for ever, basic", _DENIED, always(ALL, answers(401, WWW_Authenticate='Basic realm="x"'))),
    case("everything: tokens that are never good", _DENIED, private(uses=0)),
    case("layers: 401 although the token is good", _DENIED, private(), always(BLOBS, answers(401))),
    case("a login is wanted, and there is none", _DENIED, set_by(plain_login), set_by(without_login)),
    case("a token costs a login, and there is none", _DENIED, private(), set_by(without_login)),
    case("a token costs another login", _DENIED, private(login=("somebody", "else"))),
    *(
        case(f"{what}: {status}", REFUSED, always(what, answers(status, b"no")))
        for what, statuses in {
            MANIFEST: (204, 300, 304, 400, 406, 416, 451, 511),
            CONFIG: (204, 400),
            LAYER: (204, 304, 410, 416),
        }.items()
        for status in statuses
    ),
    case("manifest: 999", REFUSED, always(MANIFEST, answers(999))),
    case("layer: 999", REFUSED, always(LAYER, answers(999))),
    case("manifest: 206, which nobody asked for", SAFE, always(MANIFEST, answers(206, b"{}"))),
    case("layer: 206, which nobody asked for", REFUSED, always(LAYER, answers(206, b"x"))),
    case("layer: 404 once", SAFE, at(LAYER, answers(404))),
    case("manifest: 403 for a moment", SAFE, at(MANIFEST, answers(403))),
    case("a login that is right", RIGHT, set_by(plain_login)),
)
