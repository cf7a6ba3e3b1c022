"""What is fuzzed: each target takes any bytes. A typed error is a good answer; any other exception is a finding."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import evolve, field, frozen
from bootc_composefs import bootc_storage_backends
from bootc_containers import policy_file
from bootc_containers.auth import CredentialSources
from bootc_containers.names import RegistryName
from bootc_containers.policy import Policy
from bootc_containers.registries import Registries
from bootc_containers.registries_file import RegistriesFile
from bootc_containers.registries_file import parse as parse_registries
from bootc_registry import bootc_fetchers as registry_fetchers
from bootc_registry.challenge import parse_challenges
from bootc_skopeo import bootc_fetchers as skopeo_fetchers

from bootc.config import Config
from bootc.errors import BootcError
from bootc.image import Digest, ImageReference, ImageSummary
from bootc.manifest import ACCEPTED, Index, Manifest, choose, diff_ids, parse
from bootc.platform import current
from tests.fuzz import archives, blobs, samples
from tests.fuzz.mutations import with_right_checksums

FOUND = Path(__file__).with_name("found")
"""inputs that once were findings, in a folder for each target"""

_LONGEST_MESSAGE = 4000
"""characters"""
_NAMES = ("h.example/a:1", "x.h.example/a/b", f"docker.io/library/x@sha256:{'0' * 64}", "fedora")
_PLUGINS = (*registry_fetchers(), *skopeo_fetchers(), *bootc_storage_backends())
_ZEROS = Digest("sha256", "0" * 64)


@frozen
class Target:
    """A parser and all that relies on what it gives."""

    check: Callable[[bytes], object]
    samples: tuple[bytes, ...]
    mend: Callable[[bytes], bytes] = field(default=bytes)
    """makes a changed input one that gets past the first check"""


def found(name: str) -> tuple[Path, ...]:
    """The findings of a target that are kept."""
    return tuple(sorted((FOUND / name).glob("*")))


def _layer(data: bytes) -> None:
    entries = archives.drain(data)
    if entries:
        archives.rewrite(data)


def _reference(data: bytes) -> None:
    with _refused():
        reference = ImageReference.parse(data[:300].decode("utf-8", "surrogateescape"))
        assert ImageReference.parse(reference.origin) == reference
        assert ImageReference.of(reference.name, reference.transport, reference.signature) == reference
        assert all((str(reference).isprintable(), reference.short, reference.display))
        assert reference.digest == reference.canonical.digest
        for other in (reference.with_tag("x"), reference.with_digest(_ZEROS)):
            assert ImageReference.parse(str(other)).name == other.name
        if reference.transport == "registry":
            _registry_name(reference)


def _registry_name(reference: ImageReference) -> None:
    name = RegistryName.parse(reference.name)
    assert RegistryName.parse(f"{name.repository}@{_ZEROS}").repository == name.repository
    assert RegistryName.parse(reference.with_tag("x").name) == evolve(name, tag="x", digest=None)
    assert RegistryName.parse(reference.with_digest(_ZEROS).name) == evolve(name, tag=None, digest=_ZEROS)
    assert RegistryName.parse(reference.canonical.name) == (evolve(name, tag=None) if name.digest else name)
    assert reference.canonical.canonical == reference.canonical


def _manifest(data: bytes) -> None:
    results = []
    for media_type in (None, *ACCEPTED):
        with _refused():
            results.append(parse(data, media_type, "f"))
    assert all(result == results[0] for result in results)
    for result in results[:1]:
        match result:
            case Index():
                with _refused():
                    assert choose(result, current(), "f") in [entry.descriptor for entry in result.entries]
            case Manifest():
                assert all(isinstance(layer.size, int) and str(layer.digest) for layer in result.layers)
                with _refused():
                    assert len(diff_ids(data, result, "f")) == len(result.layers)
    summary = ImageSummary(_ZEROS, data, data)
    assert all(map(str, (summary.labels, summary.layer_sizes, f"{summary.created}{summary.version}")))
    assert isinstance(summary.architecture, str)


def _configuration(data: bytes) -> None:
    with _file(data) as path, suppress(BootcError):
        config = Config.load(Path("/nowhere"), path)
        assert all(value.key and value.source for value in config.values(_PLUGINS))
        assert all(section.name is not None for section in config.sections())
        for plugin in _PLUGINS:
            with suppress(BootcError):
                config.options(plugin)


def _registries(data: bytes) -> None:
    for is_drop_in in (False, True):
        with suppress(BootcError):
            _use(parse_registries(data, "f", is_drop_in=is_drop_in))


def _use(file: RegistriesFile) -> None:
    table = Registries({registry.prefix: registry for registry in file.registries}, aliases=file.aliases)
    for name in (*_NAMES, *(f"{registry.prefix}/x" for registry in file.registries)):
        with suppress(BootcError):
            table.require_unambiguous(name)
        with suppress(BootcError):
            parsed = RegistryName.parse(name)
            sources = table.sources(parsed, name)
            assert [source.is_mirror for source in sources] == [True] * (len(sources) - 1) + [False]
            assert all(source.name.digest == parsed.digest for source in sources)


def _policy(data: bytes) -> None:
    with suppress(BootcError):
        default, transports = policy_file.parse(data, "f")
        assert all((default, *(scope for table in transports.values() for scope in table.values())))
        policy = Policy(Path("/nowhere/policy.json"), default, transports, Path("/nowhere"))
        for text in (
            *(f"docker://{name}" for name in _NAMES),
            "oci:/a/b:c",
            "ostree-image-signed:docker://h.example/a",
        ):
            with suppress(BootcError):
                policy.decide(ImageReference.parse(text))


def _credentials(data: bytes) -> None:
    """Helpers are named by `whence`, which runs none."""
    with _file(data) as path:
        sources = CredentialSources(path, environment={})
        for name in ("h.example/a/b", "docker.io/library/x", "third.example/a", "other.example:5000/a"):
            with suppress(BootcError):
                where = sources.whence(name)
                if not where.startswith("docker-credential-"):
                    credentials = sources.lookup(name)
                    assert (credentials is None) == where.startswith("none")


def _challenge(data: bytes) -> None:
    for challenge in parse_challenges(data.decode("latin-1")):
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert all(key == key.lower() for key in challenge.parameters)


TARGETS: Mapping[str, Target] = {
    "layers": Target(_layer, (archives.VALID,), with_right_checksums),
    "streams": Target(blobs.check_stream, blobs.streams()),
    "tables": Target(blobs.check_table, (blobs.sample().table,)),
    "records": Target(blobs.check_record, (blobs.sample().record,)),
    "references": Target(_reference, samples.REFERENCES),
    "manifests": Target(_manifest, samples.MANIFESTS),
    "configuration": Target(_configuration, samples.CONFIGURATIONS),
    "registries": Target(_registries, samples.REGISTRIES),
    "policy": Target(_policy, samples.POLICIES),
    "credentials": Target(_credentials, samples.AUTHS),
    "challenges": Target(_challenge, samples.CHALLENGES),
}


@contextmanager
def _refused() -> Iterator[None]:
    """Errors of ours. What is hostile stands in them neither whole nor as it is."""
    try:
        yield
    except BootcError as error:
        _require_plain(error.message)


def _require_plain(message: str) -> None:
    assert message.isprintable(), repr(message)
    assert 0 < len(message) < _LONGEST_MESSAGE, message[:_LONGEST_MESSAGE]


@contextmanager
def _file(data: bytes) -> Iterator[Path]:
    descriptor = os.memfd_create("input")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
