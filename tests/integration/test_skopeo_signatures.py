"""Signatures by GnuPG: policies, keys and payloads, judged by skopeo and by us."""

from __future__ import annotations

import base64
import functools
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from bootc_skopeo.options import Options
from bootc_skopeo.proxy import Proxy

from bootc.errors import ConfigError, FetchError, PolicyError
from bootc.image import ImageReference
from bootc.machine import Command
from tests.gpg import YESTERYEAR, Keys, payload
from tests.integration.registry_fetching import fetching
from tests.servers import RegistryServer
from tests.skopeo_images import PLATFORM, PROGRAM, build, fetcher, write_layout


@frozen
class World:
    """An image, a registry that holds it in many places, and keys."""

    folder: Path
    registry: RegistryServer
    digest: str
    keys: Keys

    @property
    def host(self) -> str:
        return self.registry.address

    def fill(self, value: Any) -> Any:
        """With names in angle brackets replaced."""
        text = json.dumps(value)
        names = {"host": self.host, "digest": self.digest, "keys": f"{self.folder}", "data": self.key_data}
        for name, content in names.items():
            text = text.replace(f"<{name}>", content)
        return json.loads(text)

    @property
    def key_data(self) -> str:
        return base64.b64encode((self.folder / "good.gpg").read_bytes()).decode()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world").resolve()
    layout = write_layout(folder / "layout", build(1))
    keys = Keys(folder / "gnupg")
    with RegistryServer(folder / "registry") as registry, closing(keys):
        digest = {registry.push(layout, "os", name) for name in ("os/a:1", "os/a:2", "os/b:1", "mirror/os/a:1")}.pop()
        make_keys(folder, keys, payload(digest, f"{registry.address}/os/a:1"))
        yield World(folder, registry, digest, keys)


def make_keys(folder: Path, keys: Keys, content: bytes) -> None:
    keys.make("good")
    keys.make("other")
    keys.make("expired", "--faked-system-time", YESTERYEAR, days="1d")
    keys.run("--quick-add-key", keys.make("rooted"), "ed25519", "sign", "never")
    keys.make("old", "--cert-digest-algo", "SHA1")
    revoked = keys.make("revoked")
    (folder / "revoked.sig").write_bytes(keys.sign("revoked", content))
    certificate = (keys.folder / f"openpgp-revocs.d/{revoked}.rev").read_text().replace(":-----BEGIN", "-----BEGIN")
    keys.run("--import", data=certificate.encode())
    for name in ("good", "other", "expired", "rooted", "old", "revoked"):
        (folder / f"{name}.gpg").write_bytes(keys.public(name))
    (folder / "armored.asc").write_bytes(keys.public("good", armored=True))
    texts = [f"about {name}\n".encode() + keys.public(name, armored=True) for name in ("other", "good")]
    (folder / "texts.asc").write_bytes(b"".join(texts))
    (folder / "both.gpg").write_bytes(keys.public("good", "other"))
    (folder / "none.gpg").write_bytes(b"")


Signer = Callable[[World], bytes]


def made(name: str = "good", *options: str, reference: str = "<host>/os/a:1", **critical: Any) -> Signer:
    return lambda world: world.keys.sign(
        name, payload(world.digest, world.fill(reference), **world.fill(critical)), *options
    )


def raw(data: bytes) -> Signer:
    return lambda world: world.keys.sign("good", data.replace(b"<digest>", world.digest.encode()))


def changed(change: Callable[[bytes], bytes]) -> Signer:
    return lambda world: change(made()(world))


def plain(*options: str) -> Signer:
    return lambda world: world.keys.run(
        "--local-user", "good", *options, data=payload(world.digest, f"{world.host}/os/a:1")
    )


def by(keys: str = "<keys>/good.gpg", identity: dict[str, str] | None = None, **fields: Any) -> list[dict[str, Any]]:
    found: dict[str, Any] = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": keys, **fields}
    found = {key: value for key, value in found.items() if value is not None}
    return [{**found, "signedIdentity": identity} if identity else found]


TAG, DIGEST = "<host>/os/a:1", "<host>/os/a@<digest>"
EXACT, REPOSITORY = {"type": "matchExact"}, {"type": "matchRepository"}
ACCEPT = [{"type": "insecureAcceptAnything"}]
VALID = b'{"critical":{"type":"atomic container signature","image":{"docker-manifest-digest":"<digest>"},'

CASES: dict[str, tuple[bool, str, list[dict[str, Any]], list[Signer]]] = {
    # keys
    "the right key": (True, TAG, by(), [made()]),
    "no signature": (False, TAG, by(), []),
    "another key": (False, TAG, by(), [made("other")]),
    "one of two signatures": (True, TAG, by(), [made("other"), made()]),
    "one of two keys in a file": (True, TAG, by("<keys>/both.gpg"), [made("other")]),
    "armored key": (True, TAG, by("<keys>/armored.asc"), [made()]),
    "one of two armored keys": (True, TAG, by("<keys>/texts.asc"), [made()]),
    "key certified with SHA-1": (True, TAG, by("<keys>/old.gpg"), [made("old")]),
    "key in the policy": (True, TAG, by(None, keyData="<data>"), [made()]),  # type: ignore[arg-type]
    "two key files": (True, TAG, by(None, keyPaths=["<keys>/other.gpg", "<keys>/good.gpg"]), [made()]),  # type: ignore[arg-type]
    "missing key file": (False, TAG, by("<keys>/missing.gpg"), [made()]),
    "empty key file": (False, TAG, by("<keys>/none.gpg"), [made()]),
    "expired key": (False, TAG, by("<keys>/expired.gpg"), [made("expired", "--faked-system-time", YESTERYEAR)]),
    "revoked key": (False, TAG, by("<keys>/revoked.gpg"), [lambda world: (world.folder / "revoked.sig").read_bytes()]),
    "both requirements": (True, TAG, [*by(), *by("<keys>/other.gpg")], [made(), made("other")]),
    "one of both requirements": (False, TAG, [*by(), *by("<keys>/other.gpg")], [made()]),
    "accepted besides": (True, TAG, [*ACCEPT, *by()], [made()]),
    "accepted besides, unsigned": (False, TAG, [*ACCEPT, *by()], []),
    # identities
    "other tag": (False, TAG, by(), [made(reference="<host>/os/a:2")]),
    "other repository": (False, TAG, by(), [made(reference="<host>/os/b:1")]),
    "repository only": (False, TAG, by(), [made(reference="<host>/os/a")]),
    "digest, signed for a tag": (True, DIGEST, by(), [made()]),
    "digest, signed for another repository": (False, DIGEST, by(), [made(reference="<host>/os/b:1")]),
    "digest, signed for itself": (True, DIGEST, by(), [made(reference="<host>/os/a@<digest>")]),
    "tag, signed for the digest": (False, TAG, by(), [made(reference="<host>/os/a@<digest>")]),
    "exact": (True, TAG, by(identity=EXACT), [made()]),
    "exact, digest signed for a tag": (False, DIGEST, by(identity=EXACT), [made()]),
    "exact digest": (True, DIGEST, by(identity=EXACT), [made(reference="<host>/os/a@<digest>")]),
    "repository": (True, TAG, by(identity=REPOSITORY), [made(reference="<host>/os/a:2")]),
    "repository, bare": (True, TAG, by(identity=REPOSITORY), [made(reference="<host>/os/a")]),
    "repository, another": (False, TAG, by(identity=REPOSITORY), [made(reference="<host>/os/b:1")]),
    "exact reference": (
        True,
        TAG,
        by(identity={"type": "exactReference", "dockerReference": "vendor.example/os:7"}),
        [made(reference="vendor.example/os:7")],
    ),
    "exact reference, another": (
        False,
        TAG,
        by(identity={"type": "exactReference", "dockerReference": "vendor.example/os:7"}),
        [made(reference="vendor.example/os:8")],
    ),
    "exact repository": (
        True,
        TAG,
        by(identity={"type": "exactRepository", "dockerRepository": "vendor.example/os"}),
        [made(reference="vendor.example/os:8")],
    ),
    "exact repository of Docker Hub": (
        True,
        TAG,
        by(identity={"type": "exactRepository", "dockerRepository": "busybox"}),
        [made(reference="docker.io/library/busybox:1")],
    ),
    "remapped": (
        True,
        TAG,
        by(identity={"type": "remapIdentity", "prefix": "<host>", "signedPrefix": "vendor.example/x"}),
        [made(reference="vendor.example/x/os/a:1")],
    ),
    "remapped namespace": (
        True,
        TAG,
        by(identity={"type": "remapIdentity", "prefix": "<host>/os", "signedPrefix": "vendor.example"}),
        [made(reference="vendor.example/a:1")],
    ),
    "remapped, another tag": (
        False,
        TAG,
        by(identity={"type": "remapIdentity", "prefix": "<host>", "signedPrefix": "vendor.example"}),
        [made(reference="vendor.example/os/a:2")],
    ),
    "remapping half a name": (
        True,
        TAG,
        by(identity={"type": "remapIdentity", "prefix": "<host>/o", "signedPrefix": "vendor.example"}),
        [made()],
    ),
    "remapping somebody else": (
        True,
        TAG,
        by(identity={"type": "remapIdentity", "prefix": "h.example", "signedPrefix": "vendor.example"}),
        [made()],
    ),
    # payloads
    "other digest": (False, TAG, by(), [made(image={"docker-manifest-digest": f"sha256:{'0' * 64}"})]),
    "no digest": (False, TAG, by(), [made(image={"docker-manifest-digest": "sha256:0"})]),
    "wrong type": (False, TAG, by(), [made(type="cosign container image signature")]),
    "further member": (False, TAG, by(), [made(more=1)]),
    "no JSON": (False, TAG, by(), [raw(b"hello")]),
    "repeated member": (
        False,
        TAG,
        by(),
        [raw(VALID + b'"identity":{"docker-reference":"a/b:1"}},"optional":{},"optional":{}}')],
    ),
    "no optional part": (False, TAG, by(), [raw(VALID + b'"identity":{"docker-reference":"a/b:1"}}}')]),
    "further part": (
        False,
        TAG,
        by(identity=REPOSITORY),
        [raw(VALID + b'"identity":{"docker-reference":"a/b:1"}},"optional":{},"more":1}')],
    ),
    # forms
    "detached": (False, TAG, by(), [plain("--detach-sign")]),
    "clear text": (False, TAG, by(), [plain("--clear-sign")]),
    "armored": (False, TAG, by(), [plain("--armor", "--sign")]),
    "two signatures in one": (False, TAG, by(), [made("good", "--local-user", "other")]),
    "uncompressed": (True, TAG, by(), [made("good", "--compress-algo", "none")]),
    "cut": (False, TAG, by(), [changed(lambda data: data[:-9])]),
    "changed": (False, TAG, by(), [changed(lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:])]),
    "empty": (False, TAG, by(), [changed(lambda data: b"")]),
    "nothing signed": (False, TAG, by(), [plain("--store")]),
}


@pytest.mark.parametrize(("accepted", "name", "requirements", "signers"), CASES.values(), ids=CASES)
def test_verdicts_are_skopeo_s(
    world: World, tmp_path: Path, accepted: bool, name: str, requirements: list[dict[str, Any]], signers: list[Signer]
) -> None:
    reference = prepare(world, tmp_path, name, requirements, signers)
    assert skopeo_accepts(tmp_path, reference) == accepted, "skopeo"
    assert we_accept(tmp_path, reference) == accepted, "we"


@pytest.mark.parametrize(("accepted", "name", "requirements", "signers"), CASES.values(), ids=CASES)
def test_the_fetcher_s_verdicts_are_those_of_a_skopeo_that_verifies(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accepted: bool,
    name: str,
    requirements: list[dict[str, Any]],
    signers: list[Signer],
) -> None:
    """An older one looks at no policy, and gets to open no image that needs a signature."""
    reference = prepare(world, tmp_path, name, requirements, signers)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "etc"))
    needing = [requirement["type"] for requirement in requirements if requirement["type"] != ACCEPT[0]["type"]]
    with closing(fetcher(tmp_path, Options(insecure=("127.0.0.1",)))) as opened:
        if skopeo_level() < 6:
            with (
                pytest.raises(PolicyError, match="which this skopeo does not verify"),
                opened.resolve(reference, PLATFORM),
            ):
                pass
            return
        try:
            with opened.resolve(reference, PLATFORM) as source:
                verdict = source.image.verdict
        except (PolicyError, FetchError):
            verdict = ""
    assert verdict == (f"{' and '.join(dict.fromkeys(needing))}, by skopeo (default)" if accepted else "")


@functools.cache
def skopeo_level(program: str = PROGRAM) -> int:
    """The last part of the version of the proxy's protocol."""
    with closing(Proxy(Command((program, "experimental-image-proxy"), "test"), "test", lambda: None)) as proxy:
        return proxy.level


def prepare(
    world: World, root: Path, name: str, requirements: list[dict[str, Any]], signers: list[Signer]
) -> ImageReference:
    """Configuration below a root directory, and signatures in its lookaside."""
    folder = root / "etc/containers/registries.d"
    folder.mkdir(parents=True)
    (folder.parent / "policy.json").write_text(json.dumps({"default": world.fill(requirements)}))
    (folder / "default.yaml").write_text(f"default-docker:\n  lookaside: file://{root}/lookaside\n")
    for repository in ("os/a", "mirror/os/a"):
        place = root / f"lookaside/{repository}@{world.digest.replace(':', '=')}"
        place.mkdir(parents=True)
        for number, signer in enumerate(signers, 1):
            (place / f"signature-{number}").write_bytes(signer(world))
    return ImageReference.parse(f"docker://{world.fill(name)}")


def skopeo_accepts(root: Path, reference: ImageReference) -> bool:
    folder = root / "etc/containers"
    options = ["--policy", str(folder / "policy.json"), "--registries.d", str(folder / "registries.d")]
    command = [PROGRAM, *options, "copy", "--quiet", "--remove-signatures", "--src-tls-verify=false"]
    done = subprocess.run([*command, str(reference), f"dir:{root}/out"], capture_output=True, stdin=subprocess.DEVNULL)
    return done.returncode == 0


def we_accept(root: Path, reference: ImageReference) -> bool:
    try:
        with fetching(root) as fetcher, fetcher.resolve(reference, PLATFORM):
            return True
    except (PolicyError, ConfigError):
        return False


def refusal(root: Path, reference: ImageReference) -> str:
    """What the policy's error says."""
    with fetching(root) as fetcher, pytest.raises(PolicyError) as caught, fetcher.resolve(reference, PLATFORM):
        pass
    return caught.value.problem


def test_a_signature_made_by_skopeo_is_accepted_and_named(world: World, tmp_path: Path) -> None:
    reference = prepare(world, tmp_path, "<host>/os/signed:1", by(), [])
    configuration = tmp_path / "etc/containers/registries.d/default.yaml"
    configuration.write_text(
        f"default-docker:\n  lookaside: file://{tmp_path}/l\n  lookaside-staging: file://{tmp_path}/l\n"
    )
    options = ["--insecure-policy", "--registries.d", str(configuration.parent), "copy", "--dest-tls-verify=false"]
    command = [PROGRAM, *options, "--sign-by", world.keys.fingerprint("good")]
    source = f"oci:{world.folder}/layout:os"
    subprocess.run([*command, source, str(reference)], check=True, env=world.keys.environment, capture_output=True)
    with fetching(tmp_path) as fetcher, fetcher.resolve(reference, PLATFORM) as opened:
        assert opened.image.verdict == f"signedBy {world.keys.fingerprint('good')} (default)"


def test_a_small_message_with_a_large_content_is_no_signature(world: World, tmp_path: Path) -> None:
    def bomb(world: World) -> bytes:
        return world.keys.sign("good", bytes(64 << 20), "--compress-algo", "zlib")

    reference = prepare(world, tmp_path, TAG, by(), [bomb])
    assert (tmp_path / f"lookaside/os/a@{world.digest.replace(':', '=')}/signature-1").stat().st_size < 1 << 17
    assert "gpgv does not accept it" in refusal(tmp_path, reference)


def test_signatures_are_not_gathered_without_end(world: World, tmp_path: Path) -> None:
    def large(world: World) -> bytes:
        return b"\xa3" + bytes((4 << 20) - 1)

    reference = prepare(world, tmp_path, TAG, by(), [large] * 5)
    assert "signatures of more than" in refusal(tmp_path, reference)


LOOKASIDES: dict[str, tuple[bool, str]] = {
    "default": (True, "default-docker:\n  lookaside: file://<here>\n"),
    "host": (True, "docker:\n  <host>:\n    lookaside: file://<here>\n"),
    "other host": (False, "docker:\n  h.example:\n    lookaside: file://<here>\n"),
    "namespace before host": (
        True,
        "docker:\n  <host>:\n    lookaside: file:///none\n  <host>/os:\n    lookaside: file://<here>\n",
    ),
    "tag before repository": (
        False,
        "docker:\n  <host>/os/a:1:\n    lookaside: file:///none\n  <host>/os/a:\n    lookaside: file://<here>\n",
    ),
    "host before default": (
        False,
        "default-docker:\n  lookaside: file://<here>\ndocker:\n  <host>:\n    lookaside: file:///none\n",
    ),
    "the old key": (True, "default-docker:\n  sigstore: file://<here>\n"),
    "only a place to write to": (False, "default-docker:\n  lookaside-staging: file://<here>\n"),
    "inherited key": (
        True,
        "docker:\n  <host>:\n    lookaside: file://<here>\n  <host>/os:\n    lookaside-staging: file:///none\n",
    ),
    "no YAML": (False, "default-docker: ["),
    "no file": (False, ""),
}


@pytest.mark.parametrize(("accepted", "text"), LOOKASIDES.values(), ids=LOOKASIDES)
def test_lookasides_are_found_where_skopeo_finds_them(world: World, tmp_path: Path, accepted: bool, text: str) -> None:
    reference = prepare(world, tmp_path, TAG, by(), [made()])
    configuration = tmp_path / "etc/containers/registries.d/default.yaml"
    configuration.write_text(text.replace("<host>", world.host).replace("<here>", f"{tmp_path}/lookaside"))
    assert skopeo_accepts(tmp_path, reference) == accepted, "skopeo"
    assert we_accept(tmp_path, reference) == accepted, "we"


def test_a_reference_that_insists_on_signatures_is_accepted_with_one(world: World, tmp_path: Path) -> None:
    reference = prepare(world, tmp_path, TAG, by(), [made()])
    signed = ImageReference.parse(f"ostree-image-signed:{reference}")
    assert we_accept(tmp_path, signed)
    (tmp_path / "etc/containers/policy.json").write_text(json.dumps({"default": ACCEPT}))
    assert we_accept(tmp_path, reference)
    assert "refusing usage" in refusal(tmp_path, signed)


def test_a_subkey_counts_for_its_primary_key(world: World, tmp_path: Path) -> None:
    """The skopeo of Debian 12 takes a subkey for another key."""
    assert we_accept(tmp_path, prepare(world, tmp_path, TAG, by("<keys>/rooted.gpg"), [made("rooted")]))


def test_sha_1_is_refused(world: World, tmp_path: Path) -> None:
    signer = made("rsa", "--digest-algo", "SHA1", "--allow-weak-digest-algos")
    world.keys.run("--quick-gen-key", "rsa", "rsa2048", "sign", "never")
    (tmp_path / "rsa.gpg").write_bytes(world.keys.public("rsa"))
    assert not we_accept(tmp_path, prepare(world, tmp_path, TAG, by(f"{tmp_path}/rsa.gpg"), [signer]))
    other = tmp_path / "sha256"
    assert we_accept(other, prepare(world, other, TAG, by(f"{tmp_path}/rsa.gpg"), [made("rsa")]))


def test_signatures_are_looked_up_where_the_image_really_is(world: World, tmp_path: Path) -> None:
    """Names are judged as they were asked for, lookasides by the mirror's name, as skopeo does."""
    reference = prepare(world, tmp_path, TAG, by(), [made()])
    (tmp_path / "etc/containers/registries.conf").write_text(
        f'[[registry]]\nlocation = "{world.host}"\ninsecure = true\n'
        f'[[registry.mirror]]\nlocation = "{world.host}/mirror"\ninsecure = true\n'
    )
    (tmp_path / "lookaside/os").rename(tmp_path / "lookaside/unused")
    assert we_accept(tmp_path, reference)
    (tmp_path / "lookaside/mirror").rename(tmp_path / "lookaside/os")
    assert not we_accept(tmp_path, reference)


def test_images_in_directories_bring_their_signatures(world: World, tmp_path: Path) -> None:
    identity = {"type": "exactReference", "dockerReference": "<host>/os/a:1"}
    prepare(world, tmp_path, TAG, by(identity=identity), [made()])
    folder = tmp_path / "image"
    command = [PROGRAM, "--insecure-policy", "copy", f"oci:{world.folder}/layout:os", f"dir:{folder}"]
    subprocess.run(command, check=True, capture_output=True)
    reference = ImageReference.parse(f"dir:{folder}")
    assert not we_accept(tmp_path, reference)
    (folder / "signature-1").write_bytes(made()(world))
    assert we_accept(tmp_path, reference)
    assert skopeo_accepts(tmp_path, reference)
    (folder / "signature-1").write_bytes(b"\0simple-signing\n" + made()(world))
    assert we_accept(tmp_path, reference)


def test_what_cannot_be_found_out_is_no_acceptance(world: World, tmp_path: Path) -> None:
    reference = prepare(world, tmp_path, TAG, by(), [made()])
    configuration = tmp_path / "etc/containers/registries.d/default.yaml"
    configuration.write_text("default-docker:\n  lookaside: http://127.0.0.1:1/x\n")
    with fetching(tmp_path, retries=0) as fetcher, pytest.raises(FetchError), fetcher.resolve(reference, PLATFORM):
        pass
