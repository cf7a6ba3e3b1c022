"""The Host document as data: what deployments become in it, and what can be read back."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from attrs import evolve

from bootc.deployment import BootEntry, Deployment, DeploymentId, KernelArguments
from bootc.errors import ConfigError
from bootc.image import Digest, ImageReference, ImportedImage, canonical_json
from bootc.state import Failure, FailureKind
from bootc.status import CachedUpdate, Host, dump_host, host_document, parse_host, to_json, to_yaml
from bootc.status.model import utc_time
from tests.unit.status_documents import A, B, document, entry, image, ostree, reference

REFERENCE = ImageReference.of("reg.example/os:stable")
EMPTY: dict[str, Any] = {
    "apiVersion": "org.containers.bootc/v1",
    "kind": "BootcHost",
    "metadata": {"name": "host"},
    "spec": {"image": None, "bootOrder": "default"},
    "status": {
        "staged": None, "booted": None, "rollback": None, "rollbackQueued": False,
        "type": None, "usrOverlay": None, "readOnly": False,
    },
}  # fmt: skip


def summary(digest: str, version: str) -> ImportedImage:
    labels = {"version": version}
    config = {"architecture": "amd64", "created": "2026-01-02T03:04:05.5Z", "config": {"Labels": labels}}
    return ImportedImage(Digest.parse(digest), b"{}", canonical_json(config).encode(), key=version)


def deployment(name: str, digest: str, version: str, **more: Any) -> Deployment:
    identity = DeploymentId(name)
    boot = BootEntry(identity, name, version, PurePosixPath("vmlinuz"), (), KernelArguments())
    details = {"ostree": ostree(serial=3), "store": "ostreeContainer"}
    defaults = {"reference": REFERENCE, "details": details, **more}
    return Deployment(
        identity, "default", summary(digest, version), arguments=KernelArguments(), boot_digest=None, entry=boot,
        **defaults,
    )  # fmt: skip


BOOTED = deployment("now", A, "1", is_booted=True)
STAGED = deployment("next", B, "2", is_staged=True, is_locked=True)
OLD = deployment("old", B, "0", is_pinned=True)


def shown(digest: str, version: str) -> dict[str, Any]:
    return {
        "image": {"image": "reg.example/os:stable", "transport": "registry"},
        "version": version,
        "timestamp": "2026-01-02T03:04:05.500Z",
        "imageDigest": digest,
        "architecture": "amd64",
    }


def shown_entry(digest: str, version: str, **more: Any) -> dict[str, Any]:
    return {
        "image": shown(digest, version), "cachedUpdate": None, "incompatible": False, "pinned": False,
        "softRebootCapable": False, "downloadOnly": False, "store": "ostreeContainer",
        "ostree": ostree(serial=3), "composefs": None, **more,
    }  # fmt: skip


OVERLAY = {"accessMode": "readWrite", "persistence": "transient"}


def test_a_machine_without_deployments_gives_the_empty_document() -> None:
    assert host_document(()) == EMPTY


def test_deployments_become_slots_with_all_their_fields() -> None:
    cached = {BOOTED.id: CachedUpdate(summary(B, "2"), REFERENCE)}
    booted = evolve(BOOTED, details={**BOOTED.details, "usrOverlay": OVERLAY})
    host = host_document((STAGED, booted, OLD), cached_updates=cached, is_read_only=True)
    assert host == {
        **EMPTY,
        "spec": {"image": {"image": "reg.example/os:stable", "transport": "registry"}, "bootOrder": "default"},
        "status": {
            "staged": shown_entry(B, "2", downloadOnly=True),
            "booted": shown_entry(A, "1", cachedUpdate=shown(B, "2")),
            "rollback": shown_entry(B, "0", pinned=True),
            "rollbackQueued": False,
            "type": "bootcHost",
            "usrOverlay": OVERLAY,
            "readOnly": True,
        },
    }


def test_other_deployments_appear_only_if_there_are_some() -> None:
    other = evolve(OLD, id=DeploymentId("other"), stateroot="elsewhere")
    assert "otherDeployments" not in host_document((BOOTED, OLD))["status"]
    assert host_document((BOOTED, other))["status"]["otherDeployments"] == [shown_entry(B, "0", pinned=True)]


def test_the_verdict_is_a_field_of_ours_and_appears_only_where_it_is_known() -> None:
    host = host_document((STAGED, BOOTED), verdicts={BOOTED.id: "signedBy AB (default)"})["status"]
    assert host["booted"] == shown_entry(A, "1", verdict="signedBy AB (default)")
    assert host["staged"] == shown_entry(B, "2", downloadOnly=True)
    assert dump_host(parse_host({**EMPTY, "status": host}))["status"] == host


FAILURES = (
    Failure(FailureKind.FINALIZATION, DeploymentId("c.0"), None, None, "no space", "2026-01-01T00:00:00Z"),
    Failure(FailureKind.BOOT, DeploymentId("b.0"), Digest.parse(B), REFERENCE, "no init", "2026-01-02T00:00:00Z"),
)


def test_what_failed_is_a_field_of_ours_and_appears_only_if_something_did() -> None:
    assert "failedDeployments" not in host_document((BOOTED,))["status"]
    assert host_document((BOOTED,), failures=FAILURES)["status"]["failedDeployments"] == [
        {
            "kind": "boot", "deployment": "b.0", "imageDigest": B, "reason": "no init",
            "image": {"image": "reg.example/os:stable", "transport": "registry"}, "time": "2026-01-02T00:00:00Z",
        },
        {
            "kind": "finalization", "deployment": "c.0", "imageDigest": None, "reason": "no space",
            "image": None, "time": "2026-01-01T00:00:00Z",
        },
    ]  # fmt: skip


def test_a_queued_rollback_reverses_the_boot_order() -> None:
    host = host_document((OLD, BOOTED))
    assert (host["spec"]["bootOrder"], host["status"]["rollbackQueued"]) == ("rollback", True)


def test_the_target_is_what_is_staged() -> None:
    staged = evolve(STAGED, reference=ImageReference.of("/srv/os", "oci"))
    assert host_document((staged, BOOTED))["spec"]["image"] == {"image": "/srv/os", "transport": "oci"}


def test_changes_by_another_tool_hide_the_image() -> None:
    host = host_document((evolve(BOOTED, is_incompatible=True),))
    assert host["spec"]["image"] is None
    assert host["status"]["type"] is None
    assert host["status"]["booted"] == shown_entry(A, "1", image=None, incompatible=True)


def test_fields_of_a_backend_are_passed_on() -> None:
    host = host_document((evolve(BOOTED, details={"slot": "a", "softRebootCapable": True}),))
    assert host["status"]["booted"] == shown_entry(A, "1", slot="a", softRebootCapable=True, ostree=None, store=None)


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (None, {}),
        ("containerPolicy", {"signature": "containerPolicy"}),
        ("ostreeRemote:fleet", {"signature": {"ostreeRemote": "fleet"}}),
    ],
)
def test_signature_policies(signature: str | None, expected: dict[str, Any]) -> None:
    host = host_document((evolve(BOOTED, reference=evolve(REFERENCE, signature=signature)),))
    assert host["spec"]["image"] == reference(**expected)
    assert host["status"]["booted"]["image"]["image"] == reference(**expected)
    assert parse_host(host).target == evolve(REFERENCE, signature=signature)


def test_only_the_booted_slot_on_request() -> None:
    host = Host.of((STAGED, BOOTED, OLD), cached_updates={}, is_read_only=False)
    assert dump_host(host.without_other_slots())["status"] == {
        **EMPTY["status"], "booted": shown_entry(A, "1"), "type": "bootcHost",
    }  # fmt: skip


def test_json_is_canonical_and_safe_on_a_terminal() -> None:
    host = document(booted=entry(image(version="\x9bü\x7f")))
    text = to_json(host)
    assert "\n" not in text
    assert "\\u009bü\\u007f" in text
    assert json.loads(text) == host
    assert text == json.dumps(host, sort_keys=True, separators=(",", ":"), ensure_ascii=False).replace(
        "\x9b", "\\u009b"
    ).replace("\x7f", "\\u007f")


def test_the_empty_document_in_json() -> None:
    assert to_json(host_document(())) == (
        '{"apiVersion":"org.containers.bootc/v1","kind":"BootcHost","metadata":{"name":"host"},'
        '"spec":{"bootOrder":"default","image":null},"status":{"booted":null,"readOnly":false,"rollback":null,'
        '"rollbackQueued":false,"staged":null,"type":null,"usrOverlay":null}}'
    )


def test_yaml_says_the_same_in_the_format_s_order() -> None:
    host = host_document((STAGED, BOOTED, OLD))
    text = to_yaml(host)
    assert yaml.safe_load(text) == host
    assert [line for line in text.splitlines() if not line.startswith(" ")] == [
        "apiVersion: org.containers.bootc/v1", "kind: BootcHost", "metadata:", "spec:", "status:",
    ]  # fmt: skip
    assert not text.endswith("\n")


def test_what_is_written_can_be_read_back() -> None:
    booted = evolve(BOOTED, details={**BOOTED.details, "usrOverlay": OVERLAY})
    host = host_document(
        (STAGED, booted, OLD, evolve(OLD, id=DeploymentId("x"), stateroot="elsewhere")),
        cached_updates={BOOTED.id: CachedUpdate(summary(B, "2"), REFERENCE)},
        failures=FAILURES,
    )
    assert dump_host(parse_host(host)) == host


@pytest.mark.parametrize(
    "old",
    [
        {"apiVersion": "org.containers.bootc/v1alpha1", "kind": "BootcHost"},
        {"apiVersion": "org.containers.bootc/v1", "kind": "BootcHost", "metadata": None, "spec": None, "status": None},
        {**EMPTY, "status": {**EMPTY["status"], "isContainer": False, "otherDeployments": None}},
        document({"image": None}, isContainer=False, rollbackQueued=None),
    ],
    ids=["envelope", "nulls", "dropped keys", "missing keys"],
)
def test_old_documents_are_read(old: dict[str, Any]) -> None:
    assert dump_host(parse_host(old)) == EMPTY


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "host document: document: must be a mapping"),
        ({"kind": "BootcHost"}, "host document: apiVersion: must be a string; it is missing"),
        (document({"image": "x"}), "host document: spec.image: must be a mapping"),
        (document({"image": {"image": "x"}}), "host document: spec.image.transport: must be a string; it is missing"),
        (document({"bootOrder": "never"}), "host document: spec.bootOrder: must be one of default, rollback"),
        (document(booted={"pinned": "yes"}), "host document: status.booted.pinned: must be true or false"),
        (document(otherDeployments={}), "host document: status.otherDeployments: must be a list"),
        (document(failedDeployments=3), "host document: status.failedDeployments: must be a list"),
        (document(otherDeployments=[3]), "host document: status.otherDeployments[0]: must be a mapping"),
        (document(usrOverlay={"accessMode": 1}), "host document: status.usrOverlay.accessMode: must be a string"),
    ],
)  # fmt: skip
def test_wrong_documents_are_refused_by_key(bad: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_host(bad)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.120000000Z", "2026-01-02T03:04:05.120Z"),
        ("2026-01-02T03:04:05.1234567891+02:00", "2026-01-02T01:04:05.123456789Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00+01:00"),
        ("yesterday", "yesterday"),
    ],
)
def test_times(text: str, expected: str) -> None:
    assert utc_time(text) == expected
