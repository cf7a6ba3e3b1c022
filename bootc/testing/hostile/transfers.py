"""Answers that are wrong below the content: lengths, framing, encodings, headers, ranges."""

from __future__ import annotations

from attrs import evolve

from bootc.errors import IntegrityError
from bootc.manifest import OCI_INDEX
from bootc.testing.hostile.case import REFUSED, RIGHT, SAFE, case, error, stalls
from bootc.testing.hostile.knobs import always, at, by_digest, stored
from bootc.testing.hostile.scene import ALL, CONFIG, LAYER, MANIFEST
from bootc.testing.registry import (
    REPOSITORY,
    Framing,
    Received,
    Reply,
    answers,
    compressed,
    cut_after,
    digest_of,
    endless,
    framed,
    headed,
    ignores_range,
    preceded_by,
    redirects,
    repeated,
    shifted_range,
    together,
    with_body,
    with_headers,
    with_more_headers,
)


def _tampered(request: Received, reply: Reply) -> Reply:
    """Another manifest, whose digest is said as it is."""
    body = reply.body + b" "
    return evolve(reply, body=body, headers={**reply.headers, "Docker-Content-Digest": digest_of(body)})


_LIE = digest_of(b"another")

FRAMING = (
    case("manifest: in chunks", RIGHT, always(MANIFEST, framed(Framing.CHUNKED))),
    case("config: in chunks", RIGHT, always(CONFIG, framed(Framing.CHUNKED))),
    case("layer: in chunks", RIGHT, always(LAYER, framed(Framing.CHUNKED))),
    case("manifest: no length, ended by the connection", RIGHT, always(MANIFEST, framed(Framing.CLOSE))),
    case("layer: no length, ended by the connection", RIGHT, always(LAYER, framed(Framing.CLOSE))),
    case("manifest: the last chunk is missing", SAFE, always(MANIFEST, framed(Framing.UNENDED))),
    case("layer: the last chunk is missing", SAFE, always(LAYER, framed(Framing.UNENDED))),
    stalls("manifest: length too long", REFUSED, always(MANIFEST, with_headers(Content_Length="5000"))),
    stalls("config: length too long", REFUSED, always(CONFIG, with_headers(Content_Length="5000"))),
    stalls("layer: length too long", SAFE, always(LAYER, with_headers(Content_Length="1000000"))),
    case("manifest: length too short", REFUSED, always(MANIFEST, with_headers(Content_Length="100"))),
    case("config: length too short", REFUSED, always(CONFIG, with_headers(Content_Length="100"))),
    case("layer: length too short", REFUSED, always(LAYER, with_headers(Content_Length="100"))),
    *(
        stalls(f"{what}: length {length}", SAFE, always(what, with_headers(Content_Length=length)))
        for what in (MANIFEST, LAYER)
        for length in ("-1", "0", "many", "9" * 30)
    ),
    stalls("layer: two lengths", SAFE, always(LAYER, with_more_headers(("Content-Length", "7")))),
    case(
        "layer: chunks and a length",
        SAFE,
        always(LAYER, together(framed(Framing.CHUNKED), with_headers(Content_Length="7"))),
    ),
    stalls("layer: chunks that are none", SAFE, always(LAYER, with_headers(Transfer_Encoding="chunked"))),
    stalls(
        "layer: a chunk of impossible size",
        SAFE,
        always(LAYER, headed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n")),
    ),
    case("manifest: two answers for one request", SAFE, always(MANIFEST, with_body(lambda body: body * 2))),
    case("manifest: endless", REFUSED, always(MANIFEST, endless)),
    case("config: endless", REFUSED, always(CONFIG, endless)),
    case("layer: endless", REFUSED, always(LAYER, endless)),
    case(
        "manifest: 300 MiB",
        REFUSED,
        always(MANIFEST, together(with_body(lambda body: b" " * (1 << 20)), repeated(300))),
    ),
    case("layer: a hundred times", REFUSED, always(LAYER, repeated(100))),
    case("layer: with more behind it", REFUSED, stored(lambda data: data + b"more")),
    case("layer: without its last byte", REFUSED, stored(lambda data: data[:-1])),
    case("layer: one bit is another", error(IntegrityError), stored(lambda data: data[:-1] + bytes([data[-1] ^ 1]))),
    case("layer: nothing", REFUSED, stored(lambda data: b"")),
    case("layer: another one", REFUSED, stored(lambda data: b"another")),
)
"""where a body ends"""

HEADERS = (
    case("layer: called gzip, rightly so", SAFE, always(LAYER, with_headers(Content_Encoding="gzip"))),
    case("manifest: compressed on the way", SAFE, always(MANIFEST, compressed)),
    case("config: compressed on the way", SAFE, always(CONFIG, compressed)),
    case("layer: compressed on the way", SAFE, always(LAYER, compressed)),
    case(
        "manifest: called gzip, but noise",
        REFUSED,
        always(MANIFEST, answers(200, b"\x1f\x8bno", Content_Encoding="gzip")),
    ),
    case("layer: called br", SAFE, always(LAYER, with_headers(Content_Encoding="br"))),
    case("manifest: called text", SAFE, always(MANIFEST, with_headers(Content_Type="text/plain; charset=utf-8"))),
    case("manifest: of no type", SAFE, always(MANIFEST, with_headers(Content_Type=""))),
    case("manifest: called a page", SAFE, always(MANIFEST, with_headers(Content_Type="text/html"))),
    case("manifest: called an index", REFUSED, always(MANIFEST, with_headers(Content_Type=OCI_INDEX))),
    case("manifest: of a type with escapes", SAFE, always(MANIFEST, with_headers(Content_Type="\x1b[31m"))),
    case("layer: called a page", RIGHT, always(LAYER, with_headers(Content_Type="text/html"))),
    case("manifest: its digest is not said", RIGHT, always(MANIFEST, with_headers(Docker_Content_Digest=""))),
    case("manifest: said to have another digest", SAFE, always(MANIFEST, with_headers(Docker_Content_Digest=_LIE))),
    case(
        "by digest: said to have another digest",
        SAFE,
        by_digest(),
        always(MANIFEST, with_headers(Docker_Content_Digest=_LIE)),
    ),
    *(
        case(
            f"manifest: its digest is said to be {name}",
            SAFE,
            always(MANIFEST, with_headers(Docker_Content_Digest=text)),
        )
        for name, text in {
            "md5": "md5:d41d8cd98f00b204e9800998ecf8427e",
            "a path": "../../etc/passwd",
            "short": "sha256:00",
            "in upper case": _LIE.upper(),
            "sha512 of nothing": f"sha512:{'0' * 128}",
        }.items()
    ),
    case(
        "by digest: other bytes, and a digest that fits them",
        error(IntegrityError),
        by_digest(),
        always(MANIFEST, _tampered),
    ),
    case("manifest: a header of 1 MiB", SAFE, always(MANIFEST, with_headers(X_Long="x" * (1 << 20)))),
    case("manifest: 50 MiB of headers", REFUSED, always(MANIFEST, with_more_headers(*[("X", "x" * 10_000)] * 5000))),
    case("layer: 20000 headers", SAFE, always(LAYER, with_more_headers(*[("X", "x")] * 20_000))),
    case(
        "everything: a challenge of 200 KiB",
        REFUSED,
        always(ALL, answers(401, WWW_Authenticate=f'Bearer realm="{"x" * 200_000}"')),
    ),
    case("manifest: a header without colon", SAFE, always(MANIFEST, with_more_headers(("X\r\nY", "z")))),
    case("manifest: a header that is no text", SAFE, always(MANIFEST, with_headers(X_Text="\xff\xfe\x00"))),
    case("manifest: a folded header", SAFE, always(MANIFEST, with_headers(X_Folded="a\r\n b"))),
    case("everything: cookies are set", RIGHT, always(ALL, with_more_headers(("Set-Cookie", "track=me; Path=/")))),
    case("everything: warnings with escapes", RIGHT, always(ALL, with_headers(Warning='299 - "\x1b[31mred"'))),
    case("manifest: HTTP/1.0", SAFE, always(MANIFEST, headed(b"HTTP/1.0 200 OK\r\n\r\n"))),
    case("manifest: HTTP/9.9", SAFE, always(MANIFEST, headed(b"HTTP/9.9 200 OK\r\nConnection: close\r\n\r\n"))),
    case("manifest: HTTP/0.9", SAFE, always(MANIFEST, headed(b""))),
    case("manifest: 100 Continue before the answer", SAFE, at(MANIFEST, preceded_by(b"HTTP/1.1 100 Continue\r\n\r\n"))),
    case("layer: 103 Early Hints before the answer", SAFE, at(LAYER, preceded_by(b"HTTP/1.1 103 Early Hints\r\n\r\n"))),
)
"""what an answer says of itself"""

_CUT = cut_after(70_000)

RANGES = (
    case("the rest: the whole blob instead", RIGHT, at(LAYER, _CUT, ignores_range)),
    case("the rest: other bytes than it says", SAFE, at(LAYER, _CUT, shifted_range(5))),
    *(
        case(f"the rest: Content-Range: {text or 'not there'}", SAFE, at(LAYER, _CUT, with_headers(Content_Range=text)))
        for text in (
            "",
            "bytes 0-149999/150000",
            "bytes 69999-150000/*",
            "bytes 70001-150000/*",
            "bytes 70000-69999/7",
            "bytes */150000",
            "items 70000-150000/150001",
            "bytes 70000-99999999999999999999/99999999999999999999",
        )
    ),
    case(
        "the rest: several parts", SAFE, at(LAYER, _CUT, with_headers(Content_Type="multipart/byteranges; boundary=x"))
    ),
    case("the rest: 416", SAFE, at(LAYER, _CUT, answers(416))),
    case("the rest: 501", SAFE, at(LAYER, _CUT, answers(501))),
    case("the rest: 404", SAFE, at(LAYER, _CUT, answers(404))),
    case("the rest: 200 and nothing", SAFE, at(LAYER, _CUT, answers(200))),
    case("the rest: 206 and nothing", SAFE, at(LAYER, _CUT, answers(206))),
    case("the rest: 503 once", RIGHT, at(LAYER, _CUT, answers(503))),
    case("the rest: lies elsewhere", RIGHT, at(LAYER, _CUT, redirects(f"/v2/{REPOSITORY}/blobs/{{digest}}?again"))),
    case("the rest: of another blob", SAFE, at(LAYER, _CUT, with_body(lambda body: bytes(len(body))))),
    case("the rest: cut again and again, but it goes on", RIGHT, at(LAYER, *[_CUT] * 2)),
)
"""what comes after a cut"""
