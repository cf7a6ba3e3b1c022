"""Manifests and indexes from outside: what is read, what is refused, and which instance is chosen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from bootc.errors import BootcError, FetchError, ProtocolError, UnsupportedError
from bootc.image import Descriptor, Digest
from bootc.manifest import (
    ACCEPTED,
    CONFIG_TYPES,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    LAYER_LIMIT,
    LAYER_TYPES,
    MANIFEST_LIMIT,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    IndexEntry,
    Manifest,
    choose,
    diff_ids,
    parse,
    strict_json,
)
from bootc.platform import Platform

SOURCE = "example.com/os:1"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
AMD64 = Platform("x86_64", "amd64", (), "x86_64", "", "x64")
ARM64 = Platform("aarch64", "arm64", ("v8",), "aarch64", "", "aa64")
ARM = Platform("armv7l", "arm", ("v7", "v6", "v5"), "arm", "", "arm")


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def descriptor(number: int, media_type: str = LAYER, **changes: object) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(number), "size": number, **changes}


def image(**changes: object) -> dict[str, Any]:
    return {"schemaVersion": 2, "config": descriptor(1, CONFIG), "layers": [descriptor(2), descriptor(3)], **changes}


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != key}


def index(*entries: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": list(entries), **changes}


def entry(
    number: int, system: str = "linux", architecture: str = "amd64", variant: str | None = None, **changes: object
) -> dict[str, Any]:
    platform = {"os": system, "architecture": architecture} | ({"variant": variant} if variant else {})
    return descriptor(number, OCI_MANIFEST, platform=platform, **changes)


def read(document: object, media_type: str | None = None) -> Manifest | Index:
    return parse(json.dumps(document).encode(), media_type, SOURCE)


# ---------------------------------------------------------------- what is read


def test_an_image_manifest() -> None:
    found = read(image(mediaType=OCI_MANIFEST, annotations={"a": "b"}), OCI_MANIFEST)

    assert found == Manifest(
        Descriptor(CONFIG, Digest.parse(digest(1)), 1),
        (Descriptor(LAYER, Digest.parse(digest(2)), 2), Descriptor(LAYER, Digest.parse(digest(3)), 3)),
        {"a": "b"},
    )


def test_an_index() -> None:
    found = read(index(entry(1), descriptor(2, OCI_MANIFEST, annotations={"a": "b"})), OCI_INDEX)

    assert found == Index(
        (
            IndexEntry(Descriptor(OCI_MANIFEST, Digest.parse(digest(1)), 1), ("linux", "amd64", "")),
            IndexEntry(Descriptor(OCI_MANIFEST, Digest.parse(digest(2)), 2, {"a": "b"}), None),
        )
    )


@pytest.mark.parametrize("media_type", sorted(LAYER_TYPES))
def test_layers_of_every_known_type(media_type: str) -> None:
    assert isinstance(read(image(layers=[descriptor(2, media_type)])), Manifest)


@pytest.mark.parametrize("media_type", sorted(CONFIG_TYPES))
def test_configs_of_every_known_type(media_type: str) -> None:
    assert isinstance(read(image(config=descriptor(1, media_type))), Manifest)


@pytest.mark.parametrize(
    "served",
    [None, "", "application/json", "text/plain; charset=utf-8", OCI_MANIFEST, f"{DOCKER_MANIFEST}; charset=utf-8"],
)
def test_content_types_that_do_not_contradict(served: str | None) -> None:
    assert isinstance(read(image(), served), Manifest)


def test_unknown_keys_do_no_harm() -> None:
    assert isinstance(read(image(artifactType="x", subject=descriptor(9), new=[1])), Manifest)


def test_the_largest_allowed_manifest() -> None:
    layers = [descriptor(1 + number) for number in range(LAYER_LIMIT)]
    found = read(image(layers=layers))

    assert isinstance(found, Manifest)
    assert len(found.layers) == LAYER_LIMIT


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("document", "error"),
    [
        pytest.param(index(entry(1), layers=[], config={}), ProtocolError, id="index and image"),
        pytest.param(index(entry(1), layers=[descriptor(2)]), ProtocolError, id="index with layers"),
        pytest.param(image(manifests=[]), ProtocolError, id="image with manifests"),
        pytest.param(image(manifests=None), ProtocolError, id="image with null for manifests"),
        pytest.param(image(fsLayers=[]), ProtocolError, id="image and schema 1"),
        pytest.param(image(signatures=[]), ProtocolError, id="signed schema 1"),
        pytest.param(image(mediaType=OCI_INDEX), ProtocolError, id="image that says index"),
        pytest.param(image(mediaType=DOCKER_LIST), ProtocolError, id="image that says list"),
        pytest.param(index(entry(1), mediaType=OCI_MANIFEST), ProtocolError, id="index that says image"),
        pytest.param(image(mediaType="application/x"), UnsupportedError, id="unknown media type"),
        pytest.param(image(mediaType=5), UnsupportedError, id="number as media type"),
        pytest.param(image(mediaType=[OCI_MANIFEST]), UnsupportedError, id="list as media type"),
        pytest.param(image(schemaVersion=1), UnsupportedError, id="schema 1"),
        pytest.param(image(schemaVersion="2"), UnsupportedError, id="version as text"),
        pytest.param(image(schemaVersion=[[]]), UnsupportedError, id="version as list"),
        pytest.param(without(image(), "schemaVersion"), UnsupportedError, id="no version"),
        pytest.param({"schemaVersion": 2}, ProtocolError, id="neither"),
        pytest.param(without(image(), "config"), ProtocolError, id="no config"),
        pytest.param(without(image(), "layers"), ProtocolError, id="no layers"),
        pytest.param(image(layers={}), ProtocolError, id="layers are a table"),
        pytest.param(image(layers=[]), UnsupportedError, id="zero layers"),
        pytest.param(image(layers=[descriptor(1)] * (LAYER_LIMIT + 1)), ProtocolError, id="too many layers"),
        pytest.param(index(*[entry(1)] * (LAYER_LIMIT + 1)), ProtocolError, id="too many entries"),
        pytest.param(image(layers=["x"]), ProtocolError, id="layer is a text"),
        pytest.param(image(config=[]), ProtocolError, id="config is a list"),
        pytest.param(image(config=descriptor(1, "application/vnd.oci.empty.v1+json")), UnsupportedError, id="artifact"),
        pytest.param(image(layers=[descriptor(2, "application/x")]), UnsupportedError, id="layer type"),
        pytest.param(image(layers=[descriptor(2, LAYER + "\n")]), ProtocolError, id="newline in a type"),
        pytest.param(image(layers=[descriptor(2, LAYER.upper())]), UnsupportedError, id="upper case type"),
        pytest.param(image(layers=[without(descriptor(2), "mediaType")]), ProtocolError, id="layer without type"),
        pytest.param(image(layers=[descriptor(2, urls=["http://x"])]), UnsupportedError, id="foreign layer"),
        pytest.param(image(layers=[descriptor(2, annotations={"a": 1})]), ProtocolError, id="annotation is a number"),
        pytest.param(image(annotations=["a"]), ProtocolError, id="annotations are a list"),
        pytest.param(index("x"), ProtocolError, id="entry is a text"),  # type: ignore[arg-type]
        pytest.param([], ProtocolError, id="list"),
        pytest.param("x", ProtocolError, id="text"),
    ],
)
def test_documents_that_are_refused(document: object, error: type[FetchError]) -> None:
    with pytest.raises(error) as caught:
        read(document)

    assert caught.value.reference == SOURCE
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "size", [-1, 1 << 53, 1 << 63, 1 << 64, 1.5, "1", None, True, [], {}], ids=lambda size: repr(size)
)
def test_impossible_sizes(size: object) -> None:
    with pytest.raises(ProtocolError, match="impossible size"):
        read(image(layers=[descriptor(2, size=size)]))


@pytest.mark.parametrize("size", [0, 1, 999 << 40, (1 << 53) - 1])
def test_possible_sizes(size: int) -> None:
    found = read(image(layers=[descriptor(2, size=size)]))

    assert isinstance(found, Manifest)
    assert found.layers[0].size == size


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "0" * 63,
        "sha256:" + "A" * 64,
        "md5:" + "0" * 32,
        "../../x",
        "sha256:../../../../etc/passwd",
        "",
        None,
        5,
        [digest(1)],
        "x" * 1_000_000,
    ],
    ids=lambda text: repr(text)[:30],
)
def test_bad_digests(text: object) -> None:
    with pytest.raises(ProtocolError, match="bad digest") as caught:
        read(image(layers=[descriptor(2, digest=text)]))

    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="truncated"),
        pytest.param(b"\xff\xfe{\x00}\x00", id="UTF-16 with mark"),
        pytest.param('{"a": 1}'.encode("utf-16-le"), id="UTF-16"),
        pytest.param('{"a": 1}'.encode("utf-32"), id="UTF-32"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', id="byte order mark"),
        pytest.param(b'{"a": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"a": 1, "a": 2}', id="repeated key"),
        pytest.param(b'{"x": {"a": 1, "a": 2}}', id="repeated key within"),
        pytest.param(b'{"a": 1, "\\u0061": 2}', id="repeated key, escaped"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b'{"a": -Infinity}', id="infinity"),
        pytest.param(b'{"a": 1e400}', id="too large"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", id="too many digits"),
        pytest.param(b'{"a": "\\ud800"}', id="half a pair"),
        pytest.param(b'{"a": "\\uDC00x"}', id="other half"),
        pytest.param(b'{"\\ud800": 1}', id="half a pair in a key"),
        pytest.param(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="deep lists"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="deep tables"),
        pytest.param(b"{} {}", id="two documents"),
        pytest.param(b"{'a': 1}", id="single quotes"),
        pytest.param(b'{"a": 1,}', id="comma"),
        pytest.param(b'{"a": "\n"}', id="raw newline"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
    ],
)
def test_what_is_no_strict_json(data: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        strict_json(data, SOURCE)

    assert len(caught.value.message) < 300


def test_whole_pairs_and_escaped_backslashes_are_fine() -> None:
    assert strict_json(b'{"a": "\\ud83d\\ude00", "b": "\\\\ud800"}', SOURCE) == {"a": "😀", "b": "\\ud800"}


def test_a_manifest_over_the_limit_is_not_parsed() -> None:
    with pytest.raises(ProtocolError, match="larger than 4194304 bytes"):
        parse(b" " * (MANIFEST_LIMIT + 1), None, SOURCE)


@given(st.binary(max_size=60), st.sampled_from([None, *ACCEPTED]))
def test_no_bytes_lead_to_a_traceback(data: bytes, media_type: str | None) -> None:
    with pytest.raises(BootcError):
        parse(data, media_type, SOURCE)


@given(
    st.dictionaries(
        st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests", "annotations"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["mediaType", "digest", "size", "urls"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_no_document_leads_to_a_traceback(document: dict[str, Any]) -> None:
    for base in ({}, image(), index(entry(1))):
        try:
            found = read({**base, **document})
        except BootcError:
            continue
        assert isinstance(found, Manifest | Index)


# ---------------------------------------------------------------- choosing from an index


@pytest.mark.parametrize(
    ("entries", "platform", "chosen"),
    [
        pytest.param([entry(1, architecture="arm64"), entry(2)], AMD64, 2, id="architecture"),
        pytest.param([entry(1, "windows"), entry(2)], AMD64, 2, id="operating system"),
        pytest.param([entry(1), entry(2)], AMD64, 1, id="first of equals"),
        pytest.param([entry(1, variant="v3"), entry(2)], AMD64, 2, id="variant that is not told apart"),
        pytest.param([entry(1, architecture="arm64"), entry(2, architecture="arm64", variant="v8")], ARM64, 2, id="v8"),
        pytest.param([entry(1, architecture="arm64")], ARM64, 1, id="no variant"),
        pytest.param(
            [entry(number, architecture="arm", variant=f"v{number}") for number in (5, 6, 7)], ARM, 7, id="best variant"
        ),
        pytest.param(
            [entry(number, architecture="arm", variant=f"v{number}") for number in (8, 5, 6)], ARM, 6, id="next variant"
        ),
        pytest.param([descriptor(1, OCI_MANIFEST), entry(2)], AMD64, 2, id="platform before none"),
        pytest.param([descriptor(1, OCI_MANIFEST)], AMD64, 1, id="no platform"),
        pytest.param([descriptor(1, DOCKER_MANIFEST)], AMD64, 1, id="docker"),
        pytest.param(
            [entry(1), entry(2, annotations={"io.github.containers.compression.zstd": "true"})], AMD64, 2, id="zstd"
        ),
        pytest.param(
            [
                entry(1, annotations={"vnd.docker.reference.type": "attestation-manifest"}),
                descriptor(2, OCI_MANIFEST, platform={"os": "unknown", "architecture": "unknown"}),
                entry(3),
            ],
            AMD64,
            3,
            id="attestations",
        ),
        pytest.param([descriptor(1, OCI_INDEX), entry(2)], AMD64, 2, id="index within"),
        pytest.param([descriptor(1, "application/x"), entry(2)], AMD64, 2, id="something else"),
    ],
)
def test_the_best_instance_is_chosen(entries: list[dict[str, Any]], platform: Platform, chosen: int) -> None:
    found = read(index(*entries))

    assert isinstance(found, Index)
    assert choose(found, platform, SOURCE).digest == Digest.parse(digest(chosen))


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([], id="empty"),
        pytest.param([entry(1, architecture="s390x")], id="architecture"),
        pytest.param([entry(1, system="")], id="no operating system"),
        pytest.param([entry(1, variant="v2")], id="variant"),
        pytest.param([descriptor(1, OCI_INDEX)], id="only an index"),
        pytest.param([descriptor(1, OCI_MANIFEST, platform={})], id="empty platform"),
        pytest.param([descriptor(1, OCI_MANIFEST, platform={"os": 5, "architecture": []})], id="odd platform"),
    ],
)
def test_an_index_without_a_fitting_instance(entries: list[dict[str, Any]]) -> None:
    found = read(index(*entries))

    assert isinstance(found, Index)
    with pytest.raises(UnsupportedError, match="no image for linux/amd64 in this index"):
        choose(found, AMD64, SOURCE)


# ---------------------------------------------------------------- diffIDs


def manifest_of(count: int) -> Manifest:
    found = read(image(layers=[descriptor(number + 2) for number in range(count)]))
    assert isinstance(found, Manifest)
    return found


def test_diff_ids_are_in_the_order_of_layers() -> None:
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [digest(8), digest(9)]}}).encode()

    assert diff_ids(config, manifest_of(2), SOURCE) == (Digest.parse(digest(8)), Digest.parse(digest(9)))


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{}",
        b'{"rootfs": []}',
        b'{"rootfs": {}}',
        b'{"rootfs": {"diff_ids": "x"}}',
        b'{"rootfs": {"diff_ids": []}}',
        json.dumps({"rootfs": {"diff_ids": [digest(1)]}}).encode(),
        json.dumps({"rootfs": {"diff_ids": [digest(1)] * 3}}).encode(),
        json.dumps({"rootfs": {"diff_ids": [digest(1), "x"]}}).encode(),
        json.dumps({"rootfs": {"diff_ids": [digest(1), None]}}).encode(),
        b" " * (MANIFEST_LIMIT + 1),
    ],
    ids=lambda config: config[:40].decode(),
)
def test_configs_that_do_not_fit(config: bytes) -> None:
    with pytest.raises(ProtocolError):
        diff_ids(config, manifest_of(2), SOURCE)


def test_a_layer_may_come_twice() -> None:
    twice = evolve(manifest_of(1), layers=manifest_of(1).layers * 2)
    config = json.dumps({"rootfs": {"diff_ids": [digest(8)] * 2}}).encode()

    assert diff_ids(config, twice, SOURCE) == (Digest.parse(digest(8)),) * 2
