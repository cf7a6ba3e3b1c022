"""Answers to a peek."""

from __future__ import annotations

from bootc.errors import AuthenticationError, NetworkError, NotFoundError
from bootc.testing.hostile.case import REFUSED, RIGHT, SAFE, case, error, stalls
from bootc.testing.hostile.knobs import always, at_head, private
from bootc.testing.hostile.scene import ALL
from bootc.testing.registry import (
    answers,
    drips_head,
    hangs_up,
    redirects,
    unanswered,
    with_headers,
)

CASES = (
    case("HEAD: a digest", RIGHT),
    case("HEAD: a token is wanted", RIGHT, private()),
    case("HEAD: 405", RIGHT, at_head(answers(405))),
    case("HEAD: 501", SAFE, at_head(answers(501))),
    case("HEAD: no digest", RIGHT, at_head(with_headers(Docker_Content_Digest=""))),
    case("HEAD: a digest that is a path", REFUSED, at_head(with_headers(Docker_Content_Digest="../../x"))),
    case("HEAD: a digest with escapes", REFUSED, at_head(with_headers(Docker_Content_Digest="sha256:\x1b[31m"))),
    case("HEAD: says that a body of 1 PiB comes", RIGHT, at_head(with_headers(Content_Length=str(1 << 50)))),
    case("HEAD: 404", error(NotFoundError), at_head(answers(404))),
    case("HEAD: 403", error(AuthenticationError), at_head(answers(403))),
    case("HEAD: 401 for ever", error(AuthenticationError), always(ALL, answers(401)), at_head(answers(401))),
    case("HEAD: 503 once", RIGHT, at_head(answers(503), is_forever=False)),
    case("HEAD: 503 for ever", error(NetworkError), at_head(answers(503))),
    case("HEAD: hung up on once", RIGHT, at_head(hangs_up, is_forever=False)),
    case("HEAD: in circles", REFUSED, at_head(redirects("?again"))),
    stalls("HEAD: no answer", error(NetworkError), at_head(unanswered)),
    stalls("HEAD: a byte of the headers now and then", error(NetworkError), at_head(drips_head)),
)
