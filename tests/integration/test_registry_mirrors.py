"""Mirrors: who is asked, in which order, with whose credentials, and what happens where one fails."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootc.errors import AuthenticationError, FetchError, NetworkError, NotFoundError, PolicyError
from bootc.events import Event, Notice
from bootc.fetcher import Ranges
from bootc.image import ImageReference
from bootc.testing.registry import (
    REPOSITORY,
    Bearer,
    FakeRegistry,
    Received,
    answers,
    cut_after,
    ignores_range,
    normal,
    redirects,
    with_body,
)
from tests.integration.registry_fetching import AMD64, fetching, pull, read
from tests.servers import HTPASSWD, PASSWORD, USER, RegistryServer
from tests.skopeo_images import PLATFORM, build, write_layout

LAYER = bytes(range(256)) * 8192
"""2 MiB: a blob that arrived in part"""


@pytest.fixture
def primary() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        registry.add_image("os", LAYER)
        yield registry


@pytest.fixture
def mirror() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        registry.add_image("os", LAYER)
        yield registry


def configure(root: Path, primary: FakeRegistry, *mirrors: str, more: str = "") -> str:
    """Write a registries.conf; returns the image's name."""
    lines = ["[[registry]]", f'location = "{primary.address}"', "insecure = true"]
    for mirror in mirrors:
        lines += ["[[registry.mirror]]", f'location = "{mirror}"', "insecure = true"]
    path = root / "etc/containers/registries.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, more]) + "\n")
    return f"docker://{primary.address}/{REPOSITORY}:os"


def log_in(root: Path, **logins: str) -> None:
    path = root / "etc/ostree/auth.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = {
        name.replace("_", "."): {"auth": base64.b64encode(login.encode()).decode()} for name, login in logins.items()
    }
    path.write_text(json.dumps({"auths": entries}))


def is_for(request: Received, kind: str) -> bool:
    return f"/{kind}/" in request.path


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice) and event.is_warning]


def test_a_mirror_serves_all_and_is_known_by_the_image_s_own_name(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    name = configure(tmp_path, primary, mirror.address)
    events: list[Event] = []
    with fetching(tmp_path, insecure=(), report=events.append) as fetcher:
        assert str(fetcher.peek(ImageReference.parse(name))) in mirror.documents
        found = pull(fetcher, name)
    assert found.layers == (LAYER,)
    assert found.image.reference == ImageReference.parse(name)
    assert (primary.received, warnings(events)) == ([], [])
    assert len(mirror.received) == 4


FAILURES = {
    "has no such image": (404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', "MANIFEST_UNKNOWN"),
    "wants a login": (401, b"", "no known way to log in"),
    "denies": (403, b"", "answered 403"),
    "is out of order": (503, b"", "answered 503"),
    "talks nonsense": (200, b"hello", "not valid JSON"),
    "redirects to nowhere": (307, b"", "cannot be followed"),
}


@pytest.mark.parametrize(("status", "body", "problem"), FAILURES.values(), ids=FAILURES)
def test_what_a_mirror_cannot_give_comes_from_the_next_place(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path, status: int, body: bytes, problem: str
) -> None:
    mirror.disturb("manifests/", answers(status, body), is_forever=True)
    mirror.disturb("manifests/", answers(status, body), method="HEAD", is_forever=True)
    name = configure(tmp_path, primary, mirror.address)
    events: list[Event] = []
    with fetching(tmp_path, insecure=(), report=events.append) as fetcher:
        assert pull(fetcher, name).layers == (LAYER,)
        assert fetcher.peek(ImageReference.parse(name))
    (first, *_) = warnings(events)
    assert first.startswith(f"mirror {mirror.address}: ")
    assert problem in first


def test_a_mirror_that_does_not_answer_is_passed_over(primary: FakeRegistry, tmp_path: Path) -> None:
    with FakeRegistry() as gone:
        pass
    name = configure(tmp_path, primary, gone.address)
    with fetching(tmp_path, insecure=()) as fetcher:
        assert pull(fetcher, name).layers == (LAYER,)


def test_where_all_fail_the_image_s_own_registry_is_the_one_that_counts(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    mirror.disturb("manifests/", answers(403), is_forever=True)
    primary.documents.clear()
    name = configure(tmp_path, primary, mirror.address)
    with fetching(tmp_path, insecure=()) as fetcher, pytest.raises(NotFoundError) as caught:
        pull(fetcher, name)
    assert f"mirror {mirror.address}: access denied" in caught.value.problem


def test_a_mirror_s_other_image_is_not_taken_for_a_digest(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    digest = primary.add_image("os", LAYER)["digest"]
    mirror.disturb("manifests/", with_body(lambda body: body + b" "), is_forever=True)
    name = configure(tmp_path, primary, mirror.address).removesuffix(":os") + f"@{digest}"
    events: list[Event] = []
    with fetching(tmp_path, insecure=(), report=events.append) as fetcher:
        assert str(pull(fetcher, name).image.digest) == digest
    assert "another digest" in warnings(events)[0]


def test_a_blob_that_a_mirror_lacks_comes_from_the_next_place(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    mirror.disturb("blobs/", lambda request, reply: reply, answers(404), is_forever=True)
    name = configure(tmp_path, primary, mirror.address)
    events: list[Event] = []
    with fetching(tmp_path, insecure=(), report=events.append) as fetcher:
        assert pull(fetcher, name).layers == (LAYER,)
    assert [is_for(request, "blobs") for request in primary.received] == [True]
    (warning,) = warnings(events)
    assert warning.startswith(f"mirror {mirror.address}: no such blob")


def test_a_blob_that_is_cut_goes_on_at_the_next_place(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    mirror.disturb("blobs/", lambda request, reply: reply, cut_after(1 << 19), answers(500), is_forever=True)
    name = configure(tmp_path, primary, mirror.address)
    with fetching(tmp_path, insecure=()) as fetcher:
        assert pull(fetcher, name).layers == (LAYER,)
    (request,) = primary.received
    assert request.headers["range"] == f"bytes={1 << 19}-"


def test_a_mirror_that_ceased_to_answer_does_not_cost_time_for_each_blob(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    layers = tuple(bytes([number]) * 1000 for number in range(5))
    for registry in (primary, mirror):
        registry.add_image("os", *layers)
    mirror.disturb("blobs/", normal, answers(503), is_forever=True)
    name = ImageReference.parse(configure(tmp_path, primary, mirror.address))
    events: list[Event] = []
    with fetching(tmp_path, insecure=(), report=events.append) as fetcher:
        assert pull(fetcher, str(name)).layers == layers
        assert len([request for request in mirror.received if is_for(request, "blobs")]) == 1 + 2
        assert len([request for request in primary.received if is_for(request, "blobs")]) == 5
    (warning,) = warnings(events)
    assert "503" in warning


def test_a_mirror_without_ranges_is_asked_for_whole_blobs_only(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    mirror.disturb("blobs/", ignores_range, is_forever=True)
    name = ImageReference.parse(configure(tmp_path, primary, mirror.address))
    with fetching(tmp_path, insecure=()) as fetcher, fetcher.resolve(name, AMD64) as source:
        assert isinstance(source, Ranges)
        blob = source.image.layers[0].blob
        before = len(mirror.received)
        for start in range(0, 5000, 1000):
            with source.open_range(blob, start, 1000) as stream:
                assert stream.read() == LAYER[start : start + 1000]
        assert (len(mirror.received) - before, len(primary.received)) == (1, 5)
        assert read(source, blob) == LAYER
    assert (len(mirror.received) - before, len(primary.received)) == (2, 5)


def test_a_blob_that_no_place_has_is_the_last_one_s_error(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    name = ImageReference.parse(configure(tmp_path, primary, mirror.address))
    with fetching(tmp_path, insecure=()) as fetcher, fetcher.resolve(name, AMD64) as source:
        primary.blobs.clear()
        mirror.blobs.clear()
        with pytest.raises(NotFoundError, match=primary.address):
            read(source, source.image.layers[0].blob)


def test_mirrors_for_digests_are_not_asked_for_tags(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    digest = primary.add_image("os", LAYER)["digest"]
    name = configure(tmp_path, primary, mirror.address, more='pull-from-mirror = "digest-only"')
    with fetching(tmp_path, insecure=()) as fetcher:
        pull(fetcher, name)
        assert mirror.received == []
        asked = len(primary.received)
        pull(fetcher, name.removesuffix(":os") + f"@{digest}")
        assert len(primary.received) == asked


def test_what_is_blocked_costs_no_request(primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path) -> None:
    name = configure(tmp_path, primary, mirror.address)
    path = tmp_path / "etc/containers/registries.conf"
    path.write_text(path.read_text().replace("insecure = true", "insecure = true\nblocked = true", 1))
    with fetching(tmp_path, insecure=()) as fetcher:
        for attempt in (lambda: pull(fetcher, name), lambda: fetcher.peek(ImageReference.parse(name))):
            with pytest.raises(PolicyError, match="blocked"):
                attempt()
    assert primary.received + mirror.received == []


def test_a_certificate_is_left_unchecked_only_where_that_is_configured(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    name = configure(tmp_path, primary, mirror.address)
    path = tmp_path / "etc/containers/registries.conf"
    path.write_text(path.read_text().replace("insecure = true", "insecure = false", 1))
    mirror.documents.clear()
    with fetching(tmp_path, insecure=(), retries=0) as fetcher, pytest.raises(NetworkError):
        pull(fetcher, name)
    assert primary.received == []


# ---------------------------------------------------------------- credentials


def given(registry: FakeRegistry) -> set[str]:
    return {request.headers["authorization"] for request in registry.received if "authorization" in request.headers}


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def test_everybody_gets_the_own_credentials_only(primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path) -> None:
    mirror.basic, primary.basic = ("m", "mirror"), ("p", "primary")
    mirror.disturb("blobs/", answers(404), is_forever=True)
    log_in(tmp_path, **{mirror.address: "m:mirror", primary.address: "p:primary"})
    with fetching(tmp_path, insecure=()) as fetcher:
        assert pull(fetcher, configure(tmp_path, primary, mirror.address)).layers == (LAYER,)
    assert (given(mirror), given(primary)) == ({basic("m:mirror")}, {basic("p:primary")})


def test_a_mirror_without_an_entry_gets_no_credentials(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    mirror.basic = primary.basic = ("p", "primary")
    log_in(tmp_path, **{primary.address: "p:primary"})
    with fetching(tmp_path, insecure=()) as fetcher:
        assert pull(fetcher, configure(tmp_path, primary, mirror.address)).layers == (LAYER,)
    assert (given(mirror), given(primary)) == (set(), {basic("p:primary")})


def test_credentials_do_not_follow_a_redirect_to_a_mirror_s_host(
    primary: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    primary.basic = ("p", "primary")
    log_in(tmp_path, **{primary.address: "p:primary", mirror.address: "m:mirror"})
    primary.disturb("blobs/", redirects(mirror.base), is_forever=True)
    with fetching(tmp_path, insecure=("127.0.0.1",)) as fetcher, pytest.raises(FetchError):
        pull(fetcher, f"docker://{primary.address}/{REPOSITORY}:os")
    assert mirror.received
    assert given(mirror) == set()


def test_an_insecure_registry_cannot_have_credentials_sent_elsewhere(primary: FakeRegistry, tmp_path: Path) -> None:
    with FakeRegistry(host="localhost") as thief:
        primary.bearer = Bearer(login=("p", "primary"), realm=f"https://{thief.address}/token")
        log_in(tmp_path, **{primary.address: "p:primary"})
        with fetching(tmp_path, insecure=()) as fetcher, pytest.raises(AuthenticationError, match="did not prove"):
            pull(fetcher, configure(tmp_path, primary))
        assert thief.connections == 0


def test_a_helper_named_in_registries_conf_is_asked(
    primary: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bootc import machine

    programs = tmp_path / "bin"
    programs.mkdir()
    helper = programs / "docker-credential-test"
    helper.write_text('#!/bin/sh\ncat >"$0.asked"\necho \'{"Username": "p", "Secret": "primary"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setitem(machine._ENVIRONMENT, "PATH", f"{programs}:/usr/bin:/bin")
    primary.basic = ("p", "primary")
    name = configure(tmp_path, primary)
    path = tmp_path / "etc/containers/registries.conf"
    path.write_text(f'credential-helpers = ["containers-auth.json", "test"]\n{path.read_text()}')
    with fetching(tmp_path, insecure=()) as fetcher:
        assert pull(fetcher, name).layers == (LAYER,)
    assert (programs / "docker-credential-test.asked").read_text() == primary.address


# ---------------------------------------------------------------- real registries


def test_a_mirror_that_dies_in_the_middle_is_replaced(tmp_path: Path) -> None:
    built = build(3)
    layout = write_layout(tmp_path / "layout", built)
    with RegistryServer(tmp_path / "p", htpasswd=HTPASSWD) as primary:
        primary.push(layout, "os", "os/a:1")
        log_in(tmp_path, **{primary.address: f"{USER}:{PASSWORD}"})
        with RegistryServer(tmp_path / "m") as mirror:
            mirror.push(layout, "os", "os/a:1")
            lines = ["[[registry]]", f'location = "{primary.address}"', "insecure = true"]
            lines += ["[[registry.mirror]]", f'location = "{mirror.address}"', "insecure = true"]
            (tmp_path / "etc/containers").mkdir(parents=True, exist_ok=True)
            (tmp_path / "etc/containers/registries.conf").write_text("\n".join(lines))
            reference = ImageReference.parse(f"docker://{primary.address}/os/a:1")
            with fetching(tmp_path, insecure=()) as fetcher, fetcher.resolve(reference, PLATFORM) as source:
                first, *others = source.image.layers
                assert read(source, first.blob) == built.blobs[0]
                mirror.__exit__(None, None, None)
                assert tuple(read(source, layer.blob) for layer in others) == built.blobs[1:]
        ours = [request for request in primary.requests() if request.agent.startswith("bootc/")]
    assert [(request.status, "/blobs/" in request.path) for request in ours] == [(401, True), (200, True), (200, True)]
