"""The signature policy: which file counts, what rejects it, which scope applies, and what it then says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bootc_containers.policy import Policy
from bootc_containers.policy_scopes import scopes

from bootc.errors import PolicyError, ReferenceError
from bootc.image import ImageReference

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
SIGNED_BY = [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/pki/key.gpg"}]
HEX = "0123456789abcdef" * 4


def policy(tmp_path: Path, document: object) -> Policy:
    """The policy in a file system root that holds nothing else."""
    write(tmp_path, document if isinstance(document, str) else json.dumps(document))
    return Policy.load(tmp_path)


def write(root: Path, text: str, name: str = "etc/containers/policy.json") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("CONTAINERS_POLICY_JSON", raising=False)
    return tmp_path


def test_no_policy_accepts_nothing(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no signature policy found"):
        Policy.load(tmp_path)


def test_a_policy_that_cannot_be_read_accepts_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc/containers/policy.json").mkdir(parents=True)
    with pytest.raises(PolicyError, match="cannot be read"):
        Policy.load(tmp_path)


def test_etc_comes_before_usr(tmp_path: Path) -> None:
    write(tmp_path, json.dumps({"default": ACCEPT}), "usr/share/containers/policy.json")
    assert Policy.load(tmp_path).path == tmp_path / "usr/share/containers/policy.json"
    write(tmp_path, json.dumps({"default": REJECT}))
    assert Policy.load(tmp_path).path == tmp_path / "etc/containers/policy.json"


def test_the_environment_names_the_only_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, json.dumps({"default": ACCEPT}), ".config/containers/policy.json")
    monkeypatch.setenv("CONTAINERS_POLICY_JSON", str(home / "missing.json"))
    with pytest.raises(PolicyError, match=r"missing\.json: no signature policy found"):
        Policy.load()


def test_a_person_s_own_policy_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write(home, json.dumps({"default": REJECT}), ".config/containers/policy.json")
    assert Policy.load().path == own
    other = write(home, json.dumps({"default": REJECT}), "xdg/containers/policy.json")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    assert Policy.load().path == other


def fulcio(**said: str) -> dict[str, Any]:
    """A policy of one requirement with a log."""
    return {"default": [{"type": "sigstoreSigned", "fulcio": said, "rekorPublicKeyPath": "/k"}]}


def pki(**said: str) -> dict[str, Any]:
    """A policy of one requirement."""
    return {"default": [{"type": "sigstoreSigned", "pki": said}]}


INVALID = {
    "empty file": "",
    "list": "[]",
    "no default": {},
    "default is null": {"default": None},
    "default is empty": {"default": []},
    "default is no list": {"default": ACCEPT[0]},
    "unknown key": {"default": ACCEPT, "other": 1},
    "key in another case": {"Default": ACCEPT},
    "repeated key": '{"default": [{"type": "reject"}], "default": [{"type": "insecureAcceptAnything"}]}',
    "repeated type": '{"default": [{"type": "reject", "type": "insecureAcceptAnything"}]}',
    "repeated scope": '{"default": [{"type": "reject"}], "transports": {"docker": {"a": [{"type": "reject"}], '
    '"a": [{"type": "reject"}]}}}',
    "text after the end": '{"default": [{"type": "reject"}]} {}',
    "requirement without type": {"default": [{}]},
    "requirement is text": {"default": ["reject"]},
    "requirement is null": {"default": [None]},
    "type is a list": {"default": [{"type": ["reject"]}]},
    "unknown type": {"default": [{"type": "signedByNobody"}]},
    "accept with a further key": {"default": [{"type": "insecureAcceptAnything", "keyPath": "/k"}]},
    "transports is a list": {"default": ACCEPT, "transports": []},
    "transport is a list": {"default": ACCEPT, "transports": {"docker": []}},
    "scope is null": {"default": ACCEPT, "transports": {"docker": {"": None}}},
    "scope is empty": {"default": ACCEPT, "transports": {"docker": {"quay.io": []}}},
    "empty in an unknown transport": {"default": ACCEPT, "transports": {"pigeon": {"": []}}},
    "relative path": {"default": ACCEPT, "transports": {"oci": {"srv": REJECT}}},
    "root directory": {"default": ACCEPT, "transports": {"dir": {"/": REJECT}}},
    "path that is not clean": {"default": ACCEPT, "transports": {"oci-archive": {"/a/../b": REJECT}}},
    "path with a slash at the end": {"default": ACCEPT, "transports": {"oci": {"/a/": REJECT}}},
    "docker-archive has no scopes": {"default": ACCEPT, "transports": {"docker-archive": {"/a": REJECT}}},
    "docker-daemon by id": {"default": ACCEPT, "transports": {"docker-daemon": {f"sha256:{HEX}": REJECT}}},
    "storage without a store": {"default": ACCEPT, "transports": {"containers-storage": {"a/b": REJECT}}},
    "storage with a relative root": {"default": ACCEPT, "transports": {"containers-storage": {"[a]": REJECT}}},
    "signedBy without a key": {"default": [{"type": "signedBy", "keyType": "GPGKeys"}]},
    "signedBy with two keys": {"default": [{**SIGNED_BY[0], "keyData": "a2V5"}]},
    "signedBy with an unknown key type": {"default": [{"type": "signedBy", "keyType": "PGP", "keyPath": "/k"}]},
    "signedBy with a number": {"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": 1}]},
    "signedBy with an empty list": {"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": []}]},
    "unknown identity": {"default": [{**SIGNED_BY[0], "signedIdentity": {"type": "matchAnything"}}]},
    "identity with a further key": {"default": [{**SIGNED_BY[0], "signedIdentity": {"type": "matchExact", "a": "b"}}]},
    "identity without its name": {"default": [{**SIGNED_BY[0], "signedIdentity": {"type": "exactReference"}}]},
    "sigstoreSigned without a key": {"default": [{"type": "sigstoreSigned"}]},
    "signedBy with data that is no base64": {"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyData": "*"}]},
    "exact reference without tag": {
        "default": [{**SIGNED_BY[0], "signedIdentity": {"type": "exactReference", "dockerReference": "a.example/b"}}]
    },
    "exact reference that is none": {
        "default": [{**SIGNED_BY[0], "signedIdentity": {"type": "exactReference", "dockerReference": "A:b:c"}}]
    },
    "exact repository that is none": {
        "default": [{**SIGNED_BY[0], "signedIdentity": {"type": "exactRepository", "dockerRepository": "A B"}}]
    },
    "remapping with a tag": {
        "default": [
            {
                **SIGNED_BY[0],
                "signedIdentity": {"type": "remapIdentity", "prefix": "a.example/b:c", "signedPrefix": "b.example"},
            }
        ]
    },
    "sigstoreSigned with two keys": {"default": [{"type": "sigstoreSigned", "keyPath": "/k", "keyData": "a2V5"}]},
    "sigstoreSigned with two logs": {
        "default": [
            {"type": "sigstoreSigned", "keyPath": "/k", "rekorPublicKeyPath": "/k", "rekorPublicKeyData": "a2V5"}
        ]
    },
    "fulcio without a log": {"default": [{"type": "sigstoreSigned", "fulcio": {"caPath": "/c"}}]},
    "fulcio with an unknown key": {
        "default": [{"type": "sigstoreSigned", "fulcio": {"ca": "/c"}, "rekorPublicKeyPath": "/k"}]
    },
    "fulcio without a signer": fulcio(caPath="/c", oidcIssuer="https://i.example"),
    "fulcio without an issuer": fulcio(caPath="/c", subjectEmail="a@b.example"),
    "fulcio without an authority": fulcio(oidcIssuer="https://i.example", subjectEmail="a@b.example"),
    "fulcio with two authorities": fulcio(caPath="/c", caData="AA==", oidcIssuer="i", subjectEmail="a@b.example"),
    "fulcio with an authority that is no base64": fulcio(caData="*", oidcIssuer="i", subjectEmail="a@b.example"),
    "fulcio with an empty name": fulcio(caPath="/c", oidcIssuer="i", subjectEmail=""),
    "pki without a signer": pki(caRootsPath="/c"),
    "pki without an authority": pki(subjectEmail="a@b.example"),
    "pki with two authorities": pki(caRootsPath="/c", caRootsData="AA==", subjectEmail="a@b.example"),
    "pki with authorities between, twice": pki(
        caRootsPath="/c", caIntermediatesPath="/c", caIntermediatesData="AA==", subjectEmail="a@b.example"
    ),
    "pki with a log": {
        "default": [{"type": "sigstoreSigned", "pki": {"caRootsPath": "/c"}, "rekorPublicKeyPath": "/k"}]
    },
    "signedBaseLayer without identity": {"default": [{"type": "signedBaseLayer"}]},
}


@pytest.mark.parametrize("document", INVALID.values(), ids=INVALID)
def test_whatever_is_wrong_rejects_the_whole_file(tmp_path: Path, document: object) -> None:
    with pytest.raises(PolicyError, match="invalid signature policy"):
        policy(tmp_path, document)


def test_text_that_is_not_utf_8_rejects_the_file(tmp_path: Path) -> None:
    write(tmp_path, "").write_bytes('{"default": [{"type": "insecureAcceptAnything"}]}'.encode("utf-16"))
    with pytest.raises(PolicyError, match="invalid signature policy"):
        Policy.load(tmp_path)


def test_unknown_transports_are_tolerated(tmp_path: Path) -> None:
    found = policy(tmp_path, {"default": ACCEPT, "transports": {"pigeon": {"coop 7": REJECT}}})
    assert (
        found.decide(ImageReference.parse("docker://quay.io/os")).verdict
        == "not verified: insecureAcceptAnything (default)"
    )


def test_every_kind_of_requirement_is_read(tmp_path: Path) -> None:
    sigstore = {"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "matchRepository"}}
    remap = {"type": "remapIdentity", "prefix": "a.example", "signedPrefix": "b.example"}
    base = {"type": "signedBaseLayer", "baseLayerIdentity": {"type": "exactRepository", "dockerRepository": "a/b"}}
    found = policy(tmp_path, {"default": [sigstore, base, {**SIGNED_BY[0], "signedIdentity": remap}, *REJECT]})
    assert [requirement.type for requirement in found.default] == [
        "sigstoreSigned",
        "signedBaseLayer",
        "signedBy",
        "reject",
    ]


SCOPES = {
    "docker://quay.io/a/b:1": ["quay.io/a/b:1", "quay.io/a/b", "quay.io/a", "quay.io", "*.io"],
    "docker://host.example:5000/a": [
        "host.example:5000/a:latest",
        "host.example:5000/a",
        "host.example:5000",
        "*.example",
    ],
    f"docker://quay.io/a:1@sha256:{HEX}": [f"quay.io/a@sha256:{HEX}", "quay.io/a", "quay.io", "*.io"],
    "docker://localhost/a": ["localhost/a:latest", "localhost/a", "localhost"],
    "docker://a.b.c/os": ["a.b.c/os:latest", "a.b.c/os", "a.b.c", "*.b.c", "*.c"],
    "docker://busybox": [
        "docker.io/library/busybox:latest",
        "docker.io/library/busybox",
        "docker.io/library",
        "docker.io",
        "*.io",
    ],
    "docker://index.docker.io/a/b": ["docker.io/a/b:latest", "docker.io/a/b", "docker.io/a", "docker.io", "*.io"],
    "docker-daemon:a/b:1": ["docker.io/a/b:1", "docker.io/a/b", "docker.io/a", "docker.io", "*.io"],
    f"docker-daemon:sha256:{HEX}": [],
    "docker-archive:/a/b.tar:c:1": [],
    "oci:/srv/images/os:1": ["/srv/images/os", "/srv/images", "/srv"],
    "oci-archive:/srv/os.tar": ["/srv/os.tar", "/srv"],
    "dir:/srv/a:b": ["/srv/a:b", "/srv"],
    "containers-storage:localhost/os": [
        "[overlay@/var/lib/containers/storage]localhost/os:latest",
        "[overlay@/var/lib/containers/storage]localhost/os",
        "[overlay@/var/lib/containers/storage]localhost",
        "[overlay@/var/lib/containers/storage]",
        "[/var/lib/containers/storage]",
    ],
    f"containers-storage:[vfs@/s+/run/s:a=b]quay.io/os:1@{HEX}": [
        f"[vfs@/s]quay.io/os:1@{HEX}",
        "[vfs@/s]quay.io/os:1",
        "[vfs@/s]quay.io/os",
        "[vfs@/s]quay.io",
        "[vfs@/s]",
        "[/s]",
    ],
    f"containers-storage:[/s]quay.io/os:1@sha256:{HEX}": [
        f"[overlay@/s]quay.io/os:1@sha256:{HEX}",
        "[overlay@/s]quay.io/os:1",
        "[overlay@/s]quay.io/os",
        "[overlay@/s]quay.io",
        "[overlay@/s]",
        "[/s]",
    ],
    f"containers-storage:sha256:{HEX}": [
        f"[overlay@/var/lib/containers/storage]@{HEX}",
        "[overlay@/var/lib/containers/storage]",
        "[/var/lib/containers/storage]",
    ],
}


@pytest.mark.parametrize(("reference", "expected"), SCOPES.items(), ids=SCOPES)
def test_scopes_from_the_narrowest_to_the_widest(tmp_path: Path, reference: str, expected: list[str]) -> None:
    assert list(scopes(ImageReference.parse(reference), tmp_path)) == expected


def test_the_path_of_a_layout_is_the_real_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    found = scopes(ImageReference.parse(f"oci:{tmp_path}/link/../link:tag"))
    assert found[0] == str((tmp_path / "real").resolve())


def test_storage_conf_names_the_default_store(tmp_path: Path) -> None:
    write(tmp_path, '[storage]\ndriver = "btrfs"\ngraphroot = "/srv/c"\n', "usr/share/containers/storage.conf")
    assert scopes(ImageReference.parse("containers-storage:localhost/a"), tmp_path)[-2:] == (
        "[btrfs@/srv/c]",
        "[/srv/c]",
    )
    write(tmp_path, "[storage\n", "etc/containers/storage.conf")
    with pytest.raises(PolicyError, match="cannot be read"):
        scopes(ImageReference.parse("containers-storage:localhost/a"), tmp_path)


@pytest.mark.parametrize("name", ["quay.io/../a", "quay.io/A", "quay.io//a", "/a", "quay.io/a:", HEX, "[::g]/a"])
def test_a_name_that_no_registry_has_is_refused(name: str) -> None:
    with pytest.raises(ReferenceError):
        scopes(ImageReference("registry", name))


def test_an_abbreviated_id_is_refused_because_it_hides_the_name(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="abbreviated id"):
        scopes(ImageReference.parse("containers-storage:cafe"), tmp_path)


LAYERED = {
    "default": REJECT,
    "transports": {
        "docker": {
            "": REJECT,
            "quay.io": ACCEPT,
            "quay.io/a": REJECT,
            "quay.io/a/b": ACCEPT,
            "quay.io/a/b:bad": REJECT,
            "*.example": ACCEPT,
            "signed.example": SIGNED_BY,
            "both.example": [*ACCEPT, *REJECT],
        },
        "oci": {"/srv": ACCEPT, "/srv/bad": REJECT},
        "docker-archive": {"": ACCEPT},
    },
}
ACCEPTED = {
    "docker://quay.io/os": "insecureAcceptAnything (docker quay.io)",
    "docker://quay.io/ab": "insecureAcceptAnything (docker quay.io)",
    "docker://quay.io/a/b:1": "insecureAcceptAnything (docker quay.io/a/b)",
    "docker://x.y.example:5000/a": "insecureAcceptAnything (docker *.example)",
    "oci:/srv/os": "insecureAcceptAnything (oci /srv)",
    "docker-archive:/a": "insecureAcceptAnything (docker-archive)",
}
REFUSED = {
    "docker://quay.io/a/c": r"rejected by policy \(docker quay.io/a\)",
    "docker://quay.io/a/b:bad": r"rejected by policy \(docker quay.io/a/b:bad\)",
    "docker://quay.io.evil/a": r"rejected by policy \(docker\)",
    "docker://both.example/a": r"rejected by policy \(docker both.example\)",
    "oci:/srv/bad/os": r"rejected by policy \(oci /srv/bad\)",
    "oci:/srvx": r"rejected by policy \(default\)",
    "dir:/srv": r"rejected by policy \(default\)",
    "ostree-remote-image:r:docker://quay.io/os": "signatures by 'ostreeRemote:r' are not supported",
}


@pytest.mark.parametrize(("reference", "verdict"), ACCEPTED.items(), ids=ACCEPTED)
def test_the_narrowest_scope_accepts(tmp_path: Path, reference: str, verdict: str) -> None:
    decision = policy(tmp_path, LAYERED).decide(ImageReference.parse(reference))
    assert (decision.needs_signatures, decision.verdict) == (False, f"not verified: {verdict}")


@pytest.mark.parametrize(("reference", "problem"), REFUSED.items(), ids=REFUSED)
def test_the_narrowest_scope_refuses(tmp_path: Path, reference: str, problem: str) -> None:
    with pytest.raises(PolicyError, match=problem):
        policy(tmp_path, LAYERED).decide(ImageReference.parse(reference))


SIGNED = ImageReference.parse("ostree-image-signed:docker://quay.io/os")


def test_a_signed_reference_refuses_a_default_that_accepts_anything(tmp_path: Path) -> None:
    found = policy(tmp_path, {"default": ACCEPT, "transports": {"docker": {"quay.io": SIGNED_BY}}})
    with pytest.raises(PolicyError, match="specifies a default of `insecureAcceptAnything`; refusing usage"):
        found.decide(SIGNED)


def test_a_signed_reference_refuses_a_scope_that_asks_for_no_signature(tmp_path: Path) -> None:
    found = policy(tmp_path, {"default": REJECT, "transports": {"docker": {"quay.io": ACCEPT}}})
    with pytest.raises(PolicyError, match=r"\(docker quay.io\) requires no signature"):
        found.decide(SIGNED)
    assert not found.decide(ImageReference.parse("docker://quay.io/os")).needs_signatures


def test_a_signed_reference_needs_the_signature_that_the_policy_requires(tmp_path: Path) -> None:
    decision = policy(tmp_path, {"default": SIGNED_BY}).decide(SIGNED)
    assert (decision.needs_signatures, decision.kinds, decision.where) == (True, "signedBy", "default")


def test_what_cannot_be_evaluated_here_may_be_left_to_another_program(tmp_path: Path) -> None:
    found = policy(tmp_path, {"default": [{"type": "signedBy", "keyType": "X509Certificates", "keyPath": "/k"}]})
    with pytest.raises(PolicyError, match="X509Certificates"):
        found.decide(SIGNED)
    assert found.applying(SIGNED).needs_signatures
