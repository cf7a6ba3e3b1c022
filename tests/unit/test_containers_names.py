"""Names of images in registries."""

from __future__ import annotations

import pytest
from bootc_containers.names import RegistryName, Repository

from bootc.errors import ReferenceError
from bootc.image import Digest

HEX = "ab" * 32
DIGEST = Digest("sha256", HEX)


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest"),
    [
        ("debian", "docker.io", "library/debian", "latest", None),
        ("debian:12", "docker.io", "library/debian", "12", None),
        ("user/app", "docker.io", "user/app", "latest", None),
        ("docker.io/debian", "docker.io", "library/debian", "latest", None),
        ("index.docker.io/debian", "docker.io", "library/debian", "latest", None),
        ("quay.io/a/b/c:v1", "quay.io", "a/b/c", "v1", None),
        ("localhost/os", "localhost", "os", "latest", None),
        ("localhost:5000/os:T_1.2-x", "localhost:5000", "os", "T_1.2-x", None),
        ("HOST/os", "HOST", "os", "latest", None),
        ("[::1]:5000/os", "[::1]:5000", "os", "latest", None),
        ("h.example/a.b_c__d--e", "h.example", "a.b_c__d--e", "latest", None),
        (f"h.example/os@sha256:{HEX}", "h.example", "os", None, DIGEST),
        (f"h.example/os:tag@sha256:{HEX}", "h.example", "os", "tag", DIGEST),
        (f"os@sha512:{HEX}{HEX}", "docker.io", "library/os", None, Digest("sha512", HEX * 2)),
    ],
)
def test_a_name_is_taken_apart(text: str, domain: str, path: str, tag: str | None, digest: Digest | None) -> None:
    assert RegistryName.parse(text) == RegistryName(Repository(domain, path), tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/os",
        "h.example/",
        "h.example/OS",
        "h.example/a//b",
        "h.example/a/../b",
        "h.example/.a",
        "h.example/a-",
        "h.example/a___b",
        "h.example/a:",
        "h.example/a:" + "x" * 129,
        "h.example/a:-x",
        "h.example:99999999/a",
        "h_x.example/a",
        "-h.example/a",
        "user@h.example/a",
        "h.example/a@",
        "h.example/a@sha256:" + "AB" * 32,
        "h.example/a@sha256:" + "ab" * 31,
        "h.example/a@md5:" + "ab" * 16,
        f"h.example/a@sha256:{HEX}@sha256:{HEX}",
        HEX,
        "h.example/" + "a" * 256,
        "h.example/a?b",
        "h.example/a%2e",
        "h.example/a\n",
        "h.example\n/a",
        "h.example/ä",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ReferenceError):
        RegistryName.parse(text)


def test_docker_hub_is_spoken_to_at_another_host() -> None:
    assert RegistryName.parse("debian").repository.authority == "registry-1.docker.io"
    assert RegistryName.parse("h.example:80/debian").repository.authority == "h.example:80"


def test_the_digest_selects_where_there_is_one() -> None:
    names = (f"h.example/os:tag@sha256:{HEX}", "h.example/os:tag", "h.example/os")
    assert [RegistryName.parse(name).selector for name in names] == [f"sha256:{HEX}", "tag", "latest"]
