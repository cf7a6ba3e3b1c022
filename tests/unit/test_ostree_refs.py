"""Names of refs: the escaping that upstream's container store uses."""

from __future__ import annotations

import pytest
from bootc_ostree import refs
from hypothesis import given
from hypothesis import strategies as st

from bootc.errors import ReferenceError
from bootc.image import Digest, ImageReference

PAIRS = [
    ("registry:host.example/a/b:latest", "registry_3A_host_2E_example/a/b_3A_latest"),
    ("docker://registry.example/os/base:v1", "docker_3A__2F__2F_registry_2E_example/os/base_3A_v1"),
    ("/", "_2F_"),
    ("blah/", "blah_2F_"),
    ("/foo/", "_2F_foo_2F_"),
    ("a//b", "a/_2F_b"),
    ("a_/b", "a___2F_b"),
    ("a-/b", "a-_2F_b"),
    ("\n", "_0A_"),
    ("日", "_65E5_"),
]


@pytest.mark.parametrize(("text", "name"), PAIRS)
def test_known_texts_are_escaped_as_upstream_escapes_them(text: str, name: str) -> None:
    assert (refs.escape(text), refs.unescape(name)) == (name, text)


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1))
def test_escaping_can_be_undone(text: str) -> None:
    name = refs.escape(text)
    assert refs.unescape(name) == text
    assert all(part for part in name.split("/"))


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_what_no_ref_can_name_is_refused(text: str) -> None:
    with pytest.raises(ReferenceError):
        refs.escape(text)


@pytest.mark.parametrize("name", ["a.b", "_", "a_ZZ_", "_110000_", "a b"])
def test_a_name_that_escaping_cannot_give_is_refused(name: str) -> None:
    with pytest.raises(ReferenceError):
        refs.unescape(name)


def test_the_signature_plays_no_part_in_the_ref_of_an_image() -> None:
    signed = ImageReference.parse("ostree-image-signed:docker://registry.example/os:v1")
    plain = ImageReference.parse("ostree-unverified-registry:registry.example/os:v1")
    expected = "ostree/container/image/docker_3A__2F__2F_registry_2E_example/os_3A_v1"
    assert {refs.image_ref(signed), refs.image_ref(plain)} == {expected}


def test_a_layer_is_named_by_its_digest() -> None:
    digest = Digest("sha256", "ab" * 32)
    assert refs.blob_ref(digest) == f"ostree/container/blob/sha256_3A_{'ab' * 32}"
