"""The skopeo fetcher against a proxy that speaks every version and fails in every way: a right result or an error."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from bootc_containers.places import Places
from bootc_skopeo.fetcher import SkopeoFetcher
from bootc_skopeo.handover import Handover
from bootc_skopeo.options import Options

from bootc.errors import (
    AuthenticationError,
    CancelledError,
    FetchError,
    IntegrityError,
    MissingProgramError,
    NetworkError,
    NotFoundError,
    PolicyError,
    ProtocolError,
    UnsupportedError,
)
from bootc.fetcher import Source
from bootc.image import ImageReference
from tests import fake_skopeo
from tests.skopeo_images import PLATFORM, Built, build, context, digests, fetcher, read, write_layout

REMOTE = ImageReference.parse("docker://host.example/os:1")
STORED = ImageReference.parse("containers-storage:localhost/os:1")
VERSIONS = ["0.2.3", "0.2.5", "0.2.6", "0.2.7", "0.2.8"]


@define
class Fake:
    """A fake skopeo: what it is to do, and what it noted."""

    folder: Path
    built: Built
    version: str = "0.2.8"
    faults: dict[str, list[str]] = field(factory=dict)

    @property
    def program(self) -> str:
        """The path of its executable, made anew."""
        scenario = self.folder / "scenario.json"
        record = self.folder / "record"
        record.touch()
        content: dict[str, Any] = {"version": self.version, "faults": self.faults}
        scenario.write_text(json.dumps({**content, "layout": str(self.folder / "layout"), "record": str(record)}))
        script = self.folder / "skopeo"
        command = shlex.join([sys.executable, fake_skopeo.__file__, str(scenario)])
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
        return str(script)

    def notes(self, key: str) -> list[Any]:
        """What the fake noted under this key, in order."""
        lines = (self.folder / "record").read_text().splitlines()
        return [note[key] for note in map(json.loads, lines) if key in note]

    def fetcher(self, **options: Any) -> SkopeoFetcher:
        return fetcher(self.folder, program=self.program, **options)

    def require_no_process(self) -> None:
        """All processes that were started are gone."""
        pids = self.notes("pid")
        assert pids
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    monkeypatch.setenv("CONTAINERS_POLICY_JSON", str(policy))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    built = build()
    layout = write_layout(tmp_path / "layout", built)
    for layer, blob in zip(built.image.layers, built.blobs, strict=True):
        import gzip

        (layout / "blobs/sha256" / layer.diff_id.hex).write_bytes(gzip.decompress(blob))
    return Fake(tmp_path, built)


def use(fake: Fake, action: Callable[[Source], object], reference: ImageReference = REMOTE, **options: Any) -> Any:
    """Resolve, do something, close; afterwards nothing may be left."""
    opened = fake.fetcher(**options)
    try:
        with opened.resolve(reference, PLATFORM) as source:
            return action(source)
    finally:
        opened.close()
        fake.require_no_process()
        assert not list(fake.folder.glob("bootc-skopeo-*"))


def everything(source: Source) -> list[str]:
    return digests(source, source.image.layers)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_image_is_read_in_every_version(fake: Fake, version: str) -> None:
    fake.version = version

    def action(source: Source) -> None:
        assert (source.image.manifest, source.image.config) == (fake.built.image.manifest, fake.built.image.config)
        assert source.image.layers == fake.built.image.layers
        assert (source.image.digest, source.image.top_digest) == (fake.built.image.digest, None)
        assert source.image.verdict == "not verified: insecureAcceptAnything (default)"
        assert source.is_local is False
        assert [read(source, layer.blob) for layer in source.image.layers] == list(fake.built.blobs)
        assert read(source, source.image.layers[1].blob, 70_001) == fake.built.blobs[1][70_001:]

    use(fake, action)
    assert ("GetRawBlob" in fake.notes("method")) == (version == "0.2.8")


@pytest.mark.parametrize("version", VERSIONS)
def test_stored_layers_are_asked_for_by_their_content(fake: Fake, version: str) -> None:
    fake.version = version

    def action(source: Source) -> None:
        assert source.is_local is True
        assert [layer.descriptor for layer in source.image.layers] == [
            layer.descriptor for layer in fake.built.image.layers
        ]
        assert {layer.blob.media_type for layer in source.image.layers} == {"application/vnd.oci.image.layer.v1.tar"}
        sizes = [layer.blob.size for layer in source.image.layers]
        assert sizes == (
            [None] * 3 if version == "0.2.3" else [len(read(source, layer.blob)) for layer in source.image.layers]
        )
        assert everything(source) == fake.built.contents

    use(fake, action, STORED)


@pytest.mark.parametrize("version", ["0.2.6", "0.2.8"])
def test_a_stored_layer_of_unknown_size_is_read(fake: Fake, version: str) -> None:
    fake.version = version
    fake.faults = {"GetLayerInfo": ["no size"], "GetLayerInfoPiped": ["no size"]}

    def action(source: Source) -> None:
        assert [layer.blob.size for layer in source.image.layers] == [None] * 3
        assert everything(source) == fake.built.contents

    use(fake, action, STORED)


@pytest.mark.parametrize("version", ["0.2.6", "0.2.8"])
def test_blobs_are_read_side_by_side(fake: Fake, version: str) -> None:
    fake.version = version

    def action(source: Source) -> None:
        first, *others = (layer.blob for layer in source.image.layers)
        with source.open_blob(first) as stream, ThreadPoolExecutor(4) as threads:
            beginning = stream.read(10)
            found = list(threads.map(lambda blob: read(source, blob), [*others, *others]))
            rest = b"".join(iter(stream.read, b""))
        assert (beginning + rest, *found) == (fake.built.blobs[0], *fake.built.blobs[1:], *fake.built.blobs[1:])

    use(fake, action)
    assert (len(fake.notes("pid")) == 1) == (version == "0.2.8")


@pytest.mark.parametrize("version", ["0.2.3", "0.2.8"])
def test_one_proxy_is_enough_for_one_blob_after_the_other(fake: Fake, version: str) -> None:
    fake.version = version
    use(fake, everything)
    assert len(fake.notes("pid")) == 1


@pytest.mark.parametrize("version", ["0.2.3", "0.2.8"])
def test_a_blob_can_be_given_up_in_the_middle(fake: Fake, version: str) -> None:
    fake.version = version

    def action(source: Source) -> None:
        with source.open_blob(source.image.layers[0].blob) as stream:
            assert len(stream.read(100)) == 100
        assert read(source, source.image.layers[0].blob) == fake.built.blobs[0]

    use(fake, action)


BLOB_FAULTS: dict[str, tuple[str, str, str, type[FetchError], str]] = {
    "truncated": ("0.2.3", "GetBlob", "truncate", NetworkError, "unexpected EOF"),
    "corrupt": ("0.2.3", "GetBlob", "corrupt", IntegrityError, "corrupted blob"),
    "dies before": ("0.2.3", "GetBlob", "die", ProtocolError, 'exit code 3: out of "luck"'),
    "dies in the middle": ("0.2.3", "GetBlob", "die in the middle", ProtocolError, "killed by signal 9"),
    "no pipe": ("0.2.3", "GetBlob", "no descriptors", ProtocolError, "0 descriptors instead of 1"),
    "garbage": ("0.2.3", "GetBlob", "garbage", ProtocolError, "not what the protocol says"),
    "too long": ("0.2.3", "GetBlob", "too long", ProtocolError, "reply is too long"),
    "absent": ("0.2.3", "GetBlob", "error:blob unknown to registry", NotFoundError, "blob unknown"),
    "finish dies": ("0.2.6", "FinishPipe", "die", ProtocolError, "exit code 3"),
    "finish fails": ("0.2.6", "FinishPipe", "error:read: connection reset by peer", NetworkError, "reset"),
    "raw truncated": ("0.2.8", "GetRawBlob", "truncate", NetworkError, "unexpected EOF"),
    "raw ends early": ("0.2.8", "GetRawBlob", "end early", NetworkError, r"ended after \d+ of \d+ bytes"),
    "raw dies": ("0.2.8", "GetRawBlob", "die in the middle", NetworkError, r"ended after \d+ of \d+ bytes"),
    "raw without reason": ("0.2.8", "GetRawBlob", "bad reason", ProtocolError, "reason why a blob ended early"),
    "raw without pipes": ("0.2.8", "GetRawBlob", "no descriptors", ProtocolError, "0 descriptors instead of 2"),
    "raw retryable": ("0.2.8", "GetRawBlob", "retryable:strange weather", NetworkError, "strange weather"),
}


@pytest.mark.parametrize(("version", "method", "fault", "error", "problem"), BLOB_FAULTS.values(), ids=BLOB_FAULTS)
def test_a_blob_that_fails_is_an_error_and_never_a_hang(
    fake: Fake, version: str, method: str, fault: str, error: type[FetchError], problem: str
) -> None:
    fake.version = version

    # Resolving uses the same methods, once for the config or twice for that and the manifest.
    fake.faults = {method: [*[""] * {"GetBlob": 1, "FinishPipe": 2, "GetRawBlob": 0}[method], fault]}
    with pytest.raises(error, match=problem) as raised:
        use(fake, lambda source: read(source, source.image.layers[0].blob))
    assert raised.value.reference == REMOTE.display


RESOLVE_FAULTS: dict[str, tuple[str, str, type[FetchError], str]] = {
    "old version": ("Initialize", "version 0.2.2", UnsupportedError, "'0.2.2' of its protocol"),
    "new version": ("Initialize", "version 0.3.0", UnsupportedError, "'0.3.0' of its protocol"),
    "no version": ("Initialize", "version x", UnsupportedError, "'x' of its protocol"),
    "start fails": ("Initialize", "die", ProtocolError, 'exit code 3: out of "luck"'),
    "no image": ("OpenImage", "no image", ProtocolError, "OpenImage brought no image"),
    "absent": ("OpenImage", "error:reading manifest 1 in a/b: manifest unknown", NotFoundError, "manifest unknown"),
    "secret": ("OpenImage", "error:unauthorized: authentication required", AuthenticationError, "unauthorized"),
    "policy": ("OpenImage", "error:Running image a is rejected by policy.", PolicyError, "rejected by policy"),
    "network": ("OpenImage", "error:dial tcp 1.2.3.4:443: i/o timeout", NetworkError, "i/o timeout"),
    "platform": ("OpenImage", "error:no image found in manifest list for a", UnsupportedError, "no image found"),
    "retryable": ("OpenImage", "retryable:strange weather", NetworkError, "strange weather"),
    "unknown": ("OpenImage", "error:strange weather", FetchError, "strange weather"),
    "dies": ("GetManifest", "die", ProtocolError, "exit code 3"),
    "truncated": ("GetManifest", "truncate", NetworkError, "unexpected EOF"),
    "endless": ("GetManifest", "endless", ProtocolError, "more than 4194304 bytes"),
    "other manifest": ("GetManifest", "other manifest", IntegrityError, "manifest does not have the digest"),
    "no pipe": ("GetManifest", "no descriptors", ProtocolError, "0 descriptors instead of 1"),
    "corrupt config": ("GetBlob", "corrupt", IntegrityError, "corrupted blob"),
}


@pytest.mark.parametrize(("method", "fault", "error", "problem"), RESOLVE_FAULTS.values(), ids=RESOLVE_FAULTS)
def test_an_image_that_fails_is_an_error_and_never_a_hang(
    fake: Fake, method: str, fault: str, error: type[FetchError], problem: str
) -> None:
    fake.faults = {method: [fault]}
    with pytest.raises(error, match=problem) as raised:
        use(fake, lambda source: None)
    assert raised.value.reference == REMOTE.display


@pytest.mark.parametrize(("fault", "problem"), [("bad", "not valid JSON"), ("too few", "2 layers stored")])
def test_layer_information_that_fails_is_an_error(fake: Fake, fault: str, problem: str) -> None:
    fake.faults = {"GetLayerInfoPiped": [fault]}
    with pytest.raises(ProtocolError, match=problem):
        use(fake, lambda source: None, STORED)


@pytest.mark.parametrize("version", ["0.2.3", "0.2.8"])
def test_a_cut_connection_is_mended(fake: Fake, version: str) -> None:
    fake.version = version
    fake.faults = {
        "OpenImage": ["error:connection reset by peer"],
        "GetBlob": ["truncate"] * 2,
        "GetRawBlob": ["truncate"] * 2,
    }

    def action(source: Source) -> None:
        assert [read(source, layer.blob) for layer in source.image.layers] == list(fake.built.blobs)
        assert read(source, source.image.layers[2].blob, 1234) == fake.built.blobs[2][1234:]

    use(fake, action, retries=(0, 0, 0))
    assert len(fake.notes("fault")) >= 3


def test_what_cannot_get_better_is_not_tried_again(fake: Fake) -> None:
    fake.faults = {"OpenImage": ["error:x509: certificate signed by unknown authority", "error:again"]}
    with pytest.raises(NetworkError, match="x509"):
        use(fake, lambda source: None, retries=(0, 0))


class Stop:
    """Asks to stop once it was armed."""

    is_armed = False

    def __call__(self) -> None:
        if self.is_armed:
            raise CancelledError


@pytest.mark.parametrize("method", ["OpenImage", "GetManifest", "GetBlob"])
def test_cancelling_is_heard_while_skopeo_is_silent(fake: Fake, method: str) -> None:
    fake.faults = {method: ["silence"]}
    stop = Stop()
    stop.is_armed = True
    opened = SkopeoFetcher(context(fake.folder, check_cancelled=stop), Options(), fake.program, ())
    with pytest.raises(CancelledError), opened.resolve(REMOTE, PLATFORM):
        pass
    fake.require_no_process()


def test_silence_has_an_end(fake: Fake) -> None:
    fake.faults = {"OpenImage": ["silence"]}
    opened = SkopeoFetcher(context(fake.folder), Options(read_timeout=0.1), fake.program, ())
    with pytest.raises(NetworkError, match="no answer"), opened.resolve(REMOTE, PLATFORM):
        pass
    opened.close()
    fake.require_no_process()


def test_closing_the_fetcher_ends_what_is_still_open(fake: Fake) -> None:
    opened = fake.fetcher()
    with opened.resolve(REMOTE, PLATFORM) as source:
        opened.close()
        opened.close()
        fake.require_no_process()
        with pytest.raises(CancelledError):
            read(source, source.image.layers[0].blob)


def test_the_policy_comes_before_skopeo(fake: Fake) -> None:
    (fake.folder / "policy.json").write_text('{"default": [{"type": "reject"}]}')
    with pytest.raises(PolicyError, match=r"rejected by policy \(default\)"), fake.fetcher().resolve(REMOTE, PLATFORM):
        pass
    assert fake.notes("pid") == []


SIGNED_BY = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nonexistent/key"}


@pytest.mark.parametrize("version", VERSIONS)
def test_signatures_are_left_to_a_skopeo_that_verifies_them(fake: Fake, version: str) -> None:
    """Before protocol 0.2.6 nothing in it looked at the policy: then no image is opened."""
    fake.version = version
    (fake.folder / "policy.json").write_text(json.dumps({"default": [SIGNED_BY]}))
    if int(version.rpartition(".")[2]) >= 6:
        verdict = use(fake, lambda source: source.image.verdict, ImageReference.parse(f"ostree-image-signed:{REMOTE}"))
        assert verdict == "signedBy, by skopeo (default)"
        (argv,) = fake.notes("argv")
        assert argv[argv.index("--policy") + 1] == str(fake.folder / "policy.json")
        assert "--registries.d" in argv
        return
    problem = r"requires signedBy \(default\), which this skopeo does not verify"
    with pytest.raises(PolicyError, match=problem), fake.fetcher().resolve(REMOTE, PLATFORM):
        pass
    fake.require_no_process()
    assert fake.notes("method") == ["Initialize"]


def test_what_skopeo_says_of_a_signature_is_the_policy_s_error(fake: Fake) -> None:
    (fake.folder / "policy.json").write_text(json.dumps({"default": [SIGNED_BY]}))
    fake.faults = {"OpenImage": ["error:Source image rejected: A signature was required, but no signature exists"]}
    with pytest.raises(PolicyError, match="A signature was required"), fake.fetcher().resolve(REMOTE, PLATFORM):
        pass
    assert "GetManifest" not in fake.notes("method")


def test_a_missing_skopeo_is_named(fake: Fake) -> None:
    missing = fetcher(fake.folder, program="/nonexistent/skopeo")
    with pytest.raises(MissingProgramError, match="/nonexistent/skopeo"), missing.resolve(REMOTE, PLATFORM):
        pass


def argv(fake: Fake, options: Options, reference: ImageReference = REMOTE) -> list[str]:
    use(fake, lambda source: None, reference, options=options)
    return [word for word in fake.notes("argv")[-1] if not word.startswith(str(fake.folder / "bootc-skopeo-"))]


def test_the_command_line_names_policy_platform_and_no_credentials(fake: Fake) -> None:
    assert argv(fake, Options()) == [
        *("--policy", str(fake.folder / "policy.json"), "--tmpdir"),
        "--registries-conf",
        *("--override-os", "linux", "--override-arch", PLATFORM.architecture),
        *("experimental-image-proxy", "--no-creds"),
    ]


def test_credentials_are_given_by_their_file(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fake.folder / "auth.json"
    file.write_text("{}")
    assert argv(fake, Options(authfile=str(file)))[-2:] == ["--authfile", str(file)]
    assert argv(fake, Options(podman_credentials=True))[-1] == "experimental-image-proxy"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    assert argv(fake, Options(podman_credentials=True))[-2:] == ["--authfile", str(file)]


def test_only_insecure_registries_are_spoken_to_without_tls(fake: Fake) -> None:
    options = Options(insecure=("host.example", "other.example:5000"))
    for name, is_insecure in (("host.example", True), ("host.example:5000", True), ("other.example", False)):
        reference = ImageReference.parse(f"docker://{name}/os")
        text = Handover.of(reference, Places(fake.folder, {}, 0), options.insecure).registries
        assert f"insecure = {str(is_insecure).lower()}\n" in text
        assert not [word for word in argv(fake, options, reference) if "tls" in word]
    assert "--registries-conf" not in argv(fake, options, ImageReference.parse("dir:host.example/os"))


def test_an_additional_store_is_given_by_the_environment(fake: Fake) -> None:
    argv(fake, Options(storage="/srv/store"), STORED)
    assert "STORAGE_OPTS" in fake.notes("environment")[-1]


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        (f"docker://host.example/os:1@sha256:{'a' * 64}", f"docker://host.example/os@sha256:{'a' * 64}"),
        (f"containers-storage:sha256:{'a' * 64}", f"containers-storage:{'a' * 64}"),
        ("ostree-unverified-image:oci:/srv/os:1", "oci:/srv/os:1"),
    ],
)
def test_references_are_spelled_as_skopeo_does(fake: Fake, reference: str, name: str) -> None:
    use(fake, lambda source: None, ImageReference.parse(reference))
    assert fake.notes("args")[1] == [name]


def test_a_name_that_skopeo_would_cut_is_refused(fake: Fake) -> None:
    with pytest.raises(ProtocolError, match="too long"):
        use(fake, lambda source: None, ImageReference("dir", "/" + "a" * (32 << 10)))
