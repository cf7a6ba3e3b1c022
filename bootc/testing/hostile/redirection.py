"""Answers that lead elsewhere: to storage, in circles, to places where nothing may go."""

from __future__ import annotations

from bootc.testing.hostile.case import REFUSED, RIGHT, SAFE, case, secure
from bootc.testing.hostile.knobs import always, asks_elsewhere_for_login, at, moved, plain_login, private, set_by
from bootc.testing.hostile.scene import BLOBS, LAYER, MANIFEST, TOKEN
from bootc.testing.registry import REPOSITORY, answers, redirects

_STORAGE = "{elsewhere}/storage/{digest}?signature={signature}"
_AGAIN = f"{{here}}/v2/{REPOSITORY}/blobs/{{digest}}?again"

CASES = (
    *(
        case(f"blobs: storage on another host, by {status}", RIGHT, private(), moved(BLOBS, _STORAGE, status))
        for status in (302, 303, 307, 308)
    ),
    case("blobs: storage on another host, with a plain login", RIGHT, set_by(plain_login), moved(BLOBS, _STORAGE)),
    case(
        "blobs: storage that asks for a login",
        REFUSED,
        private(),
        set_by(asks_elsewhere_for_login),
        moved(BLOBS, "{elsewhere}/v2/x?signature={signature}"),
    ),
    case(
        "blobs: storage that asks for a login, with a plain login here",
        REFUSED,
        set_by(plain_login),
        set_by(asks_elsewhere_for_login),
        moved(BLOBS, "{elsewhere}/v2/x"),
    ),
    case(
        "blobs: storage that has them not",
        REFUSED,
        private(),
        moved(BLOBS, "{elsewhere}/v2/gone?signature={signature}"),
    ),
    case(
        "blobs: storage where nobody listens",
        REFUSED,
        private(),
        moved(BLOBS, "http://127.0.0.3:9/{digest}?signature={signature}"),
    ),
    case(
        "layer: elsewhere in the registry",
        RIGHT,
        private(),
        at(LAYER, redirects(f"/v2/{REPOSITORY}/blobs/{{digest}}?again")),
    ),
    case("blobs: in circles", REFUSED, always(BLOBS, redirects("?again"))),
    case("layer: to itself", REFUSED, always(BLOBS, redirects(f"/v2/{REPOSITORY}/blobs/{{digest}}"))),
    case("manifest: in circles", REFUSED, always(MANIFEST, redirects(f"/v2/{REPOSITORY}/manifests/os"))),
    case(
        "manifest: to another host that has it not",
        REFUSED,
        private(),
        moved(MANIFEST, "{elsewhere}/v2/x/manifests/os"),
    ),
    case("token server: to another host", SAFE, private(), moved(TOKEN, "{elsewhere}/token")),
    case("layer: nowhere", REFUSED, always(LAYER, answers(307))),
    *(
        case(f"layer: to {target or 'an empty address'}", REFUSED, moved(LAYER, target))
        for target in (
            "",
            "file:///etc/passwd",
            "ftp://127.0.0.1/x",
            "javascript:alert(1)",
            "http://[::",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:0/",
            "http://{here.address}@{elsewhere.address}/v2/x",
            "http://127.0.0.1\x00.example/",
            "http://127.0.0.1/\r\nX-Injected: 1",
        )
    ),
    case("layer: to an address of 100 KiB", REFUSED, moved(LAYER, "{here}/" + "x" * 100_000)),
    secure("layer: from https to http", SAFE, private(), moved(LAYER, _STORAGE)),
    secure("manifest: from https to http", REFUSED, private(), moved(MANIFEST, "{elsewhere}/v2/x/manifests/os")),
    secure(
        "layer: elsewhere in the registry, with TLS",
        RIGHT,
        private(),
        at(LAYER, redirects(f"/v2/{REPOSITORY}/blobs/{{digest}}?again")),
    ),
)
