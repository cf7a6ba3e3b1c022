"""registries.d: what a file may say, and where signatures are then looked up."""

from __future__ import annotations

from pathlib import Path

import pytest
from bootc_containers.lookaside import SignatureConfiguration, is_local, local_path
from bootc_containers.names import RegistryName
from bootc_containers.places import Places

from bootc.errors import ConfigError
from bootc.image import Digest

DIGEST = Digest("sha256", "ab" * 32)


def load(root: Path, **files: str) -> SignatureConfiguration:
    folder = root / "etc/containers/registries.d"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return SignatureConfiguration.load(Places(root, {}, 0))


def lookaside(found: SignatureConfiguration, name: str) -> str:
    return found.lookaside(RegistryName.parse(name), DIGEST).removesuffix(f"@sha256={DIGEST.hex}")


def test_without_any_file_signatures_lie_where_tools_put_them(tmp_path: Path) -> None:
    found = SignatureConfiguration.load(Places(tmp_path, {}, 0))
    assert lookaside(found, "h.example/a/b:1") == "file:///var/lib/containers/sigstore/a/b"
    assert not found.uses_attachments(RegistryName.parse("h.example/a"))


SCOPES = """
default-docker:
  lookaside: https://default.example/
docker:
  h.example:
    lookaside: https://host.example
    use-sigstore-attachments: true
  h.example/a:
    lookaside-staging: file:///staging
  h.example/a/b:
    sigstore: https://old.example
  h.example/a/b:1:
    lookaside: https://tag.example
    use-sigstore-attachments: false
  "*.org":
    lookaside: https://org.example
"""


@pytest.mark.parametrize(
    ("name", "expected", "attachments"),
    [
        ("x.example/a", "https://default.example/a", False),
        ("h.example/x", "https://host.example/x", True),
        ("h.example/a/x", "https://host.example/a/x", True),
        ("h.example/a/b:2", "https://old.example/a/b", True),
        ("h.example/a/b:1", "https://tag.example/a/b", False),
        ("x.y.org:5000/a", "https://org.example/a", False),
    ],
)
def test_each_key_comes_from_the_narrowest_scope_that_has_it(
    tmp_path: Path, name: str, expected: str, attachments: bool
) -> None:
    found = load(tmp_path, a=SCOPES)
    assert lookaside(found, name) == expected
    assert found.uses_attachments(RegistryName.parse(name)) == attachments


def test_new_names_of_keys_come_before_old_ones(tmp_path: Path) -> None:
    found = load(tmp_path, a="default-docker:\n  sigstore: https://old.example\n  lookaside: https://new.example\n")
    assert lookaside(found, "h.example/a") == "https://new.example/a"


def test_empty_files_and_unknown_keys_say_nothing(tmp_path: Path) -> None:
    found = load(tmp_path, a="", b="docker:\n", c="default-docker:\n  new: 1\nnewer: 2\n")
    assert lookaside(found, "h.example/a").startswith("file:///var/lib")


INVALID = {
    "no YAML": "a: [",
    "no table": "- a",
    "docker is a list": "docker: [a]",
    "section is a text": "docker:\n  h.example: https://x.example\n",
    "lookaside is a number": "default-docker:\n  lookaside: 1\n",
    "flag is a text": "default-docker:\n  use-sigstore-attachments: 'yes'\n",
    "repeated scope": "docker:\n  h.example: {}\n  h.example: {}\n",
    "repeated key": "default-docker:\n  lookaside: a\n  lookaside: b\n",
    "list as a key": "docker:\n  ? [a]\n  : {}\n",
    "no time": "a: !!timestamp x",
    "neither true nor false": "a: !!bool x",
    "number as a scope": "docker:\n  5: {}\n",
}


@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID)
def test_a_file_that_is_not_valid_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        load(tmp_path, a=text)


def test_a_scope_stands_in_one_file_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"b\.yaml: docker\.h\.example"):
        load(tmp_path, a="docker:\n  h.example: {}\n", b="docker:\n  h.example: {}\n")
    with pytest.raises(ConfigError, match="default-docker"):
        load(tmp_path, a="default-docker: {lookaside: x}\n", b="default-docker: {lookaside: y}\n")


def test_local_addresses() -> None:
    assert [is_local(url) for url in ("file:///a b", "https://x", "file://host/x")] == [True, False, False]
    assert local_path("file:///a%20b/../c") == "/c"
