"""Digests and image references in all their spellings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootc.errors import ReferenceError
from bootc.image import TRANSPORTS, Digest, ImageReference

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize("text", [SHA256, SHA512])
def test_digests_are_read_and_written(text: str) -> None:
    digest = Digest.parse(text)

    assert (str(digest), digest.short) == (text, "0123456789ab")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("sha256", id="no colon"),
        pytest.param("sha256:", id="no digits"),
        pytest.param(SHA256[:-1], id="one digit short"),
        pytest.param(SHA256 + "0", id="one digit more"),
        pytest.param(SHA256.upper(), id="upper case"),
        pytest.param("sha256:" + "A" * 64, id="upper case digits"),
        pytest.param("SHA256:" + "a" * 64, id="upper case algorithm"),
        pytest.param("md5:" + "0" * 32, id="md5"),
        pytest.param("sha384:" + "0" * 96, id="sha384"),
        pytest.param("sha512:" + "0" * 64, id="length of another"),
        pytest.param("sha256:" + "../" * 21 + "x", id="path"),
        pytest.param("../../x", id="only path"),
        pytest.param("sha256:" + "0" * 63 + "/", id="slash"),
        pytest.param("sha256:" + "0" * 63 + "\n", id="newline"),
        pytest.param(SHA256 + "\n", id="newline after"),
        pytest.param(" " + SHA256, id="space"),
        pytest.param("sha256:" + "٠" * 64, id="arabic digits"),
        pytest.param("sha256:" + "0" * 62 + "\0" * 2, id="nul"),
        pytest.param("sha256+b64:" + "0" * 64, id="compound"),
        pytest.param(SHA256 + ":" + "0" * 3, id="second colon"),
    ],
)
def test_other_texts_are_no_digests(text: str) -> None:
    with pytest.raises(ReferenceError, match="not a sha256 or sha512 digest"):
        Digest.parse(text)


def test_a_long_text_is_not_repeated_whole() -> None:
    with pytest.raises(ReferenceError) as caught:
        Digest.parse("x" * 100_000)

    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("text", "reference", "origin", "short"),
    [
        pytest.param(
            "docker://quay.io/os/os:1",
            ImageReference("registry", "quay.io/os/os:1"),
            "ostree-unverified-registry:quay.io/os/os:1",
            "quay.io/os/os:1",
            id="docker",
        ),
        pytest.param(
            "registry:quay.io/os/os",
            ImageReference("registry", "quay.io/os/os"),
            "ostree-unverified-registry:quay.io/os/os",
            "quay.io/os/os",
            id="registry",
        ),
        pytest.param(
            "ostree-unverified-registry:localhost:5000/os:1",
            ImageReference("registry", "localhost:5000/os:1"),
            "ostree-unverified-registry:localhost:5000/os:1",
            "localhost:5000/os:1",
            id="unverified registry with port",
        ),
        pytest.param(
            "ostree-unverified-image:docker://quay.io/os",
            ImageReference("registry", "quay.io/os"),
            "ostree-unverified-registry:quay.io/os",
            "quay.io/os",
            id="unverified image of a registry",
        ),
        pytest.param(
            "ostree-unverified-image:registry:quay.io/os",
            ImageReference("registry", "quay.io/os"),
            "ostree-unverified-registry:quay.io/os",
            "quay.io/os",
            id="unverified image of registry:",
        ),
        pytest.param(
            "ostree-unverified-image:oci:/srv/os dir:1",
            ImageReference("oci", "/srv/os dir:1"),
            "ostree-unverified-image:oci:/srv/os dir:1",
            "ostree-unverified-image:oci:/srv/os dir:1",
            id="directory",
        ),
        pytest.param(
            "ostree-image-signed:docker://quay.io/os",
            ImageReference("registry", "quay.io/os", "containerPolicy"),
            "ostree-image-signed:docker://quay.io/os",
            "ostree-image-signed:docker://quay.io/os",
            id="signed",
        ),
        pytest.param(
            "ostree-image-signed:registry:quay.io/os",
            ImageReference("registry", "quay.io/os", "containerPolicy"),
            "ostree-image-signed:docker://quay.io/os",
            "ostree-image-signed:docker://quay.io/os",
            id="signed, other spelling",
        ),
        pytest.param(
            "ostree-image-signed:oci-archive:/x.tar",
            ImageReference("oci-archive", "/x.tar", "containerPolicy"),
            "ostree-image-signed:oci-archive:/x.tar",
            "ostree-image-signed:oci-archive:/x.tar",
            id="signed archive",
        ),
        pytest.param(
            "ostree-remote-registry:fedora:quay.io/os:1",
            ImageReference("registry", "quay.io/os:1", "ostreeRemote:fedora"),
            "ostree-remote-registry:fedora:quay.io/os:1",
            "ostree-remote-registry:fedora:quay.io/os:1",
            id="remote registry",
        ),
        pytest.param(
            "ostree-remote-image:fedora:docker://quay.io/os",
            ImageReference("registry", "quay.io/os", "ostreeRemote:fedora"),
            "ostree-remote-registry:fedora:quay.io/os",
            "ostree-remote-registry:fedora:quay.io/os",
            id="remote image of a registry",
        ),
        pytest.param(
            "ostree-remote-image:fedora-42.x:oci:/srv/os",
            ImageReference("oci", "/srv/os", "ostreeRemote:fedora-42.x"),
            "ostree-remote-image:fedora-42.x:oci:/srv/os",
            "ostree-remote-image:fedora-42.x:oci:/srv/os",
            id="remote image",
        ),
        pytest.param(
            "containers-storage:[overlay@/var/lib+/run]localhost/os:1",
            ImageReference("containers-storage", "[overlay@/var/lib+/run]localhost/os:1"),
            "ostree-unverified-image:containers-storage:[overlay@/var/lib+/run]localhost/os:1",
            "ostree-unverified-image:containers-storage:[overlay@/var/lib+/run]localhost/os:1",
            id="storage",
        ),
        pytest.param(
            f"docker://quay.io/os@{SHA256}",
            ImageReference("registry", f"quay.io/os@{SHA256}"),
            f"ostree-unverified-registry:quay.io/os@{SHA256}",
            f"quay.io/os@{SHA256}",
            id="digest",
        ),
        pytest.param(
            "docker-daemon:os:1",
            ImageReference("docker-daemon", "os:1"),
            "ostree-unverified-image:docker-daemon:os:1",
            "ostree-unverified-image:docker-daemon:os:1",
            id="daemon",
        ),
    ],
)
def test_spellings(text: str, reference: ImageReference, origin: str, short: str) -> None:
    assert ImageReference.parse(text) == reference
    assert (reference.origin, reference.short) == (origin, short)
    assert ImageReference.parse(reference.origin) == reference


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "no transport", id="empty"),
        pytest.param("quay.io/os", "no transport", id="bare name"),
        pytest.param("quay.io/os:1", "unknown transport 'quay.io/os'", id="bare name with tag"),
        pytest.param("docker:quay.io/os", "unknown transport 'docker'", id="docker without slashes"),
        pytest.param("docker://", "empty name", id="docker without name"),
        pytest.param("registry:", "empty name", id="registry without name"),
        pytest.param("oci:", "empty name", id="oci without name"),
        pytest.param("ftp:x", "unknown transport 'ftp'", id="transport"),
        pytest.param("Registry:x", "unknown transport 'Registry'", id="upper case"),
        pytest.param("ostree-unverified-registry:", "empty name", id="unverified without name"),
        pytest.param("ostree-unverified-image:quay.io/os", "no transport", id="unverified image without transport"),
        pytest.param("ostree-image-signed:", "no transport", id="signed without anything"),
        pytest.param("ostree-remote-registry:", "not a name of an ostree remote", id="no remote"),
        pytest.param("ostree-remote-registry:fedora", "empty name", id="remote without name"),
        pytest.param("ostree-remote-registry:fedora:", "empty name", id="remote with empty name"),
        pytest.param("ostree-remote-image:a b:docker://x", "not a name of an ostree remote", id="remote with space"),
        pytest.param("ostree-remote-image:../x:docker://x", "not a name of an ostree remote", id="remote with path"),
        pytest.param("ostree-image-signed:ostree-image-signed:docker://x", "unknown transport", id="twice"),
        pytest.param("docker://a b", "cannot be part of a name", id="space"),
        pytest.param("docker://a\nb", "cannot be part of a name", id="newline"),
        pytest.param("docker://a\0b", "cannot be part of a name", id="nul"),
        pytest.param("docker://a\x1b[31m", "cannot be part of a name", id="escape"),
        pytest.param("docker://a\u202eb", "cannot be part of a name", id="text direction"),
        pytest.param("docker://a\udc80", "cannot be part of a name", id="not UTF-8"),
        pytest.param("oci:/a\nb", "cannot be part of a name", id="newline in a path"),
        pytest.param("docker://x@sha256:abc", "not a sha256 or sha512 digest", id="short digest"),
        pytest.param("docker://x@", "not a sha256 or sha512 digest", id="empty digest"),
        pytest.param(f"docker://x@{SHA256}@{SHA256}", "not a sha256 or sha512 digest", id="two digests"),
        pytest.param("docker://user:secret@host/x", "not a sha256 or sha512 digest", id="password"),
    ],
)
def test_other_texts_are_no_references(text: str, problem: str) -> None:
    with pytest.raises(ReferenceError) as caught:
        ImageReference.parse(text)

    assert problem in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("signature", "stored"),
    [
        (None, None),
        ("insecure", None),
        ("containerPolicy", "containerPolicy"),
        ("ostreeRemote:fedora", "ostreeRemote:fedora"),
    ],
)
def test_signatures_of_the_status_document(signature: str | None, stored: str | None) -> None:
    assert ImageReference.of("quay.io/os", signature=signature) == ImageReference("registry", "quay.io/os", stored)


@pytest.mark.parametrize(
    "signature", ["", "containerpolicy", "ostreeRemote", "ostreeRemote:", "ostreeRemote:a/b", "x:y"]
)
def test_other_signatures_are_refused(signature: str) -> None:
    with pytest.raises(ReferenceError):
        ImageReference.of("quay.io/os", signature=signature)


def test_an_unknown_transport_of_the_status_document_is_refused() -> None:
    with pytest.raises(ReferenceError) as caught:
        ImageReference.of("x", "ftp")

    assert caught.value.hint == f"known: {', '.join(TRANSPORTS)}"


@given(
    st.sampled_from(TRANSPORTS),
    st.text([chr(code) for code in range(33, 127) if chr(code) != "@"], min_size=1, max_size=20),
    st.sampled_from([None, "containerPolicy", "ostreeRemote:fedora"]),
)
def test_every_reference_survives_its_origin_and_its_own_text(transport: str, name: str, signature: str | None) -> None:
    reference = ImageReference(transport, name, signature)

    assert ImageReference.parse(reference.origin) == reference
    assert ImageReference.parse(str(reference)) == ImageReference(transport, name)


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_a_reference_error(text: str) -> None:
    try:
        reference = ImageReference.parse(text)
    except ReferenceError:
        return
    assert ImageReference.parse(reference.origin) == reference


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("quay.io/os:1", "quay.io/os:1"),
        (f"quay.io/os@{SHA256}", f"quay.io/os@{SHA256}"),
        (f"quay.io/os:1@{SHA256}", f"quay.io/os@{SHA256}"),
        (f"localhost:5000/os:1@{SHA256}", f"localhost:5000/os@{SHA256}"),
        (f"localhost:5000/os@{SHA256}", f"localhost:5000/os@{SHA256}"),
    ],
)
def test_a_digest_makes_a_tag_superfluous(name: str, canonical: str) -> None:
    assert ImageReference.of(name).canonical == ImageReference.of(canonical)


def test_other_transports_are_canonical_as_they_are() -> None:
    reference = ImageReference.of(f"os:1@{SHA256}", "containers-storage")

    assert (reference.canonical, reference.digest) == (reference, None)


def test_the_digest_of_a_reference() -> None:
    assert ImageReference.of(f"quay.io/os:1@{SHA256}").digest == Digest.parse(SHA256)
    assert ImageReference.of("quay.io/os:1").digest is None


@pytest.mark.parametrize(
    ("transport", "name", "tagged"),
    [
        ("registry", "quay.io/os", "quay.io/os:2"),
        ("registry", "quay.io/os:1", "quay.io/os:2"),
        ("registry", f"quay.io/os:1@{SHA256}", "quay.io/os:2"),
        ("registry", "localhost:5000/os", "localhost:5000/os:2"),
        ("registry", "localhost:5000/os:1", "localhost:5000/os:2"),
        ("containers-storage", "localhost/os:1", "localhost/os:2"),
        ("oci", "/srv/os:1", "/srv/os:2"),
    ],
)
def test_another_tag(transport: str, name: str, tagged: str) -> None:
    reference = ImageReference.of(name, transport, "containerPolicy")

    assert reference.with_tag("2") == ImageReference.of(tagged, transport, "containerPolicy")


@pytest.mark.parametrize("tag", ["", "-x", ".x", "a/b", "a:b", "a b", "a\n", "é", "x" * 129])
def test_what_is_no_tag(tag: str) -> None:
    with pytest.raises(ReferenceError, match="not a tag"):
        ImageReference.of("quay.io/os").with_tag(tag)


def test_another_digest() -> None:
    digest = Digest.parse(SHA256)

    assert ImageReference.of("localhost:5000/os:1").with_digest(digest).name == f"localhost:5000/os@{SHA256}"
    assert ImageReference.of("/srv/os:1", "oci").with_digest(digest).name == "/srv/os:1"


@pytest.mark.parametrize(
    ("reference", "display"),
    [
        (ImageReference.of("quay.io/os:1", signature="containerPolicy"), "quay.io/os:1"),
        (ImageReference.of("/srv/os", "oci"), "oci:/srv/os"),
    ],
)
def test_the_text_of_the_status(reference: ImageReference, display: str) -> None:
    assert reference.display == display
