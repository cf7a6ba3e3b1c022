"""Signatures by sigstore, and where else a registry keeps signatures: attachments, its own interface, a web server."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from bootc.errors import ConfigError, FetchError, PolicyError
from bootc.image import ImageReference
from bootc.manifest import OCI_MANIFEST
from bootc.testing.registry import (
    REPOSITORY,
    FakeRegistry,
    Received,
    Reply,
    answers,
    digest_of,
    json_reply,
    redirects,
    with_headers,
)
from tests.gpg import Keys, payload
from tests.integration.registry_fetching import AMD64, fetching

COSIGN = "application/vnd.dev.cosign.simplesigning.v1+json"
KINDS = {
    "ECDSA": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ECDSA P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
KEY, OTHER, REKOR = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))


def sign(key: Any, data: bytes) -> bytes:
    signature: bytes
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(data)
    else:
        signature = key.sign(data, ec.ECDSA(hashes.SHA256()))
    return signature


def pem(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    found: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return found


def fingerprint(key: Any) -> str:
    """The name of a key in verdicts: `openssl pkey -pubin -outform DER | sha256sum` prints the same."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    found: bytes = key.public_key().public_bytes(serialization.Encoding.DER, form)
    return f"SHA256:{hashlib.sha256(found).hexdigest()}"


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def cosign_payload(digest: str, reference: str, **critical: Any) -> bytes:
    return payload(digest, reference, **{"type": "cosign container image signature", **critical})


class Signed(FakeRegistry):
    """A registry with one image, and the means to sign it as cosign does."""

    def __init__(self) -> None:
        super().__init__()
        self.digest = self.add_image("os", b"layer")["digest"]
        self.name = f"{self.address}/{REPOSITORY}"

    def attach(self, *layers: tuple[bytes, Mapping[str, str]], digest: str | None = None) -> None:
        """Payloads and their annotations."""
        entries = [
            {"mediaType": COSIGN, "digest": self.keep(data), "size": len(data), "annotations": dict(annotations)}
            for data, annotations in layers
        ]
        document = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": entries}).encode()
        self.add_document(f"{(digest or self.digest).replace(':', '-')}.sig", OCI_MANIFEST, document)

    def layer(self, key: Any = KEY, data: bytes | None = None, bundle: str = "") -> tuple[bytes, Mapping[str, str]]:
        content = cosign_payload(self.digest, self.name) if data is None else data
        logged = {"dev.sigstore.cosign/bundle": bundle} if bundle else {}
        return content, {"dev.cosignproject.cosign/signature": text(sign(key, content)), **logged}

    def logged(self, rekor: Any = REKOR, key: Any = KEY, **changes: Any) -> tuple[bytes, Mapping[str, str]]:
        """A signature with the promise of a log."""
        content, annotations = self.layer()
        signature = annotations["dev.cosignproject.cosign/signature"]
        spec = {
            "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()}},
            "signature": {"content": signature, "publicKey": {"content": text(pem(key))}},
            **changes,
        }
        body = json.dumps({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}).encode()
        entry = {"body": text(body), "integratedTime": 1, "logID": "l", "logIndex": 2}
        canonical = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        bundle = {"SignedEntryTimestamp": text(sign(rekor, canonical)), "Payload": entry}
        return content, {**annotations, "dev.sigstore.cosign/bundle": json.dumps(bundle)}


@pytest.fixture
def registry() -> Iterator[Signed]:
    with Signed() as registry:
        yield registry


def by(*keys: Any, **fields: Any) -> dict[str, Any]:
    identity = {"type": "matchRepository"}
    return {
        "type": "sigstoreSigned",
        "keyDatas": [text(pem(key)) for key in keys],
        "signedIdentity": identity,
        **fields,
    }


def configure(root: Path, requirement: dict[str, Any], registries: str = "use-sigstore-attachments: true") -> None:
    folder = root / "etc/containers/registries.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "policy.json").write_text(json.dumps({"default": [requirement]}))
    (folder / "a.yaml").write_text(f"default-docker:\n  lookaside: file://{root}/lookaside\n  {registries}\n")


def verdict(root: Path, registry: FakeRegistry, tag: str = ":os", **options: Any) -> str:
    reference = ImageReference.parse(f"docker://{registry.address}/{REPOSITORY}{tag}")
    with fetching(root, **options) as fetcher, fetcher.resolve(reference, AMD64) as source:
        return source.image.verdict


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_is_verified(registry: Signed, tmp_path: Path, kind: str) -> None:
    key = KINDS[kind]()
    configure(tmp_path, by(OTHER, key))
    registry.attach(registry.layer(key))
    assert verdict(tmp_path, registry) == f"sigstoreSigned {fingerprint(key)} (default)"
    configure(tmp_path, by(OTHER))
    with pytest.raises(PolicyError, match="not made by a key of the policy"):
        verdict(tmp_path, registry)


def test_nothing_is_fetched_of_an_image_without_a_signature(registry: Signed, tmp_path: Path) -> None:
    configure(tmp_path, by(KEY))
    with pytest.raises(PolicyError, match="a signature is required, there is none"):
        verdict(tmp_path, registry)
    assert not [request for request in registry.received if "/blobs/" in request.path]


def test_attachments_count_only_where_that_is_configured(registry: Signed, tmp_path: Path) -> None:
    configure(tmp_path, by(KEY), "use-sigstore-attachments: false")
    registry.attach(registry.layer())
    with pytest.raises(PolicyError, match="there is none"):
        verdict(tmp_path, registry)


REFUSED = {
    "another payload": lambda r: (r.layer(data=b"{}")[0], r.layer()[1]),
    "no signature": lambda r: (r.layer()[0], {}),
    "no base64": lambda r: (r.layer()[0], {"dev.cosignproject.cosign/signature": "*"}),
    "simple signing's type": lambda r: r.layer(data=payload(r.digest, r.name)),
    "another digest": lambda r: r.layer(data=cosign_payload(f"sha256:{'0' * 64}", r.name)),
    "another repository": lambda r: r.layer(data=cosign_payload(r.digest, "h.example/other")),
    "further member": lambda r: r.layer(data=cosign_payload(r.digest, r.name, more=1)),
    "no JSON": lambda r: r.layer(data=b"hello"),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_a_signature_that_says_something_else_is_refused(registry: Signed, tmp_path: Path, make: Any) -> None:
    configure(tmp_path, by(KEY))
    registry.attach(make(registry))
    with pytest.raises(PolicyError, match="signature 1"):
        verdict(tmp_path, registry)
    registry.attach(make(registry), registry.layer())
    assert verdict(tmp_path, registry)


def test_the_name_in_the_signature_must_be_the_image_s(registry: Signed, tmp_path: Path) -> None:
    configure(tmp_path, by(KEY, signedIdentity={"type": "matchExact"}))
    registry.attach(registry.layer())
    with pytest.raises(PolicyError, match="matchExact"):
        verdict(tmp_path, registry)
    registry.attach(registry.layer(data=cosign_payload(registry.digest, f"{registry.name}:os")))
    assert verdict(tmp_path, registry)


def test_a_log_must_know_of_the_signature_if_its_key_is_in_the_policy(registry: Signed, tmp_path: Path) -> None:
    configure(tmp_path, by(KEY, rekorPublicKeyData=text(pem(REKOR))))
    registry.attach(registry.logged())
    assert verdict(tmp_path, registry)
    for attached in (
        registry.layer(),
        registry.logged(rekor=OTHER),
        registry.logged(key=OTHER),
        registry.logged(data={"hash": {"algorithm": "sha256", "value": "0" * 64}}),
        registry.logged(more=1),
        registry.logged(signature={"content": text(b"x"), "publicKey": {"content": text(pem(KEY))}}),
        registry.layer(bundle="[]"),
    ):
        registry.attach(attached)
        with pytest.raises(PolicyError, match="log entry"):
            verdict(tmp_path, registry)


def test_the_index_or_the_chosen_manifest_must_be_signed(registry: Signed, tmp_path: Path) -> None:
    one = registry.add_image("one", b"one", architecture="amd64")
    platform = {"os": "linux", "architecture": "amd64"}
    index = registry.add_index("os", {**one, "platform": platform})
    configure(tmp_path, by(KEY))
    with pytest.raises(PolicyError, match="there is none"):
        verdict(tmp_path, registry)
    for digest in (one["digest"], index["digest"]):
        registry.attach(registry.layer(data=cosign_payload(digest, registry.name)), digest=digest)
        assert verdict(tmp_path, registry)
        del registry.documents[f"{digest.replace(':', '-')}.sig"]


def layers(digest: str, size: int, count: int = 1) -> bytes:
    return json.dumps({"layers": [{"mediaType": COSIGN, "digest": digest, "size": size}] * count}).encode()


ZERO = f"sha256:{'0' * 64}"
ATTACHED_BADLY = {
    "no JSON": b"hello",
    "layers are no list": b'{"layers": {}}',
    "too many": layers(ZERO, 1, 200),
    "too large": layers(ZERO, 5 << 20),
    "negative": layers(ZERO, -1),
    "no digest": layers("../../x", 1),
    "missing blob": layers(ZERO, 1),
}


@pytest.mark.parametrize("document", ATTACHED_BADLY.values(), ids=ATTACHED_BADLY)
def test_attachments_that_cannot_be_read_are_an_error(registry: Signed, tmp_path: Path, document: bytes) -> None:
    configure(tmp_path, by(KEY))
    registry.add_document(f"{registry.digest.replace(':', '-')}.sig", OCI_MANIFEST, document)
    with pytest.raises(FetchError):
        verdict(tmp_path, registry)


def test_a_payload_with_another_digest_is_an_error(registry: Signed, tmp_path: Path) -> None:
    configure(tmp_path, by(KEY))
    content, annotations = registry.layer()
    registry.attach((content, annotations))
    registry.blobs[digest_of(content)] = b"x" * len(content)
    with pytest.raises(FetchError, match="another digest"):
        verdict(tmp_path, registry)


UNSUPPORTED = {
    "X.509 keys": {"type": "signedBy", "keyType": "X509Certificates", "keyPath": "/k"},
    "base layers": {"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}},
}


@pytest.mark.parametrize("requirement", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_cannot_be_verified_is_refused_before_any_request(
    registry: Signed, tmp_path: Path, requirement: dict[str, Any]
) -> None:
    configure(tmp_path, requirement)
    with pytest.raises(PolicyError, match="not supported"):
        verdict(tmp_path, registry)
    assert registry.received == []


@pytest.mark.parametrize("key", [b"hello", b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"])
def test_one_bad_key_refuses_everything(registry: Signed, tmp_path: Path, key: bytes) -> None:
    registry.attach(registry.layer())
    configure(tmp_path, {**by(KEY), "keyDatas": [text(pem(KEY)), text(key)]})
    with pytest.raises(PolicyError, match="not a public key"):
        verdict(tmp_path, registry)


def test_without_the_library_nothing_is_accepted(
    registry: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.attach(registry.layer())
    configure(tmp_path, by(KEY))
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    with pytest.raises(PolicyError, match="cannot be verified on this machine") as caught:
        verdict(tmp_path, registry)
    assert "cryptography" in (caught.value.hint or "")


# ---------------------------------------------------------------- simple signing elsewhere


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    with closing(Keys(tmp_path_factory.mktemp("keys") / "gnupg")) as keys:
        keys.make("good")
        yield keys


def by_gpg(keys: Keys) -> dict[str, Any]:
    return {"type": "signedBy", "keyType": "GPGKeys", "keyData": text(keys.public("good"))}


def stored(registry: Signed, number: int = 1) -> str:
    return f"/sigs/{REPOSITORY}@{registry.digest.replace(':', '=')}/signature-{number}"


class WebServer(FakeRegistry):
    """Files by their paths."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}

    def normal(self, request: Received) -> Reply:
        data = self.files.get(request.path)
        return Reply(404, {}, b"") if data is None else Reply(200, {}, data)


def test_a_lookaside_on_a_web_server_gets_no_credentials(registry: Signed, keys: Keys, tmp_path: Path) -> None:
    configure(tmp_path, by_gpg(keys))
    registry.basic = ("anna", "secret")
    login = {"auth": text(b"anna:secret")}
    with WebServer() as web:
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry.address: login, web.address: login}}))
        configuration = tmp_path / "etc/containers/registries.d/a.yaml"
        configuration.write_text(f"docker:\n  {registry.name}:\n    lookaside: {web.base}/sigs/\n")
        web.files[stored(registry)] = b"\0simple-signing\n" + keys.sign(
            "good", payload(registry.digest, "h.example/x:1")
        )
        web.files[stored(registry, 2)] = keys.sign("good", payload(registry.digest, f"{registry.name}:os"))
        assert "signedBy" in verdict(tmp_path, registry, authfile=str(tmp_path / "auth.json"))
        assert [request.path for request in web.received] == [stored(registry, number) for number in (1, 2, 3)]
        assert not [request for request in web.received if "authorization" in request.headers]
        web.disturb("signature-2", redirects(f"{web.base}/moved"))
        web.files["/moved"] = web.files[stored(registry, 2)]
        assert "signedBy" in verdict(tmp_path, registry, authfile=str(tmp_path / "auth.json"))


BAD_WEB = {
    "out of order": answers(500),
    "forbidden": answers(403),
    "too large": answers(200, bytes(5 << 20)),
    "no signature": answers(200, b"<html>"),
    "redirected to a file": answers(302, Location="file:///etc/passwd"),
    "redirected to nowhere": answers(302),
    "redirected to half an address": answers(302, Location="http://[::1"),
    "redirected to no port": answers(302, Location="http://h.example:99999/"),
    "redirected with a password": answers(302, Location="http://user:password@127.0.0.1:9/"),
    "redirected for ever": redirects("/sigs/x/signature-1"),
}


@pytest.mark.parametrize("action", BAD_WEB.values(), ids=BAD_WEB)
def test_a_lookaside_that_fails_is_an_error(registry: Signed, keys: Keys, tmp_path: Path, action: Any) -> None:
    configure(tmp_path, by_gpg(keys))
    with WebServer() as web:
        configuration = tmp_path / "etc/containers/registries.d/a.yaml"
        configuration.write_text(f"default-docker:\n  lookaside: {web.base}/sigs\n")
        web.disturb("signature-1", action, is_forever=True)
        with pytest.raises(FetchError):
            verdict(tmp_path, registry, retries=0)


@pytest.mark.parametrize("where", ["http://[::1", "http://", "http://h.example:99999", "ftp://u:secret@h.example", "x"])
def test_a_lookaside_without_an_address_is_an_error(registry: Signed, keys: Keys, tmp_path: Path, where: str) -> None:
    configure(tmp_path, by_gpg(keys))
    (tmp_path / "etc/containers/registries.d/a.yaml").write_text(f"default-docker:\n  lookaside: '{where}'\n")
    with pytest.raises(ConfigError, match="no address of a lookaside") as caught:
        verdict(tmp_path, registry)
    assert "secret" not in str(caught.value)


def test_a_password_in_the_address_of_a_lookaside_is_in_no_message(
    registry: Signed, keys: Keys, tmp_path: Path
) -> None:
    configure(tmp_path, by_gpg(keys))
    with WebServer() as web:
        address = web.base.replace("://", "://user:secret@")
        configuration = tmp_path / "etc/containers/registries.d/a.yaml"
        configuration.write_text(f"default-docker:\n  lookaside: {address}/sigs\n")
        web.files[stored(registry)] = keys.sign("good", payload(registry.digest, f"{registry.name}:os"))
        assert "signedBy" in verdict(tmp_path, registry)
        web.disturb("signature-1", redirects("/moved"))
        web.files["/moved"] = web.files[stored(registry)]
        assert "signedBy" in verdict(tmp_path, registry)
        given = {request.path for request in web.received if "authorization" in request.headers}
        assert given == {stored(registry), stored(registry, 2)}
        web.disturb("signature-1", answers(403), is_forever=True)
        with pytest.raises(FetchError, match=f"{web.address} answered 403") as caught:
            verdict(tmp_path, registry)
        assert "auth.json" not in (caught.value.hint or "")
    with pytest.raises(FetchError, match="refused") as cut:
        verdict(tmp_path, registry, retries=0)
    assert "secret" not in f"{caught.value} {cut.value}"


def test_the_registry_s_own_interface_is_asked_instead_of_the_lookaside(
    registry: Signed, keys: Keys, tmp_path: Path
) -> None:
    configure(tmp_path, by_gpg(keys))
    signature = keys.sign("good", payload(registry.digest, f"{registry.name}:os"))
    entries = [{"schemaVersion": 3}, {"schemaVersion": 2, "type": "atomic", "content": text(signature)}]
    says = with_headers(X_Registry_Supports_Signatures="1")
    registry.disturb("/v2/$", answers(503), says, is_forever=True)
    registry.disturb(
        f"/extensions/v2/{REPOSITORY}/signatures/{registry.digest}$",
        lambda request, reply: json_reply(200, {"signatures": entries}),
        is_forever=True,
    )
    assert "signedBy" in verdict(tmp_path, registry)
    entries[1] = {"schemaVersion": 2, "type": "atomic", "content": "*"}
    with pytest.raises(FetchError, match="not valid"):
        verdict(tmp_path, registry)
