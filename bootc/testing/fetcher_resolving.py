"""Clauses of `Fetcher.resolve`, and of the capabilities `peek` and `explain`."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from bootc.errors import FetchError, IntegrityError, NotFoundError, UnsupportedError
from bootc.fetcher import Explain, Fetcher, Peek, Ranges
from bootc.hookspec import Capability, Context
from bootc.manifest import OCI_MANIFEST
from bootc.platform import Platform
from bootc.testing.fetcher_images import RegistryShelf, Shelf, make_attestation, make_index, make_sample, sha256
from bootc.testing.fetcher_place import AMD64, ARM64, FetcherFixtures, OpenFetcher, Place
from bootc.testing.suite import clause, needs

_NO_IMAGES = {
    "html": b"<!doctype html><title>Log in</title>",
    "nothing": b"",
    "half": make_sample("half").manifest[:200],
    "list": b"[]",
    "schema 1": b'{"schemaVersion": 1, "name": "os", "fsLayers": [], "history": [], "signatures": []}',
    "no layers": b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}',
    "deep": b"[" * 100_000,
}


class ResolvingClauses(FetcherFixtures):
    """F1 to F8, F25 to F27, F49."""

    @clause("F1")
    def test_manifest_and_config_are_as_served(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample = make_sample("os")
        with fetcher.resolve(shelf.put("os", sample), AMD64) as source:
            assert (source.image.manifest, source.image.config) == (sample.manifest, sample.config)
            assert source.image.digest == sample.digest

    @clause("F2")
    def test_layers_are_the_manifests_in_its_order(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample = make_sample("os", layers=4)
        reference = shelf.put("os", sample)
        with fetcher.resolve(reference, AMD64) as source:
            named = json.loads(sample.manifest)["layers"]
            layers = [(str(layer.descriptor.digest), layer.descriptor.size) for layer in source.image.layers]
            assert layers == [(layer["digest"], layer["size"]) for layer in named]
            assert [layer.descriptor.media_type for layer in source.image.layers] == [x["mediaType"] for x in named]
            assert tuple(layer.diff_id for layer in source.image.layers) == sample.contents
            assert source.image.reference == reference
            assert source.image.verdict

    @clause("F3")
    @pytest.mark.parametrize("platform", [AMD64, ARM64], ids=["amd64", "arm64"])
    @pytest.mark.parametrize("named", [{}, {"variant": "v8"}], ids=["plain", "variant"])
    def test_an_index_gives_the_image_for_the_platform(
        self, fetcher: Fetcher, shelf: Shelf, platform: Platform, named: dict[str, str]
    ) -> None:
        attested, amd, arm = make_attestation(), make_sample("amd"), make_sample("arm", "arm64")
        proof = {"vnd.docker.reference.type": "attestation-manifest"}
        entries = [
            (attested, attested.entry("unknown", annotations=proof)),
            (arm, {**arm.entry("arm64"), "platform": {"os": "linux", "architecture": "arm64", **named}}),
            (amd, amd.entry("amd64")),
        ]
        reference = shelf.put_index("os", entries)
        wanted = amd if platform is AMD64 else arm
        with fetcher.resolve(reference, platform) as source:
            assert source.image.manifest == wanted.manifest
            assert source.image.digest == wanted.digest
            assert source.image.top_digest in (None, sha256(make_index(*(entry for _, entry in entries))))

    @clause("F4")
    def test_an_index_without_the_platform_is_unsupported(self, fetcher: Fetcher, shelf: Shelf) -> None:
        arm = make_sample("arm", "arm64")
        reference = shelf.put_index("os", [(arm, arm.entry("arm64"))])
        with pytest.raises(UnsupportedError), fetcher.resolve(reference, AMD64):
            pass

    @clause("F5")
    def test_a_digest_is_the_manifest_that_it_names(self, fetcher: Fetcher, remote: RegistryShelf) -> None:
        old, new = make_sample("old"), make_sample("new")
        reference = remote.put("os", old)
        remote.put("os", new)
        with fetcher.resolve(reference.with_digest(old.digest), AMD64) as source:
            assert source.image.manifest == old.manifest

    @clause("F6")
    def test_resolving_asks_for_no_layer(self, fetcher: Fetcher, remote: RegistryShelf) -> None:
        sample = make_sample("os")
        with fetcher.resolve(remote.put("os", sample), AMD64):
            asked = [request.path.rpartition("/")[2] for request in remote.registry.received]
        assert not {str(sha256(blob)) for blob in sample.blobs} & set(asked)

    @clause("F7")
    def test_a_config_with_another_digest_is_refused(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample = make_sample("os")
        reference = shelf.put("os", sample)
        shelf.keep(sha256(sample.config), sample.config.replace(b'"os"', b'"so"', 1))
        with pytest.raises(IntegrityError), fetcher.resolve(reference, AMD64):
            pass

    @clause("F7")
    def test_a_manifest_with_another_digest_is_refused(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample, other = make_sample("os"), make_sample("other")
        reference = shelf.put_index("os", [(sample, sample.entry("amd64"))])
        shelf.add(other)
        shelf.alter_manifest(sample.digest, other.manifest)
        with pytest.raises(IntegrityError), fetcher.resolve(reference, AMD64):
            pass

    @clause("F7")
    def test_a_reference_by_digest_gets_no_other_manifest(self, fetcher: Fetcher, remote: RegistryShelf) -> None:
        sample, other = make_sample("os"), make_sample("other")
        reference = remote.put("os", sample).with_digest(sample.digest)
        remote.put("other", other)
        remote.alter_manifest(sample.digest, other.manifest)
        with pytest.raises(IntegrityError), fetcher.resolve(reference, AMD64):
            pass

    @clause("F8")
    @pytest.mark.parametrize("data", _NO_IMAGES.values(), ids=_NO_IMAGES.keys())
    def test_what_is_no_image_is_a_typed_error(self, fetcher: Fetcher, shelf: Shelf, data: bytes) -> None:
        reference = shelf.put_document("os", OCI_MANIFEST, data)
        with pytest.raises(FetchError), fetcher.resolve(reference, AMD64):
            pass

    # ------------------------------------------------------------ capabilities

    @clause("F25")
    def test_declared_capabilities_are_those_of_the_class(self, fetcher: Fetcher, shelf: Shelf) -> None:
        assert (Capability.PEEK in self.capabilities) == isinstance(fetcher, Peek)
        assert (Capability.EXPLAIN in self.capabilities) == isinstance(fetcher, Explain)
        with fetcher.resolve(shelf.put("os", make_sample("os")), AMD64) as source:
            assert (Capability.RANGES in self.capabilities) == isinstance(source, Ranges)

    @clause("F26")
    @needs(Capability.PEEK)
    def test_peek_sees_what_resolve_finds(self, fetcher: Fetcher, shelf: Shelf) -> None:
        peeking = _peeking(fetcher)
        sample = make_sample("os")
        plain, multi = shelf.put("os", sample), shelf.put_index("multi", [(sample, sample.entry("amd64"))])
        for reference in (plain, multi):
            seen = peeking.peek(reference)
            with fetcher.resolve(reference, AMD64) as source:
                assert seen in (source.image.top_digest, None)
                assert seen is not None or shelf.transport != "registry"

    @clause("F26")
    @needs(Capability.PEEK)
    def test_peek_is_one_small_request(self, fetcher: Fetcher, remote: RegistryShelf) -> None:
        reference = remote.put("os", make_sample("os"))
        _peeking(fetcher).peek(reference)
        assert [request.method for request in remote.registry.received] == ["HEAD"]

    @clause("F27")
    @needs(Capability.PEEK)
    def test_peek_of_a_digest_is_the_digest(self, fetcher: Fetcher, remote: RegistryShelf) -> None:
        sample = make_sample("os")
        reference = remote.put("os", sample).with_digest(sample.digest)
        assert _peeking(fetcher).peek(reference) == sample.digest

    @clause("F27")
    @needs(Capability.PEEK)
    def test_peek_at_nothing_is_not_found(self, fetcher: Fetcher, shelf: Shelf) -> None:
        with pytest.raises(NotFoundError):
            _peeking(fetcher).peek(shelf.missing())

    @clause("F49")
    @needs(Capability.EXPLAIN)
    def test_what_decides_is_told_and_nothing_secret(
        self, open_fetcher: OpenFetcher, context: Context, place: Place, remote: RegistryShelf
    ) -> None:
        place.log_in(remote.registry.address, "somebody", "correct horse battery")
        login = json.loads(place.authfile.read_text())["auths"][remote.registry.address]["auth"]
        with closing(open_fetcher(context, place)) as fetcher:
            told = _explaining(fetcher).explain(remote.put("os", make_sample("os")))
        everything = " ".join([*told, *told.values()])
        assert str(place.authfile) in everything
        assert str(place.policy) in everything
        assert not [secret for secret in ("correct horse battery", login) if secret in everything]
        assert remote.registry.received == []

    @clause("F49")
    @needs(Capability.EXPLAIN)
    @pytest.mark.parametrize("damaged", ["authfile", "policy"])
    def test_what_is_wrong_with_a_file_is_told_in_its_place(
        self, open_fetcher: OpenFetcher, context: Context, place: Place, remote: RegistryShelf, damaged: str
    ) -> None:
        file: Path = getattr(place, damaged)
        file.write_text('{"auths": [')
        with closing(open_fetcher(context, place)) as fetcher:
            told = _explaining(fetcher).explain(remote.put("os", make_sample("os")))
        assert [text for text in told.values() if str(file) in text]


def _explaining(fetcher: Fetcher) -> Explain:
    assert isinstance(fetcher, Explain)
    return fetcher


def _peeking(fetcher: Fetcher) -> Peek:
    assert isinstance(fetcher, Peek)
    return fetcher
