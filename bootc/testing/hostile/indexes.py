"""Indexes that are not what they should be."""

from __future__ import annotations

import json
from typing import Any

from bootc.errors import IntegrityError, NotFoundError, UnsupportedError
from bootc.manifest import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST
from bootc.testing.hostile.case import REFUSED, RIGHT, SAFE, case, error
from bootc.testing.hostile.knobs import IndexMaker, always, entry, index, index_by, other, served_as
from bootc.testing.hostile.scene import GONE, INSTANCE, Scene
from bootc.testing.hostile.values import BAD_DIGESTS, BAD_SIZES, ZERO
from bootc.testing.registry import answers, with_body, with_headers

_ARM = "arm64"


def _variant(name: str) -> dict[str, str]:
    return {"os": "linux", "architecture": "amd64", "variant": name}


def _bare(scene: Scene, image: dict[str, Any]) -> dict[str, Any]:
    """A small entry that is for others."""
    return {**image, "platform": {"os": "linux", "architecture": "mips"}}


def _repeating(scene: Scene, image: dict[str, Any]) -> bytes:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry()(scene, image)]}
    return json.dumps(document).encode().replace(b'"manifests"', b'"manifests": [], "manifests"')


def _cyclic(scene: Scene, image: dict[str, Any]) -> bytes:
    """Two indexes, each of which names what stands where the other is; no digest can be right."""
    document = {
        "mediaType": OCI_INDEX,
        "digest": ZERO,
        "size": 400,
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    inner = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [document]}).encode()
    scene.registry.documents[ZERO] = (OCI_INDEX, inner)
    return inner


def _within(depth: int) -> IndexMaker:
    """Indexes within indexes, and the image at the bottom."""

    def make(scene: Scene, image: dict[str, Any]) -> bytes:
        data = b""
        for _ in range(depth):
            document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry()(scene, image)]}
            data = json.dumps(document).encode()
            image = scene.registry.add_document("inner", OCI_INDEX, data)
        return data

    return make


INDEXES = (
    case("index: one entry", RIGHT, index(entry())),
    case("index: without a media type of its own", RIGHT, index(entry(), mediaType=GONE), served_as(OCI_INDEX)),
    case("index: of docker", RIGHT, index(entry(), mediaType=DOCKER_LIST), served_as(DOCKER_LIST)),
    case("index: no entry", REFUSED, index()),
    case("index: for others only", error(UnsupportedError), index(other(_ARM), other("riscv64"))),
    case("index: for another system", REFUSED, index(entry(platform={"os": "windows", "architecture": "amd64"}))),
    case("index: no entry says for whom it is", SAFE, index(entry(platform={}))),
    case("index: platform is a text", SAFE, index(entry(platform=None))),
    case(
        "index: the platform with a variant",
        SAFE,
        index(entry(platform={"os": "linux", "architecture": "amd64", "variant": "v3"})),
    ),
    case("index: the right one is the last of a thousand", RIGHT, index(*[other(_ARM)] * 999, entry())),
    case("index: five thousand entries", SAFE, index(*[_bare] * 5000, entry())),
    case(
        "index: a better variant and a lesser one first",
        RIGHT,
        index(other("amd64", platform=_variant("v3")), other("amd64", platform=_variant("v1")), entry()),
    ),
    case(
        "index: an attestation first",
        RIGHT,
        index(other("unknown", annotations={"vnd.docker.reference.type": "attestation-manifest"}), entry()),
    ),
    case("index: an index within", REFUSED, index_by(_within(2))),
    case("index: twenty indexes, one within the other", REFUSED, index_by(_within(20))),
    case("index: in a circle", REFUSED, index_by(_cyclic)),
    case("index: names what is not there", REFUSED, index(entry(digest=ZERO))),
    case("index: calls itself an image", REFUSED, index(entry(), mediaType=OCI_MANIFEST)),
    case("index: index and image at once", REFUSED, index(entry(), layers=[], config={})),
    case("index: its entries are an object", REFUSED, index(manifests={})),
    case("index: an entry is a text", REFUSED, index(manifests=["amd64"])),
    case("index: an entry of an unknown type", SAFE, index(entry(mediaType="application/x-unknown"))),
    case("index: an entry of no type", SAFE, index(entry(mediaType=None))),
    case("index: an entry that calls an image an index", SAFE, index(entry(mediaType=OCI_INDEX))),
    case("index: an entry with addresses", SAFE, index(entry(urls=["http://127.0.0.3:9/manifest"]))),
    *(case(f"index: an entry of size {name}", SAFE, index(entry(size=size))) for name, size in BAD_SIZES.items()),
    case(
        "index: an entry said to be a byte longer",
        SAFE,
        index(lambda scene, image: {**entry()(scene, image), "size": image["size"] + 1}),
    ),
    case("index: an entry said to be 1 PiB", SAFE, index(entry(size=1 << 50))),
    *(
        case(f"index: an entry's digest {name}", REFUSED, index(entry(digest=text)))
        for name, text in BAD_DIGESTS.items()
    ),
    case(
        "instance: other bytes",
        error(IntegrityError),
        index(entry()),
        always(INSTANCE, with_body(lambda data: data + b" ")),
    ),
    case("instance: called an index", SAFE, index(entry()), always(INSTANCE, with_headers(Content_Type=OCI_INDEX))),
    case("instance: 404", error(NotFoundError), index(entry()), always(INSTANCE, answers(404))),
    case("index: a key twice", SAFE, index_by(_repeating)),
)
"""the document of several images"""
