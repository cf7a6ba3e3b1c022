"""What manifest and config of an image say, also when they lie."""

from __future__ import annotations

import json
import os
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootc import platform
from bootc.image import Descriptor, Digest, ImageSummary, Layer, canonical_json, parse_time
from bootc.platform import Platform

DIGEST = Digest("sha256", "0" * 64)
OTHER = Digest("sha256", "1" * 64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def summary(config: object = None, manifest: object = None) -> ImageSummary:
    documents = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (manifest, config)]
    return ImageSummary(DIGEST, *documents)


def facts(image: ImageSummary) -> tuple[Any, ...]:
    """All that can be asked."""
    return dict(image.labels), image.architecture, image.version, image.created, dict(image.layer_sizes)


NOTHING: tuple[Any, ...] = ({}, "", None, None, {})


def test_a_full_image() -> None:
    labels = {"org.opencontainers.image.version": "42.1", "version": "x", "containers.bootc": "1"}
    config = {"architecture": "arm64", "created": "2026-01-02T03:04:05.123456789Z", "config": {"Labels": labels}}
    manifest = {"layers": [{"digest": str(DIGEST), "size": 5}, {"digest": str(OTHER), "size": 7}]}

    assert facts(summary(config, manifest)) == (
        labels,
        "arm64",
        "42.1",
        "2026-01-02T03:04:05.123456789Z",
        {DIGEST: 5, OTHER: 7},
    )


def test_labels_come_before_the_config() -> None:
    labels = {"version": "1", "org.opencontainers.image.created": "2026-01-01T00:00:00Z"}
    image = summary({"created": "2025-01-01T00:00:00Z", "config": {"Labels": labels}})

    assert (image.version, image.created) == ("1", "2026-01-01T00:00:00Z")


@pytest.mark.parametrize("label", ["", "2026-01-01", "2026-01-01 00:00:00", "today"])
def test_a_label_that_is_no_date_does_not_hide_the_config_s(label: str) -> None:
    labels = {"org.opencontainers.image.created": label}
    assert summary({"created": "2025-01-01T00:00:00Z", "config": {"Labels": labels}}).created == "2025-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="truncated"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param([], id="list"),
        pytest.param("text", id="text"),
        pytest.param({"config": []}, id="config is a list"),
        pytest.param({"config": "x"}, id="config is a text"),
        pytest.param({"config": None}, id="config is null"),
        pytest.param({"config": {"Labels": None}}, id="labels are null"),
        pytest.param({"config": {"Labels": ["a"]}}, id="labels are a list"),
        pytest.param({"architecture": None, "created": None}, id="null"),
        pytest.param({"created": "yesterday"}, id="no date"),
        pytest.param({"created": 5}, id="number for a date"),
    ],
)
def test_a_config_that_says_nothing(config: object) -> None:
    assert facts(summary(config, config)) == NOTHING


@pytest.mark.parametrize(
    "layers",
    [
        None,
        "x",
        {},
        [None],
        ["x"],
        [{}],
        [{"digest": 5}],
        [{"digest": "sha256:../../x", "size": 1}],
        [{"digest": [str(DIGEST)], "size": 1}],
    ],
)
def test_layers_that_say_nothing(layers: object) -> None:
    assert summary({}, {"layers": layers}).layer_sizes == {}


@pytest.mark.parametrize("size", [None, "5", [], 1.5])
def test_a_layer_of_unknown_size(size: object) -> None:
    assert summary({}, {"layers": [{"digest": str(DIGEST), "size": size}]}).layer_sizes == {DIGEST: 0}


@pytest.mark.parametrize(
    ("served", "named", "expected"), [(3, 5, 3), (0, 5, 0), (None, 5, 5), (None, None, 0)], ids=str
)
def test_the_size_that_is_expected_of_a_layer(served: int | None, named: int | None, expected: int) -> None:
    digest = Digest("sha256", "0" * 64)
    blob, descriptor = (Descriptor("application/x-tar", digest, size) for size in (served, named))
    assert Layer(descriptor, digest, blob).expected_size == expected


@given(JSON, JSON)
def test_no_document_leads_to_a_traceback(config: object, manifest: object) -> None:
    labels, architecture, _, _, sizes = facts(summary(config, manifest))

    assert all(isinstance(text, str) for text in (architecture, *labels, *labels.values()))
    assert all(isinstance(size, int) for size in sizes.values())


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02t03:04:05z", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02 03:04:05Z", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.100000+00:00"),
        ("2026-01-02T03:04:05.123456789+02:30", "2026-01-02T03:04:05.123456+02:30"),
        ("2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59+00:00"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00+00:00"),
    ],
)
def test_times(text: str, iso: str) -> None:
    found = parse_time(text)

    assert found is not None
    assert found.isoformat() == iso


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04Z",
        "20260102T030405Z",
        "2026-W01-1T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05+0100",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05Z\n",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "٢٠٢٦-01-02T03:04:05Z",
        "9" * 10_000,
    ],
)
def test_what_is_no_time(text: str) -> None:
    assert parse_time(text) is None


@given(st.datetimes(), st.sampled_from(["Z", "+00:00", "-11:30", "+14:00"]))
def test_every_time_that_is_accepted_can_be_used(moment: Any, zone: str) -> None:
    found = parse_time(f"{moment:%H:%M:%S}".join((f"{moment.year:04}-{moment:%m-%d}T", zone)))

    assert found is None or found.astimezone(UTC).utcoffset() is not None


def test_canonical_json_is_sorted_and_short() -> None:
    assert canonical_json({"b": [1, None], "a": "ü"}) == '{"a":"ü","b":[1,null]}'


# ---------------------------------------------------------------- platforms


def test_the_running_platform_is_known() -> None:
    assert platform.current().machine == os.uname().machine


def test_platforms_are_told_apart_under_every_name() -> None:
    known: tuple[Platform, ...] = platform._PLATFORMS
    for names in (
        [item.machine for item in known],
        [item.architecture for item in known],
        [item.kargs_name for item in known],
        [item.root_type for item in known],
        [item.efi_suffix for item in known if item.efi_suffix],
    ):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("machine", "architecture", "root_type", "efi_suffix"),
    [
        ("x86_64", "amd64", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "x64"),
        ("aarch64", "arm64", "b921b045-1df0-41c3-af44-4c6f280d3fae", "aa64"),
        ("ppc64le", "ppc64le", "c31c45e6-3f39-412e-80fb-4809c4980599", ""),
        ("s390x", "s390x", "5eead9a9-fe09-4a1e-a1d7-520d00531306", ""),
        ("riscv64", "riscv64", "72ec70a6-cf74-40e6-bd49-4bda08e8f224", "riscv64"),
        ("armv7l", "arm", "69dad710-2ce4-4e3c-b16c-21a1d49abed3", "arm"),
    ],
)
def test_names_of_platforms(machine: str, architecture: str, root_type: str, efi_suffix: str) -> None:
    found = next(item for item in platform._PLATFORMS if item.machine == machine)

    assert (found.architecture, found.root_type, found.efi_suffix) == (architecture, root_type, efi_suffix)
