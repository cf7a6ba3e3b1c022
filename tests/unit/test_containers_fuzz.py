"""Configuration from anywhere: every text is a value or a typed error, and nothing else."""

from __future__ import annotations

import json
import string
from contextlib import suppress
from pathlib import Path
from typing import Any

from bootc_containers import policy_file
from bootc_containers.identity import require_identity
from bootc_containers.lookaside import SignatureConfiguration
from bootc_containers.names import RegistryName
from bootc_containers.payload import COSIGN, SIMPLE, Payload, Unacceptable
from bootc_containers.places import Places
from bootc_containers.registries import Registries
from bootc_containers.registries_file import parse
from bootc_containers.signatures import parse_stored
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bootc.errors import BootcError, ConfigError, PolicyError, ReferenceError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        *("prefix", "location", "insecure", "blocked", "mirror", "mirror-by-digest-only", "pull-from-mirror"),
        *(
            "registry",
            "aliases",
            "unqualified-search-registries",
            "credential-helpers",
            "short-name-mode",
            "registries",
        ),
    ]
)
NAMES = st.text(string.ascii_letters + string.digits + "._-/:@*[]%", max_size=24)


def toml(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case bool() | str():
            return json.dumps(value)
        case _:
            return str(value)


TOML = st.recursive(
    st.booleans() | st.integers(-5, 5) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=16,
)


@given(st.binary(max_size=200))
def test_bytes_as_registries_conf(data: bytes) -> None:
    with suppress(ConfigError):
        parse(data, "f")


@given(st.dictionaries(KEYS, TOML, max_size=5), NAMES)
@example({"registry": [{"prefix": "*.a", "location": "", "mirror": [{"location": "b"}]}]}, "x.a/b")
def test_tables_as_registries_conf(document: dict[str, Any], name: str) -> None:
    text = "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in document.items())
    with suppress(ConfigError, ReferenceError, PolicyError):
        file = parse(text.encode(), "f")
        found = Registries({registry.prefix: registry for registry in file.registries}, aliases=file.aliases)
        parsed = RegistryName.parse(name)
        sources = found.sources(parsed, name)
        assert [source.is_mirror for source in sources] == [True] * (len(sources) - 1) + [False]
        assert all(source.name.digest == parsed.digest for source in sources)
        found.require_unambiguous(name)


@given(JSON)
def test_values_as_policy(value: Any) -> None:
    for document in (
        value,
        {"default": value},
        {"default": [value]},
        {"default": [{"type": "reject"}], "transports": value},
    ):
        with suppress(PolicyError):
            policy_file.parse(json.dumps(document).encode(), "f")


@given(JSON, st.sampled_from([SIMPLE, COSIGN]))
def test_values_as_payload(value: Any, kind: str) -> None:
    identity = {"docker-reference": value}
    critical = {"type": kind, "image": {"docker-manifest-digest": f"sha256:{'0' * 64}"}, "identity": identity}
    for document in (
        value,
        {"critical": value, "optional": {}},
        {"critical": critical, "optional": {"timestamp": value}},
    ):
        with suppress(Unacceptable):
            payload = Payload.parse(json.dumps(document).encode(), kind)
            require_identity(None, RegistryName.parse("h.example/a:1"), payload.name)
            raise AssertionError(payload)


@given(st.binary(max_size=100))
def test_bytes_as_signature_and_payload(data: bytes) -> None:
    for form in (data, b"\0sigstore-json\n" + data, b"\0" + data):
        with suppress(PolicyError):
            parse_stored(form, "f")
    with suppress(Unacceptable):
        Payload.parse(data, SIMPLE)


@settings(max_examples=50)
@given(text=st.text(max_size=80) | JSON.map(json.dumps))
def test_texts_as_registries_d(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "etc/containers/registries.d")
        folder.mkdir(parents=True)
        (folder / "a.yaml").write_text(text, errors="surrogatepass")
        with suppress(BootcError):
            SignatureConfiguration.load(Places(Path(name), {}, 0))
