"""Manifests and configs that are not what they should be. Their digests are right: a server is free to lie."""

from __future__ import annotations

from bootc.errors import IntegrityError
from bootc.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from bootc.testing.hostile.case import REFUSED, RIGHT, SAFE, case, error
from bootc.testing.hostile.knobs import (
    always,
    by_digest,
    config,
    config_is,
    config_named,
    config_text,
    diff_ids,
    last_diff_id,
    manifest,
    manifest_is,
    manifest_text,
    served_as,
)
from bootc.testing.hostile.scene import GONE, MANIFEST
from bootc.testing.hostile.values import BAD_DIGESTS, BAD_SIZES, ZERO, nested, replaced
from bootc.testing.registry import Received, Reply, answers, normal


def _newer(request: Received, reply: Reply) -> Reply:
    """A manifest of the same layers, built later."""
    return Reply(
        200, {"Content-Type": OCI_MANIFEST}, reply.body.replace(b'"example.seed"', b'"newer": "1", "example.seed"')
    )


MANIFESTS = (
    *(
        case(f"manifest: {name}", REFUSED, manifest_is(made))
        for name, made in {
            "a page": b"<!doctype html><title>Log in</title>",
            "nothing": b"",
            "a list": b"[]",
            "a number": b"7",
            "null": b"null",
            "deep lists": b"[" * 200_000,
            "deep objects": nested(100_000),
            "not UTF-8": b'{"schemaVersion": 2, "\xff": 1}',
            "UTF-16": '{"schemaVersion": 2}'.encode("utf-16"),
            "schema 1": b'{"schemaVersion": 1, "name": "os", "tag": "os", "fsLayers": [], "history": []}',
            "schema 3": b'{"schemaVersion": 3}',
        }.items()
    ),
    case("manifest: half", REFUSED, manifest_text(lambda data: data[: len(data) // 2])),
    case("manifest: two documents", REFUSED, manifest_text(lambda data: data + data)),
    case("manifest: noise behind it", REFUSED, manifest_text(lambda data: data + b"\0")),
    case("manifest: a mark of byte order before it", SAFE, manifest_text(lambda data: b"\xef\xbb\xbf" + data)),
    case("manifest: 5 MiB of blanks", REFUSED, manifest_text(lambda data: data + b" " * (5 << 20))),
    case("manifest: an annotation of 5 MiB", REFUSED, manifest(annotations={"x": "x" * (5 << 20)})),
    case("manifest: a key twice", REFUSED, manifest_text(replaced(b'"layers"', b'"layers": [], "layers"'))),
    case(
        "manifest: a key twice in an annotation",
        REFUSED,
        manifest(annotations={"x": "1"}),
        manifest_text(replaced(b'"x"', b'"x": "0", "x"')),
    ),
    case("manifest: NaN", REFUSED, manifest(x=float("nan"))),
    case("manifest: 1e400", REFUSED, manifest(x="@"), manifest_text(replaced(b'"@"', b"1e400"))),
    case(
        "manifest: an integer of 100000 digits",
        REFUSED,
        manifest(x="@"),
        manifest_text(replaced(b'"@"', b"9" * 100_000)),
    ),
    case("manifest: half a surrogate", SAFE, manifest(annotations={"x": "\ud800"})),
    case("manifest: image and index at once", REFUSED, manifest(manifests=[])),
    case("manifest: image and schema 1 at once", REFUSED, manifest(fsLayers=[{"blobSum": ZERO}])),
    case("manifest: calls itself an index", REFUSED, manifest(mediaType=OCI_INDEX)),
    case("manifest: calls itself something unknown", REFUSED, manifest(mediaType="application/x-unknown")),
    case("manifest: does not say what it is", RIGHT, manifest(mediaType=GONE)),
    case("manifest: no schemaVersion", REFUSED, manifest(schemaVersion=GONE)),
    case("manifest: schemaVersion as a text", REFUSED, manifest(schemaVersion="2")),
    case(
        "manifest: of docker",
        SAFE,
        manifest(mediaType=DOCKER_MANIFEST),
        config_named(mediaType="application/vnd.docker.container.image.v1+json"),
        served_as(DOCKER_MANIFEST),
    ),
    case("manifest: annotations that are no texts", REFUSED, manifest(annotations={"x": [1]})),
    case("manifest: annotations with escapes", RIGHT, manifest(annotations={"x": "\x1b]0;owned\x07"})),
    case(
        "manifest: an artifact, not an image",
        REFUSED,
        config_named(mediaType="application/vnd.example+json"),
        manifest(artifactType="application/vnd.example"),
    ),
    case("manifest: the config is a list", REFUSED, manifest(config=[])),
    case("manifest: no config", REFUSED, manifest(config=GONE)),
    case("manifest: by digest", RIGHT, by_digest()),
    case("manifest: the tag moves on while layers come", RIGHT, always(MANIFEST, normal, _newer)),
    case("manifest: the tag is gone while layers come", SAFE, always(MANIFEST, normal, answers(404))),
)
"""the document of an image"""

CONFIGS = (
    *(
        case(f"config: {name}", REFUSED, config_is(made))
        for name, made in {
            "a page": b"<!doctype html>",
            "nothing": b"",
            "a list": b"[]",
            "deep": b"[" * 200_000,
            "deep objects": nested(100_000),
            "not UTF-8": b'{"rootfs": "\xff"}',
            "empty": b"{}",
            "5 MiB": b" " * (5 << 20),
        }.items()
    ),
    case("config: a key twice", REFUSED, config_text(replaced(b'"rootfs"', b'"rootfs": {}, "rootfs"'))),
    case("config: 1e400", REFUSED, config(x="@"), config_text(replaced(b'"@"', b"1e400"))),
    case("config: no rootfs", REFUSED, config(rootfs=None)),
    case("config: rootfs is a list", REFUSED, config(rootfs=[])),
    case("config: fewer diffIDs than layers", REFUSED, diff_ids(lambda ids: ids[:1])),
    case("config: more diffIDs than layers", REFUSED, diff_ids(lambda ids: [*ids, ids[0]])),
    case("config: no diffIDs", REFUSED, diff_ids(lambda ids: [])),
    case("config: a hundred thousand diffIDs", REFUSED, diff_ids(lambda ids: ids * 50_000)),
    case("config: diffIDs in another order", error(IntegrityError), diff_ids(lambda ids: ids[::-1])),
    case("config: a diffID that is another's", error(IntegrityError), last_diff_id(ZERO)),
    *(case(f"config: a diffID {name}", REFUSED, last_diff_id(text)) for name, text in BAD_DIGESTS.items()),
    case("config: of another architecture than it is for", SAFE, config(architecture="sparc")),
    case("config: labels with escapes", RIGHT, config(config={"Labels": {"x": "\x1b[31m"}})),
    *(case(f"config named: size {name}", REFUSED, config_named(size=size)) for name, size in BAD_SIZES.items()),
    case("config named: one byte longer", REFUSED, config_named(size=1)),
    case("config named: 1 PiB", REFUSED, config_named(size=1 << 50)),
    *(case(f"config named: digest {name}", REFUSED, config_named(digest=text)) for name, text in BAD_DIGESTS.items()),
    case("config named: one that is not there", REFUSED, config_named(digest=ZERO)),
    case("config named: with addresses", SAFE, config_named(urls=["http://127.0.0.3:9/config"])),
)
"""the config, and how the manifest names it"""
