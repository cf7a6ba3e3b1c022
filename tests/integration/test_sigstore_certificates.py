"""Signatures by sigstore whose signers have certificates: Fulcio's, with a log, and those of an authority of one's own.

A skopeo that verifies signatures (BOOTC_TEST_SKOPEO names one) must come to the same verdicts.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from bootc_containers import certificates
from bootc_containers.keys import is_signed
from bootc_containers.payload import Unacceptable
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bootc.errors import PolicyError
from bootc.image import ImageReference
from tests.integration.registry_fetching import AMD64, fetching
from tests.integration.test_registry_signatures import (
    COSIGN,
    REKOR,
    Signed,
    configure,
    cosign_payload,
    pem,
    sign,
    text,
    verdict,
)
from tests.integration.test_skopeo_signatures import skopeo_level
from tests.skopeo_images import PROGRAM

ISSUER, EMAIL, HOST = "https://accounts.example", "release@os.example", "sign.os.example"
SHA256 = hashes.SHA256()
SIGNED_AT = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=10), timedelta(days=3650)
CODE = (ExtendedKeyUsageOID.CODE_SIGNING,)
ISSUER_TEXT, ISSUER_UTF8 = (x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{last}") for last in (1, 8))


def utf8(words: str) -> bytes:
    """DER: a UTF8String."""
    return b"\x0c" + bytes([len(words)]) + words.encode()


@frozen
class Form:
    """What a certificate says. None leaves an extension out."""

    key: Any
    name: str = ""
    ca: tuple[bool, int | None] | None = None
    """whether it is an authority's, and how many may stand below it"""
    purposes: tuple[Any, ...] | None = CODE
    can_sign: bool | None = None
    """keyUsage: its key is for certificates, or (False) for documents"""
    email: str | None = None
    host: str | None = None
    issuer_text: bytes | None = None
    issuer_utf8: bytes | None = None
    start: datetime = SIGNED_AT - DAY
    end: datetime = SIGNED_AT + DAY
    unknown: bool | None = None
    """an extension that nobody knows; True: a critical one"""
    constrained: bool = False
    digest: Any = SHA256

    def issue(self, issuer: Form, issuer_name: str | None = None) -> x509.Certificate:
        """Sign it."""
        builder = x509.CertificateBuilder(_name(issuer.name if issuer_name is None else issuer_name), _name(self.name))
        builder = builder.public_key(self.key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(self.start.replace(tzinfo=None)).not_valid_after(
            self.end.replace(tzinfo=None)
        )
        for extension, is_critical in self._extensions():
            builder = builder.add_extension(extension, is_critical)
        digest = None if isinstance(issuer.key, ed25519.Ed25519PrivateKey) else self.digest
        return builder.sign(issuer.key, digest)

    def _extensions(self) -> Iterator[tuple[x509.ExtensionType, bool]]:
        names = [x509.RFC822Name(self.email)] if self.email else []
        names += [x509.DNSName(self.host)] if self.host else []  # type: ignore[list-item]
        if self.ca:
            yield x509.BasicConstraints(*self.ca), True
        if self.can_sign is not None:
            others = dict.fromkeys(
                ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
                 "encipher_only", "decipher_only"), False
            )  # fmt: skip
            usage = x509.KeyUsage(digital_signature=not self.can_sign, key_cert_sign=self.can_sign, **others)
            yield usage, True
        if self.purposes is not None:
            yield x509.ExtendedKeyUsage(list(self.purposes)), False
        if names:
            yield x509.SubjectAlternativeName(names), True
        for oid, value in ((ISSUER_TEXT, self.issuer_text), (ISSUER_UTF8, self.issuer_utf8)):
            if value is not None:
                yield x509.UnrecognizedExtension(oid, value), False
        if self.unknown is not None:
            yield x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), self.unknown
        if self.constrained:
            yield x509.NameConstraints([x509.RFC822Name("os.example")], None), False


def _name(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)] if words else [])


def key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


ROOT = Form(key(), "root", (True, None), None, True)
MIDDLE = Form(key(), "middle", (True, 0), CODE, True)
SIGNER = Form(
    key(), can_sign=False, email=EMAIL, issuer_text=ISSUER.encode(), issuer_utf8=utf8(ISSUER),
    start=SIGNED_AT - MINUTE, end=SIGNED_AT + MINUTE,
)  # fmt: skip


@frozen
class Chain:
    """A signer, those between, and the root that the policy trusts; and what is wrong with the signature."""

    signer: Form = SIGNER
    middle: tuple[Form, ...] = (MIDDLE,)
    """the one that issued the signer's certificate first"""
    root: Form = ROOT
    trusted: Form | None = None
    """another one than the chain's"""
    signed_by: Any = None
    """another key than the signer's"""
    logged_at: object = int(SIGNED_AT.timestamp())
    logged: x509.Certificate | None = None
    """another certificate than the signer's"""
    issuer_name: str | None = None
    """who the signer's certificate says that issued it"""

    def certificates(self) -> list[x509.Certificate]:
        """The signer's first, the root's last."""
        forms = (self.signer, *self.middle, self.root)
        names = (self.issuer_name, *(None for _ in forms[1:]))
        return [
            form.issue(issuer, name) for form, issuer, name in zip(forms, (*forms[1:], self.root), names, strict=True)
        ]

    def attach(self, registry: Signed, is_logged: bool = True) -> bytes:
        """Sign the image; returns the certificates that the policy trusts."""
        certificates = self.certificates()
        leaf, *chain = (certificate.public_bytes(Encoding.PEM) for certificate in certificates)
        content = cosign_payload(registry.digest, registry.name)
        value = text(sign(self.signed_by or self.signer.key, content))
        annotations = {
            "dev.cosignproject.cosign/signature": value,
            "dev.sigstore.cosign/certificate": leaf.decode(),
            "dev.sigstore.cosign/chain": b"".join(chain).decode(),
        }
        if is_logged:
            certificate = self.logged.public_bytes(Encoding.PEM) if self.logged else leaf
            annotations["dev.sigstore.cosign/bundle"] = bundle(content, value, certificate, self.logged_at)
        registry.attach((content, annotations))
        trusted = self.trusted.issue(self.trusted) if self.trusted else certificates[-1]
        return trusted.public_bytes(Encoding.PEM)


def bundle(content: bytes, value: str, certificate: bytes, moment: object) -> str:
    """Rekor's promise."""
    spec = {
        "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()}},
        "signature": {"content": value, "publicKey": {"content": text(certificate)}},
    }
    body = json.dumps({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}).encode()
    entry = {"body": text(body), "integratedTime": moment, "logID": "l", "logIndex": 2}
    promise = sign(REKOR, json.dumps(entry, sort_keys=True, separators=(",", ":")).encode())
    return json.dumps({"SignedEntryTimestamp": text(promise), "Payload": entry})


def with_signer(**changes: Any) -> Chain:
    return Chain(signer=evolve(SIGNER, **changes))


def with_middle(**changes: Any) -> Chain:
    return Chain(middle=(evolve(MIDDLE, **changes),))


@pytest.fixture
def registry() -> Iterator[Signed]:
    with Signed() as registry:
        yield registry


def fulcio(authority: bytes, **more: Any) -> dict[str, Any]:
    said = {"caData": text(authority), "oidcIssuer": ISSUER, "subjectEmail": EMAIL, **more}
    requirement = {"type": "sigstoreSigned", "fulcio": said, "rekorPublicKeyData": text(pem(REKOR))}
    return {**requirement, "signedIdentity": {"type": "matchRepository"}}


def pki(authority: bytes, **said: Any) -> dict[str, Any]:
    table = {"caRootsData": text(authority), **said}
    return {"type": "sigstoreSigned", "pki": table, "signedIdentity": {"type": "matchRepository"}}


def require_same_by_skopeo(root: Path, registry: Signed, accepted: bool) -> None:
    """Where there is a skopeo that knows these requirements."""
    if skopeo_level() < 8:
        return
    folder = root / "etc/containers"
    options = ["--policy", str(folder / "policy.json"), "--registries.d", str(folder / "registries.d")]
    command = [PROGRAM, *options, "copy", "--quiet", "--remove-signatures", "--src-tls-verify=false"]
    source = f"docker://{registry.name}:os"
    done = subprocess.run(
        [*command, source, f"dir:{root}/out"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert (done.returncode == 0) == accepted, done.stderr


ACCEPTED = {
    "as Fulcio does it": Chain(),
    "no authority between": Chain(middle=()),
    "two between": Chain(middle=(MIDDLE, evolve(MIDDLE, name="upper", key=key(), ca=(True, 1)))),
    "RSA": Chain(middle=(evolve(MIDDLE, key=rsa.generate_private_key(65537, 2048)),)),
    "Ed25519": Chain(middle=(evolve(MIDDLE, key=ed25519.Ed25519PrivateKey.generate()),)),
    "SHA-384": Chain(
        signer=evolve(SIGNER, digest=hashes.SHA384()),
        middle=(evolve(MIDDLE, key=ec.generate_private_key(ec.SECP384R1())),),
    ),
    "only the older extension": with_signer(issuer_utf8=None),
    "only the newer extension": with_signer(issuer_text=None),
    "no key usage": with_signer(can_sign=None),
    "an authority for everything": with_middle(purposes=None),
    "an unknown extension": with_signer(unknown=False),
    "another name besides": with_signer(host=HOST),
    "the first second": Chain(logged_at=int((SIGNED_AT - MINUTE).timestamp())),
    "the last second": Chain(logged_at=int((SIGNED_AT + MINUTE).timestamp())),
}
UNTRUSTED, NOT_CODE = "does not lead to an authority", "is not for code"
REFUSED: dict[str, tuple[Chain, str]] = {
    "another root": (Chain(trusted=evolve(ROOT, key=key())), UNTRUSTED),
    "another root of another name": (Chain(trusted=evolve(ROOT, name="other", key=key())), UNTRUSTED),
    "another key": (Chain(signed_by=key()), "not made by the key of its certificate"),
    "another address": (with_signer(email="x@os.example"), f"not for {EMAIL}"),
    "no address": (with_signer(email=None), f"not for {EMAIL}"),
    "another issuer": (with_signer(issuer_text=b"https://x", issuer_utf8=utf8("https://x")), "does not say that"),
    "no issuer": (with_signer(issuer_text=None, issuer_utf8=None), "does not say that"),
    "issuers that differ": (with_signer(issuer_utf8=utf8("https://x")), "does not say that"),
    "issuers that differ, the other way round": (with_signer(issuer_text=b"https://x"), "does not say that"),
    "an issuer that is no text": (with_signer(issuer_text=None, issuer_utf8=b"\x04" + utf8(ISSUER)[1:]), "not say"),
    "an issuer with more behind it": (with_signer(issuer_text=None, issuer_utf8=utf8(ISSUER) + b"x"), "does not say"),
    "logged before": (Chain(logged_at=int((SIGNED_AT - MINUTE).timestamp()) - 1), UNTRUSTED),
    "logged after": (Chain(logged_at=int((SIGNED_AT + MINUTE).timestamp()) + 1), UNTRUSTED),
    "logged at no time": (Chain(logged_at=10**30), "of no time"),
    "logged with another certificate": (Chain(logged=SIGNER.issue(MIDDLE)), "for another signature"),
    "an authority that had ended": (with_middle(end=SIGNED_AT - MINUTE), UNTRUSTED),
    "a root that had ended": (Chain(root=evolve(ROOT, end=SIGNED_AT - MINUTE)), UNTRUSTED),
    "not for code": (with_signer(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), NOT_CODE),
    "an authority that is not for code": (with_middle(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), UNTRUSTED),
    "an authority that is none": (with_middle(ca=(False, None)), UNTRUSTED),
    "an authority without a word": (with_middle(ca=None), UNTRUSTED),
    "an authority that may not sign": (with_middle(can_sign=False), UNTRUSTED),
    "too many below": (Chain(middle=(evolve(MIDDLE, key=key()), evolve(MIDDLE, name="upper", key=key()))), UNTRUSTED),
    "a signer of signers": (Chain(evolve(SIGNER, key=key()), (evolve(SIGNER, name="x"), MIDDLE)), UNTRUSTED),
    "a critical extension": (with_signer(unknown=True), UNTRUSTED),
    "a critical extension of an authority": (with_middle(unknown=True), UNTRUSTED),
    "a name that is not the authority's": (Chain(issuer_name="somebody"), UNTRUSTED),
}  # fmt: skip
STRICTER = {
    "no purpose": (with_signer(purposes=None), NOT_CODE),
    "a key that is not for documents": (with_signer(can_sign=True), NOT_CODE),
    "constrained names": (with_middle(constrained=True), UNTRUSTED),
}
"""refused here, whatever others say"""


@pytest.mark.parametrize("chain", ACCEPTED.values(), ids=ACCEPTED)
def test_a_signer_whom_fulcio_vouched_for_is_accepted_and_named(registry: Signed, tmp_path: Path, chain: Chain) -> None:
    configure(tmp_path, fulcio(chain.attach(registry)))
    assert verdict(tmp_path, registry) == f"sigstoreSigned {EMAIL} by {ISSUER} (default)"
    require_same_by_skopeo(tmp_path, registry, True)


@pytest.mark.parametrize(("chain", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_signer_whom_nobody_vouched_for_is_refused(
    registry: Signed, tmp_path: Path, chain: Chain, problem: str
) -> None:
    configure(tmp_path, fulcio(chain.attach(registry)))
    with pytest.raises(PolicyError, match=problem):
        verdict(tmp_path, registry)
    require_same_by_skopeo(tmp_path, registry, False)


@pytest.mark.parametrize(("chain", "problem"), STRICTER.values(), ids=STRICTER)
def test_what_others_may_accept_is_refused_here(registry: Signed, tmp_path: Path, chain: Chain, problem: str) -> None:
    configure(tmp_path, fulcio(chain.attach(registry)))
    with pytest.raises(PolicyError, match=problem):
        verdict(tmp_path, registry)


NOW, HOURS = datetime.now(UTC), timedelta(hours=12)
TODAY = evolve(SIGNER, host=HOST, issuer_text=None, issuer_utf8=None, start=NOW - HOURS, end=NOW + HOURS)
OWN = Chain(TODAY)
PKI: dict[str, tuple[bool, Chain, dict[str, str]]] = {
    "by address": (True, OWN, {"subjectEmail": EMAIL}),
    "by name": (True, OWN, {"subjectHostname": HOST}),
    "by both": (True, OWN, {"subjectEmail": EMAIL, "subjectHostname": HOST}),
    "another address": (False, OWN, {"subjectEmail": "x@os.example", "subjectHostname": HOST}),
    "another name": (False, OWN, {"subjectEmail": EMAIL, "subjectHostname": "x.os.example"}),
    "not valid now": (False, Chain(evolve(TODAY, end=NOW - HOURS / 2)), {"subjectEmail": EMAIL}),
    "not valid yet": (False, Chain(evolve(TODAY, start=NOW + HOURS / 2)), {"subjectEmail": EMAIL}),
    "another root": (False, evolve(OWN, trusted=evolve(ROOT, key=key())), {"subjectEmail": EMAIL}),
}  # fmt: skip


@pytest.mark.parametrize(("accepted", "chain", "said"), PKI.values(), ids=PKI)
def test_an_authority_of_one_s_own_vouches_for_signers_now(
    registry: Signed, tmp_path: Path, accepted: bool, chain: Chain, said: dict[str, str]
) -> None:
    configure(tmp_path, pki(chain.attach(registry, is_logged=False), **said))
    if accepted:
        assert verdict(tmp_path, registry) == f"sigstoreSigned {' '.join(said.values())} (default)"
    else:
        with pytest.raises(PolicyError, match="its certificate"):
            verdict(tmp_path, registry)
    require_same_by_skopeo(tmp_path, registry, accepted)


def test_authorities_between_may_stand_in_the_policy(registry: Signed, tmp_path: Path) -> None:
    root = OWN.attach(registry, is_logged=False)
    content, annotations = registry_layer(registry)
    del annotations["dev.sigstore.cosign/chain"]
    registry.attach((content, annotations))
    configure(tmp_path, pki(root, subjectEmail=EMAIL))
    with pytest.raises(PolicyError, match=UNTRUSTED):
        verdict(tmp_path, registry)
    _, middle, _ = (certificate.public_bytes(Encoding.PEM) for certificate in OWN.certificates())
    configure(tmp_path, pki(root, subjectEmail=EMAIL, caIntermediatesData=text(middle)))
    assert verdict(tmp_path, registry) == f"sigstoreSigned {EMAIL} (default)"
    require_same_by_skopeo(tmp_path, registry, True)


def registry_layer(registry: Signed) -> tuple[bytes, dict[str, str]]:
    """The one signature that is attached: payload and annotations."""
    _, data = registry.documents[f"{registry.digest.replace(':', '-')}.sig"]
    (layer,) = json.loads(data)["layers"]
    assert layer["mediaType"] == COSIGN
    return registry.blobs[layer["digest"]], layer["annotations"]


SPOILED: dict[str, tuple[str, Callable[[str], str | None]]] = {
    "no certificate": ("certificate", lambda _: None),
    "no text of a certificate": ("certificate", lambda _: "hello"),
    "no certificate in the frame": ("certificate", lambda pem: f"{pem[:28]}AAAA{pem[-27:]}"),
    "half a certificate": ("certificate", lambda pem: pem[:200] + pem[-200:]),
    "too many certificates": ("chain", lambda pem: pem * 20),
    "a chain that is none": ("chain", lambda _: "hello"),
    "no log entry": ("bundle", lambda _: None),
    "a log entry that is none": ("bundle", lambda _: "[]"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change"), SPOILED.values(), ids=SPOILED)
def test_what_cannot_be_read_is_no_signature(
    registry: Signed, tmp_path: Path, name: str, change: Callable[[str], str | None]
) -> None:
    configure(tmp_path, fulcio(Chain().attach(registry)))
    content, annotations = registry_layer(registry)
    changed = change(annotations.pop(f"dev.sigstore.cosign/{name}"))
    registry.attach(
        (content, annotations if changed is None else {**annotations, f"dev.sigstore.cosign/{name}": changed})
    )
    with pytest.raises(PolicyError, match="signature 1: "):
        verdict(tmp_path, registry)


def test_very_many_beginnings_of_certificates_take_no_time() -> None:
    started = time.process_time()
    with pytest.raises(Unacceptable, match="there are 0"):
        certificates.load(b"-----BEGIN CERTIFICATE-----\n" * 20_000)
    assert time.process_time() - started < 5


ECDSA_WITH_SHA256 = bytes.fromhex("06082a8648ce3d040302")
ODD: dict[str, tuple[bytes, bytes]] = {
    "an algorithm that nobody knows": (ECDSA_WITH_SHA256, ECDSA_WITH_SHA256[:-1] + b"\x09"),
    "a name of a kind that nobody uses": (b"\x81" + bytes([len(EMAIL)]), b"\xa3" + bytes([len(EMAIL)])),
    "a version that does not exist": (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03"),
    "a common name of no kind of text": (b"\x55\x04\x03\x0c", b"\x55\x04\x03\x0d"),
}


@pytest.mark.parametrize(("old", "new"), ODD.values(), ids=ODD)
def test_odd_certificates_are_no_signature(registry: Signed, tmp_path: Path, old: bytes, new: bytes) -> None:
    configure(tmp_path, pki(OWN.attach(registry, is_logged=False), subjectEmail=EMAIL))
    content, annotations = registry_layer(registry)
    certificate = x509.load_pem_x509_certificate(annotations["dev.sigstore.cosign/certificate"].encode())
    data = certificate.public_bytes(Encoding.DER)
    assert old in data
    odd = f"-----BEGIN CERTIFICATE-----\n{text(data.replace(old, new))}\n-----END CERTIFICATE-----\n"
    registry.attach((content, {**annotations, "dev.sigstore.cosign/certificate": odd}))
    with pytest.raises(PolicyError, match="signature 1: a certificate cannot be read"):
        verdict(tmp_path, registry)
    registry.attach((content, {**annotations, "dev.sigstore.cosign/certificate": odd}), (content, annotations))
    assert verdict(tmp_path, registry)


def test_authorities_that_vouch_for_each_other_are_not_followed_for_ever(
    registry: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Form(key(), "same", (True, None), CODE, True)
    chain = b"".join(evolve(one, unknown=False).issue(one).public_bytes(Encoding.PEM) for _ in range(16))
    configure(tmp_path, fulcio(Chain(middle=(one,)).attach(registry)))
    content, annotations = registry_layer(registry)
    registry.attach((content, {**annotations, "dev.sigstore.cosign/chain": chain.decode()}))
    looks = []

    def counted(*arguments: Any) -> bool:
        looks.append(arguments)
        return is_signed(*arguments)

    monkeypatch.setattr(certificates, "is_signed", counted)
    with pytest.raises(PolicyError, match=UNTRUSTED):
        verdict(tmp_path, registry)
    assert 0 < len(looks) < 16 * 16


@pytest.mark.parametrize("authority", [b"hello", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"])
def test_an_authority_that_cannot_be_read_refuses_everything(
    registry: Signed, tmp_path: Path, authority: bytes
) -> None:
    Chain().attach(registry)
    configure(tmp_path, fulcio(authority))
    with pytest.raises(PolicyError, match="certificates of the policy"):
        verdict(tmp_path, registry)


def test_without_the_library_no_certificate_is_accepted(
    registry: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path, pki(OWN.attach(registry, is_logged=False), subjectEmail=EMAIL))
    monkeypatch.setitem(sys.modules, "cryptography.x509", None)
    with pytest.raises(PolicyError, match="cannot be verified on this machine") as caught:
        verdict(tmp_path, registry)
    assert "cryptography" in (caught.value.hint or "")


def test_the_payload_counts_as_with_keys(registry: Signed, tmp_path: Path) -> None:
    configure(tmp_path, {**fulcio(Chain().attach(registry)), "signedIdentity": {"type": "matchExact"}})
    reference = ImageReference.parse(f"docker://{registry.name}:os")
    with (
        fetching(tmp_path) as fetcher,
        pytest.raises(PolicyError, match="matchExact"),
        fetcher.resolve(reference, AMD64),
    ):
        pass
