"""What `status -v` is told of the files of container tools, and that it costs no program and shows no secret."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from attrs import evolve
from bootc_containers.auth import CredentialSources
from bootc_containers.explanation import Configuration
from bootc_containers.places import Places

from bootc.image import ImageReference

OS = ImageReference.parse("docker://h.example/team/os:1")
ACCEPT, SIGNED = {"type": "insecureAcceptAnything"}, {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}
MIRRORED = """
[[registry]]
prefix = "h.example"
location = "l.example/x"
insecure = true
[[registry.mirror]]
location = "m.example:5000"
"""


def write(root: Path, name: str, content: object) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def entry(password: str = "never shown") -> dict[str, str]:
    return {"auth": base64.b64encode(f"user:{password}".encode()).decode()}


def configuration(root: Path, *insecure: str) -> Configuration:
    return Configuration(Places(root, {}, 0), CredentialSources(root=root, environment={}), insecure)


def explain(root: Path, *insecure: str) -> dict[str, str]:
    return dict(configuration(root, *insecure).explain(OS))


def test_without_configuration_only_the_policy_is_missed(tmp_path: Path) -> None:
    found = explain(tmp_path)
    assert found.pop("Policy").endswith("policy.json: no signature policy found")
    assert found == {
        "Signatures": "file:///var/lib/containers/sigstore",
        "Registries": "no registries.conf",
        "Servers": "h.example/team/os",
        "Credentials": "none",
    }


def test_every_file_that_decides_is_named(tmp_path: Path) -> None:
    policy = {"default": [{"type": "reject"}], "transports": {"docker": {"h.example": [ACCEPT, SIGNED]}}}
    policies = write(tmp_path, "usr/share/containers/policy.json", policy)
    main = write(tmp_path, "etc/containers/registries.conf", MIRRORED)
    more = write(tmp_path, "etc/containers/registries.conf.d/a.conf", "unqualified-search-registries = []")
    auth = write(tmp_path, "etc/ostree/auth.json", {"auths": {"l.example": entry()}})
    lookaside = "docker:\n  l.example/x:\n    lookaside: https://s.example\n    use-sigstore-attachments: true\n"
    write(tmp_path, "etc/containers/registries.d/a.yaml", lookaside)
    assert explain(tmp_path, "m.example") == {
        "Policy": f"{policies}: insecureAcceptAnything, signedBy (docker h.example)",
        "Signatures": "https://s.example, and beside the image",
        "Registries": f"{main}, {more}",
        "Servers": "m.example:5000/team/os (mirror, insecure), then l.example/x/team/os (insecure)",
        "Credentials": f"m.example:5000/team/os: none ({auth} has no entry); l.example/x/team/os: {auth}",
    }


def test_a_damaged_file_is_told_of_in_its_place(tmp_path: Path) -> None:
    write(tmp_path, "etc/containers/policy.json", "{}")
    write(tmp_path, "etc/ostree/auth.json", "{")
    found = explain(tmp_path)
    assert found["Policy"].startswith("cannot be used: ")
    assert "there is no default" in found["Policy"]
    assert found["Credentials"].startswith(f"cannot be used: {tmp_path}/etc/ostree/auth.json: ")
    assert found["Servers"] == "h.example/team/os"
    write(tmp_path, "etc/containers/registries.conf", "[[registry]]\nlocation = 'h.example'\nblocked = true\n")
    assert "blocked by the configuration" in explain(tmp_path)["Servers"]


def test_a_policy_that_does_not_suffice_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "etc/containers/policy.json", {"default": [ACCEPT]})
    reference = ImageReference.parse("ostree-image-signed:registry:h.example/team/os")
    found = configuration(tmp_path).explain(reference)["Policy"]
    assert found.startswith(f"{path}: insecureAcceptAnything (default); refused: ")
    assert "refusing usage" in found


def test_a_password_in_the_address_of_a_lookaside_is_not_shown(tmp_path: Path) -> None:
    write(tmp_path, "etc/containers/registries.d/a.yaml", "default-docker:\n  lookaside: https://u:p@s.example/x@y\n")
    assert explain(tmp_path)["Signatures"] == "https://…@s.example/x@y"


def test_an_image_in_a_file_needs_a_policy_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, "etc/containers/policy.json", {"default": [ACCEPT]})
    found = configuration(tmp_path).explain(ImageReference.parse("oci:/srv/os"))
    assert found == {"Policy": f"{path}: insecureAcceptAnything (default)"}


HELPERS = {
    "a program for all hosts": (("vault",), {}, "docker-credential-vault"),
    "a program, then files": (("vault", "containers-auth.json"), {"auths": {"h.example": entry()}},
                              "docker-credential-vault, else FILE"),
    "files, then a program": (("containers-auth.json", "vault"), {"auths": {"h.example": entry()}}, "FILE"),
    "files without an entry": (("containers-auth.json", "vault"), {"auths": {"x.example": entry()}},
                               "docker-credential-vault"),
    "a program that the file names": (("containers-auth.json",), {"credHelpers": {"h.example": "vault"}},
                                      "docker-credential-vault (FILE)"),
    "an empty entry": (("containers-auth.json",), {"auths": {"h.example": {}}}, "none (FILE has no entry)"),
}  # fmt: skip


@pytest.mark.parametrize(("helpers", "document", "expected"), HELPERS.values(), ids=HELPERS)
def test_helpers_are_named_and_not_run(
    tmp_path: Path, helpers: tuple[str, ...], document: object, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = tmp_path / "it ran"
    program = write(tmp_path, "bin/docker-credential-vault", f"#!/bin/sh\ntouch '{witness}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    auth = write(tmp_path, "etc/ostree/auth.json", document)
    sources = CredentialSources(root=tmp_path, environment={})
    text = evolve(sources, helpers=helpers).whence("h.example/team/os")
    assert text == expected.replace("FILE", str(auth))
    assert not witness.exists()
