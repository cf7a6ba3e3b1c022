"""What is asked of a registry, in which order and with which credentials; against a registry that is a test's own."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bootc.errors import AuthenticationError, BootcError, PolicyError, ProtocolError, UnsupportedError
from bootc.events import Event, Notice
from bootc.image import Digest, ImageReference
from bootc.manifest import OCI_INDEX, OCI_MANIFEST
from bootc.testing.registry import REPOSITORY, Bearer, FakeRegistry, answers, digest_of, redirects, with_headers
from tests.integration.registry_fetching import AMD64, ARM64, fetching, pull, read
from tests.servers import make_certificate

BASE, TOP = b"base" * 1000, b"top" * 1000


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        server.add_image("latest", BASE, TOP)
        yield server


def _name(registry: FakeRegistry, tag: str = "latest") -> str:
    return f"docker://{registry.address}/{REPOSITORY}:{tag}"


def _log_in(root: Path, registry: FakeRegistry, user: str = "anna", password: str = "p:w") -> None:
    authfile = root / "etc/ostree/auth.json"
    authfile.parent.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    authfile.write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))


def _short(data: bytes) -> str:
    return digest_of(data)[:19]


def _config(registry: FakeRegistry, tag: str = "latest") -> str:
    digest: str = json.loads(registry.documents[tag][1])["config"]["digest"]
    return digest[:19]


def test_an_image_costs_one_request_for_each_of_its_parts(registry: FakeRegistry, tmp_path: Path) -> None:
    with fetching(tmp_path) as fetcher:
        pulled = pull(fetcher, _name(registry))
    assert pulled.layers == (BASE, TOP)
    assert pulled.image.manifest == registry.documents["latest"][1]
    assert pulled.image.config == registry.blobs[json.loads(pulled.image.manifest)["config"]["digest"]]
    assert pulled.image.digest == pulled.image.top_digest == Digest.parse(digest_of(pulled.image.manifest))
    assert pulled.image.verdict == "not verified: insecureAcceptAnything (default)"
    blobs = [f"blobs/{part}" for part in (_config(registry), _short(BASE), _short(TOP))]
    assert registry.paths() == ["manifests/latest", *blobs]
    assert registry.paths("HEAD") == []


def test_nothing_new_costs_one_head(registry: FakeRegistry, tmp_path: Path) -> None:
    with fetching(tmp_path) as fetcher:
        digest = fetcher.peek(ImageReference.parse(_name(registry)))
    assert str(digest) == digest_of(registry.documents["latest"][1])
    assert [(r.method, r.path) for r in registry.received] == [("HEAD", f"/v2/{REPOSITORY}/manifests/latest")]


def test_a_reference_by_digest_is_known_without_a_request(registry: FakeRegistry, tmp_path: Path) -> None:
    digest = digest_of(registry.documents["latest"][1])
    with fetching(tmp_path) as fetcher:
        found = fetcher.peek(ImageReference.parse(f"docker://{registry.address}/{REPOSITORY}:old@{digest}"))
    assert str(found) == digest
    assert registry.received == []


def test_a_digest_decides_over_the_tag(registry: FakeRegistry, tmp_path: Path) -> None:
    digest = digest_of(registry.documents["latest"][1])
    with fetching(tmp_path) as fetcher:
        pulled = pull(fetcher, f"docker://{registry.address}/{REPOSITORY}:gone@{digest}")
    assert str(pulled.image.top_digest) == digest
    assert registry.paths()[0] == f"manifests/{digest[:19]}"


def test_a_head_without_digest_is_followed_by_the_manifest(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb("manifests", with_headers(Docker_Content_Digest=""), method="HEAD")
    registry.disturb("manifests", with_headers(Docker_Content_Digest=""))
    with fetching(tmp_path) as fetcher:
        digest = fetcher.peek(ImageReference.parse(_name(registry)))
    assert str(digest) == digest_of(registry.documents["latest"][1])
    assert [r.method for r in registry.received] == ["HEAD", "GET"]


def test_every_request_names_us_and_refuses_compression(registry: FakeRegistry, tmp_path: Path) -> None:
    with fetching(tmp_path) as fetcher:
        pull(fetcher, _name(registry))
    for request in registry.received:
        assert request.headers["user-agent"].startswith("bootc/")
        assert request.headers["accept-encoding"] == "identity"


def test_connections_are_kept(registry: FakeRegistry, tmp_path: Path) -> None:
    with fetching(tmp_path) as fetcher:
        pull(fetcher, _name(registry))
        pull(fetcher, _name(registry))
    assert len(registry.received) == 8
    assert registry.connections == 2, "one that spoke TLS to find out that the registry does not, and one for all else"


def test_the_policy_is_asked_before_anything_is_fetched(registry: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "etc/containers").mkdir(parents=True)
    (tmp_path / "etc/containers/policy.json").write_text('{"default": [{"type": "reject"}]}')
    with fetching(tmp_path) as fetcher, pytest.raises(PolicyError, match="rejected by policy"):
        pull(fetcher, _name(registry))
    assert registry.received == []


# ---------------------------------------------------------------- platforms


def _platform(descriptor: dict[str, object], architecture: str, variant: str = "") -> dict[str, object]:
    return {**descriptor, "platform": {"os": "linux", "architecture": architecture, "variant": variant}}


def test_an_index_gives_the_manifest_of_the_platform(registry: FakeRegistry, tmp_path: Path) -> None:
    amd = registry.add_image("amd", BASE)
    arm = registry.add_image("arm", TOP, architecture="arm64")
    index = registry.add_index("both", _platform(amd, "amd64"), _platform(arm, "arm64", "v8"))
    with fetching(tmp_path) as fetcher:
        found = [pull(fetcher, _name(registry, "both"), platform) for platform in (AMD64, ARM64)]
        assert str(fetcher.peek(ImageReference.parse(_name(registry, "both")))) == index["digest"]
    assert [(str(p.image.top_digest), str(p.image.digest), p.layers) for p in found] == [
        (index["digest"], amd["digest"], (BASE,)),
        (index["digest"], arm["digest"], (TOP,)),
    ]


@pytest.mark.parametrize(
    ("media_type", "error"),
    [(OCI_INDEX, UnsupportedError), (OCI_MANIFEST, ProtocolError), ("application/json", UnsupportedError)],
)
def test_an_index_within_an_index_is_refused(
    registry: FakeRegistry, tmp_path: Path, media_type: str, error: type[BootcError]
) -> None:
    inner = registry.add_index("inner", _platform(registry.add_image("amd", BASE), "amd64"))
    registry.add_index("outer", _platform({**inner, "mediaType": media_type}, "amd64"))
    with fetching(tmp_path) as fetcher, pytest.raises(error):
        pull(fetcher, _name(registry, "outer"))


# ---------------------------------------------------------------- authorization


def test_an_anonymous_token_serves_check_and_pull(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer()
    with fetching(tmp_path) as fetcher:
        fetcher.peek(ImageReference.parse(_name(registry)))
        asked = [f"{r.method} {r.path.partition('?')[0].rpartition('/')[2]}" for r in registry.received]
        assert asked == ["HEAD latest", "GET token", "HEAD latest"]
        pull(fetcher, _name(registry))
    tokens = [r for r in registry.received if r.path.startswith("/token")]
    assert len(tokens) == 1
    scope = f"repository:{REPOSITORY}:pull"
    assert tokens[0].query == {"from": ["challenge"], "service": ["fake.example"], "scope": [scope]}
    assert "authorization" not in tokens[0].headers
    assert registry.paths().count("manifests/latest") == 1


def test_a_login_is_shown_to_the_token_server_only(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer(login=("anna", "p:w"))
    _log_in(tmp_path, registry)
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (BASE, TOP)
    given = {
        (r.path.partition("?")[0], r.headers.get("authorization", "").partition(" ")[0]) for r in registry.received
    }
    assert {kind for path, kind in given if path == "/token"} == {"Basic"}
    assert {kind for path, kind in given if path != "/token"} == {"", "Bearer"}
    (token,) = (r for r in registry.received if r.path.startswith("/token"))
    assert token.query["account"] == ["anna"]


def test_an_identity_token_is_posted(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer(identity_token="refresh me")
    authfile = tmp_path / "auth.json"
    authfile.write_text(json.dumps({"auths": {registry.address: {"identitytoken": "refresh me"}}}))
    with fetching(tmp_path, authfile=str(authfile)) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (BASE, TOP)
    (token,) = (r for r in registry.received if r.path.startswith("/token"))
    assert (token.method, "authorization" in token.headers) == ("POST", False)
    assert b"grant_type=refresh_token" in token.body


def test_tokens_that_expire_are_renewed_in_the_middle(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer(uses=1)
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (BASE, TOP)
    assert len(registry.bearer.given) == 4


def test_a_token_for_longer_than_any_time_is_taken(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer(answer={"expires_in": 10**400})
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (BASE, TOP)
    assert len(registry.bearer.given) == 1


def test_a_basic_login_is_given_after_it_was_asked_for(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.basic = ("anna", "p:w")
    _log_in(tmp_path, registry)
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (BASE, TOP)
    assert ["authorization" in r.headers for r in registry.received] == [False, True, True, True, True]


def test_a_challenge_that_is_missing_is_asked_for(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer()
    registry.disturb("manifests", answers(401, b"no"))
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (BASE, TOP)
    assert registry.paths()[:4] == ["manifests/latest", "/v2/", registry.received[2].path, "manifests/latest"]


def test_a_scope_that_is_asked_for_is_added(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer(
        challenge='Bearer realm="{realm}",service="s",error="insufficient_scope",scope="repository:more:pull"'
    )
    with fetching(tmp_path) as fetcher:
        pull(fetcher, _name(registry))
    (token,) = (r for r in registry.received if r.path.startswith("/token"))
    assert token.query["scope"] == [f"repository:{REPOSITORY}:pull", "repository:more:pull"]


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
@pytest.mark.parametrize(
    ("password", "problem"), [(None, "login"), ("wrong", "refused the credentials")], ids=["without", "wrong"]
)
def test_a_login_that_is_missing_or_wrong_is_told(
    registry: FakeRegistry, tmp_path: Path, scheme: str, password: str | None, problem: str
) -> None:
    if scheme == "basic":
        registry.basic = ("anna", "right")
    else:
        registry.bearer = Bearer(login=("anna", "right"))
    if password:
        _log_in(tmp_path, registry, password=password)
    with fetching(tmp_path) as fetcher, pytest.raises(AuthenticationError, match=problem) as caught:
        pull(fetcher, _name(registry))
    assert "auth.json" in (caught.value.hint or "")
    assert "right" not in str(caught.value)
    assert len(registry.received) <= 3


def test_a_registry_that_never_has_enough_is_left(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer(uses=0)
    with fetching(tmp_path) as fetcher, pytest.raises(AuthenticationError, match="token that it asked for"):
        pull(fetcher, _name(registry))
    assert len(registry.received) == 5


@pytest.mark.parametrize(
    "realm",
    [
        "http://169.254.169.254/latest/meta-data",
        "ftp://127.0.0.1/token",
        "file:///etc/passwd",
        "https://user:password@127.0.0.1/token",
        "https://",
        "//token",
        "https://127.0.0.1:99999/token",
        "",
    ],
)
def test_credentials_go_to_no_strange_address(registry: FakeRegistry, tmp_path: Path, realm: str) -> None:
    registry.bearer = Bearer(realm=realm or " ")
    _log_in(tmp_path, registry)
    with fetching(tmp_path) as fetcher, pytest.raises(ProtocolError, match="token server"):
        pull(fetcher, _name(registry))
    assert len(registry.received) == 1


@pytest.mark.parametrize(
    "body", [b"{}", b'{"token": 7}', b'{"token": "a\\r\\nb"}', b"[]", b"{", b'{"token":"a","token":"b"}']
)
def test_an_answer_that_holds_no_token_is_refused(registry: FakeRegistry, tmp_path: Path, body: bytes) -> None:
    registry.bearer = Bearer()
    registry.disturb("token", answers(200, body))
    with fetching(tmp_path) as fetcher, pytest.raises(ProtocolError):
        pull(fetcher, _name(registry))


def test_the_token_server_cannot_redirect(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer(login=("anna", "p:w"))
    _log_in(tmp_path, registry)
    registry.disturb("token", redirects("/elsewhere"))
    with fetching(tmp_path) as fetcher, pytest.raises(ProtocolError, match="307"):
        pull(fetcher, _name(registry))
    assert registry.paths()[-1].startswith("/token")


# ---------------------------------------------------------------- token servers that are remembered


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[FakeRegistry]:
    """A registry with TLS, tokens, and a certificate that the fetcher trusts."""
    certificate = make_certificate(tmp_path)
    with FakeRegistry(certificate) as server:
        directory = tmp_path / "etc/containers/certs.d" / server.address
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes(certificate.certificate.read_bytes())
        server.add_image("latest", BASE, TOP)
        server.bearer = Bearer()
        (tmp_path / "run").mkdir()
        yield server


def _check(registry: FakeRegistry, root: Path, run: Path | None) -> list[str]:
    """What a check by a new process asks for."""
    before = len(registry.received)
    with fetching(root, insecure=(), run=run) as fetcher:
        digest = fetcher.peek(ImageReference.parse(_name(registry)))
    assert str(digest) == digest_of(registry.documents["latest"][1])
    return [f"{r.method} {r.path.partition('?')[0].rpartition('/')[2]}" for r in registry.received[before:]]


def test_the_second_check_costs_one_token_and_one_head(secure: FakeRegistry, tmp_path: Path) -> None:
    assert _check(secure, tmp_path, tmp_path / "run") == ["HEAD latest", "GET token", "HEAD latest"]
    assert _check(secure, tmp_path, tmp_path / "run") == ["GET token", "HEAD latest"]
    assert _check(secure, tmp_path, None) == ["HEAD latest", "GET token", "HEAD latest"]
    assert (tmp_path / "run/bootc/token-servers.json").stat().st_mode & 0o077 == 0


def test_a_token_server_that_moved_is_found_again(secure: FakeRegistry, tmp_path: Path) -> None:
    _check(secure, tmp_path, tmp_path / "run")
    secure.disturb("token.from=challenge", answers(404), is_forever=True)
    assert secure.bearer is not None
    secure.bearer.realm = f"{secure.base}/token?moved"
    assert _check(secure, tmp_path, tmp_path / "run") == ["GET token", "HEAD latest", "GET token", "HEAD latest"]
    assert _check(secure, tmp_path, tmp_path / "run") == ["GET token", "HEAD latest"]


@pytest.mark.parametrize("realm", ["http://169.254.169.254/", "http://{address}/token", 7, None])
def test_what_was_remembered_is_not_trusted_further(secure: FakeRegistry, tmp_path: Path, realm: object) -> None:
    file = tmp_path / "run/bootc/token-servers.json"
    file.parent.mkdir(parents=True)
    address = realm.format(address=secure.address) if isinstance(realm, str) else realm
    file.write_text(json.dumps({secure.address: {"realm": address, "service": "s"}}))
    assert _check(secure, tmp_path, tmp_path / "run") == ["HEAD latest", "GET token", "HEAD latest"]
    file.write_text("{")
    assert _check(secure, tmp_path, tmp_path / "run") == ["HEAD latest", "GET token", "HEAD latest"]


def test_nothing_is_remembered_of_a_registry_without_tls(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer()
    run = tmp_path / "run"
    run.mkdir()
    with fetching(tmp_path, run=run) as fetcher:
        fetcher.peek(ImageReference.parse(_name(registry)))
    assert list(run.iterdir()) == []


# ---------------------------------------------------------------- redirects


def test_storage_elsewhere_gets_no_authorization(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer()
    with FakeRegistry() as storage:
        storage.blobs = registry.blobs
        target = f"{storage.base}/storage/{{digest}}?signature=secret"
        registry.disturb("blobs", redirects(target), is_forever=True)
        with fetching(tmp_path) as fetcher:
            assert pull(fetcher, _name(registry)).layers == (BASE, TOP)
        assert len(storage.received) == 3
        assert not any("authorization" in request.headers for request in storage.received)


def test_a_redirect_within_the_registry_keeps_the_authorization(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer()
    registry.disturb(f"blobs/{digest_of(TOP)}$", redirects(f"/v2/{REPOSITORY}/blobs/{{digest}}?again"))
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (BASE, TOP)
    assert "authorization" in registry.received[-1].headers


def test_storage_that_refuses_is_not_given_a_login(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.bearer = Bearer(login=("anna", "p:w"))
    _log_in(tmp_path, registry)
    with FakeRegistry() as storage:
        storage.basic = ("anna", "p:w")
        registry.disturb("blobs", redirects(f"{storage.base}/v2/x?signature=secret"), is_forever=True)
        with fetching(tmp_path) as fetcher, pytest.raises(AuthenticationError, match=storage.address) as caught:
            pull(fetcher, _name(registry))
        assert len(storage.received) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    ["file:///etc/shadow", "ftp://127.0.0.1/x", "http://user:pw@127.0.0.1/x", "http://[::", "http://h:99999/", ""],
)
def test_a_redirect_to_nowhere_is_refused(registry: FakeRegistry, tmp_path: Path, target: str) -> None:
    registry.disturb("blobs", redirects(target))
    with fetching(tmp_path) as fetcher, pytest.raises(ProtocolError, match="redirects to an address"):
        pull(fetcher, _name(registry))


def test_a_redirect_in_circles_ends(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb("blobs", redirects("?again"), is_forever=True)
    with fetching(tmp_path) as fetcher, pytest.raises(ProtocolError, match="redirects more than 10 times"):
        pull(fetcher, _name(registry))
    assert len(registry.received) == 12


# ---------------------------------------------------------------- the rest


def test_layers_are_read_side_by_side(registry: FakeRegistry, tmp_path: Path) -> None:
    layers = [bytes([number]) * 300_000 for number in range(12)]
    registry.add_image("many", *layers)
    registry.bearer = Bearer(uses=8)
    with (
        fetching(tmp_path) as fetcher,
        fetcher.resolve(ImageReference.parse(_name(registry, "many")), AMD64) as source,
        ThreadPoolExecutor(8) as pool,
    ):
        assert list(pool.map(lambda layer: read(source, layer.blob), source.image.layers)) == layers


def test_what_the_registry_wants_to_say_is_said_once(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb("", with_headers(Warning='299 - "this mirror ends in May"'), is_forever=True)
    events: list[Event] = []
    with fetching(tmp_path, report=events.append) as fetcher:
        pull(fetcher, _name(registry))
    notices = [event for event in events if isinstance(event, Notice)]
    assert notices == [Notice(f"{registry.address} says: this mirror ends in May", is_warning=True)]
