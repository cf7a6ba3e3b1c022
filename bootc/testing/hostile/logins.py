"""Token servers and challenges."""

from __future__ import annotations

from bootc.errors import AuthenticationError
from bootc.testing.hostile.case import REFUSED, RIGHT, SAFE, case, error, secure
from bootc.testing.hostile.knobs import (
    always,
    at,
    private,
    set_by,
    token_server_elsewhere,
    with_identity_token,
    without_login,
)
from bootc.testing.hostile.scene import IDENTITY, LAYER, TOKEN
from bootc.testing.registry import (
    answers,
    compressed,
    cut_after,
    endless,
    repeated,
    together,
    with_body,
    with_headers,
)

_PAGE = b"<!doctype html><html><title>Sign in</title><form method=post>"

_LIVES: tuple[object, ...] = (0, -1, 1e300, 1 << 80, "soon", None, [])

TOKENS = (
    case("a token for a login", RIGHT, private()),
    case("a token for nothing", RIGHT, private(login=None), set_by(without_login)),
    case(
        "a token for an identity token", SAFE, private(login=None, identity_token=IDENTITY), set_by(with_identity_token)
    ),
    case("a token that does not say how long it is good", RIGHT, private(answer={})),
    case("a token called access_token", RIGHT, private(key="access_token")),
    case("a token that is good for one request", SAFE, private(uses=1)),
    case("a token that ends in the middle of a layer", SAFE, private(uses=4), at(LAYER, cut_after(70_000))),
    *(case(f"expires_in: {life!r}", SAFE, private(answer={"expires_in": life})) for life in _LIVES),
    case(
        "a token that was issued in 1970", SAFE, private(answer={"issued_at": "1970-01-01T00:00:00Z", "expires_in": 60})
    ),
    case("a token that was issued in 2100", SAFE, private(answer={"issued_at": "2100-01-01T00:00:00Z"})),
    case("a token that was issued at no time", SAFE, private(answer={"issued_at": "yesterday"})),
    *(
        case(f"token: {name}", REFUSED, private(), always(TOKEN, answers(200, body)))
        for name, body in {
            "nothing": b"",
            "half a document": b'{"token": "abc',
            "an empty object": b"{}",
            "a list": b"[]",
            "a page": _PAGE,
            "empty": b'{"token": ""}',
            "null": b'{"token": null}',
            "a number": b'{"token": 7}',
            "with a line break": b'{"token": "abc\\r\\nX-Injected: 1"}',
            "no ASCII": '{"token": "abc\u00e4\u20ac"}'.encode(),
            "no UTF-8": b'{"token": "abc\xff"}',
            "deep": b"[" * 100_000,
        }.items()
    ),
    case(
        "token: not a token but said twice",
        REFUSED,
        private(),
        always(TOKEN, answers(200, b'{"token":"a","token":"b"}')),
    ),
    case("token: of 100 KiB", REFUSED, private(), always(TOKEN, answers(200, b'{"token": "%s"}' % (b"x" * 100_000)))),
    case(
        "token: 5 MiB around it",
        REFUSED,
        private(),
        always(TOKEN, with_body(lambda body: body[:-1] + b" " * (5 << 20) + b"}")),
    ),
    case(
        "token: 300 MiB",
        REFUSED,
        private(),
        always(TOKEN, together(with_body(lambda body: b" " * (1 << 20)), repeated(300))),
    ),
    case("token: endless", REFUSED, private(), always(TOKEN, endless)),
    case("token: compressed", SAFE, private(), always(TOKEN, compressed)),
    case("token: called a page", SAFE, private(), always(TOKEN, with_headers(Content_Type="text/html"))),
    case("token: 200 and a page, then right", SAFE, private(), at(TOKEN, answers(200, _PAGE))),
    case("token: 500 and a page", REFUSED, private(), always(TOKEN, answers(500, _PAGE * 1000))),
    case("token: 401", error(AuthenticationError), private(), always(TOKEN, answers(401))),
)
"""what a token server gives"""

REALMS = (
    *(
        case(f"realm: {realm or 'empty'}", REFUSED, private(realm=realm))
        for realm in (
            "ftp://127.0.0.1/token",
            "file:///etc/passwd",
            "token",
            "https://",
            "https://127.0.0.1:99999/token",
            "http://[::",
            "http://127.0.0.1/\x00",
        )
    ),
    case("realm: with a password in it", SAFE, private(realm="http://user:pass@{here.address}/token")),
    case("realm: not there", REFUSED, private(challenge='Bearer service="x"')),
    case("realm: never closed", REFUSED, private(challenge='Bearer realm="{realm}')),
    case("realm: twice", SAFE, private(challenge='Bearer realm="{realm}",realm="http://127.0.0.3:9/"')),
    case("challenge: two in one header", SAFE, private(challenge='Negotiate, Bearer realm="{realm}",service="x"')),
    case("challenge: no service and no scope", RIGHT, private(challenge='Bearer realm="{realm}"')),
    case(
        "challenge: another scope",
        RIGHT,
        private(challenge='Bearer realm="{realm}",service="s",scope="repository:other:push,pull"'),
    ),
    case(
        "challenge: parameters without end",
        SAFE,
        private(challenge='Bearer realm="{realm}",' + ",".join(f'a{n}="b"' for n in range(3000))),
    ),
    case("challenge: line break in a parameter", SAFE, private(challenge='Bearer realm="{realm}",service="a%0d%0ab"')),
    secure("realm: https, on the registry itself", RIGHT, private()),
    secure(
        "realm: http, of a registry with TLS, and no login",
        SAFE,
        private(realm="{elsewhere}/token", login=None),
        set_by(without_login),
        set_by(token_server_elsewhere),
    ),
)
"""what a registry says of its token server"""

STRANGERS = (
    case("realm: another host, named without TLS", REFUSED, private(realm="{elsewhere}/token")),
    secure("realm: http, named by a registry with TLS", REFUSED, private(realm="{elsewhere}/token")),
)
"""token servers that must not get a login: nobody proved that they are meant"""
