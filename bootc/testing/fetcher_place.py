"""The surroundings of a fetcher under test: a registry, a layout, credentials, a signature policy."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, TypeAlias

import pytest
from attrs import define, field, frozen

from bootc.durable import DirectoryVolume
from bootc.errors import CancelledError
from bootc.events import Event
from bootc.fetcher import Fetcher, Source
from bootc.hookspec import Context
from bootc.image import Descriptor
from bootc.machine import Machine
from bootc.platform import Platform
from bootc.streams import FetchedLayers
from bootc.testing.fetcher_images import LayoutShelf, RegistryShelf, Shelf
from bootc.testing.registry import FakeRegistry
from bootc.testing.suite import ConformanceSuite

AMD64 = Platform("x86_64", "amd64", (), "x86_64", "", "x64")
ARM64 = Platform("aarch64", "arm64", ("v8",), "aarch64", "", "aa64")
PATIENCE = 20.0
"""seconds in which a fetcher that was told to stop must have stopped"""

ACCEPT = "insecureAcceptAnything"
_SHELVES = ("registry", "oci")
_DISTURBING = ("REGISTRY_AUTH_FILE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@frozen
class Place:
    """What a fetcher under test is told beyond its context. All files are there."""

    insecure: tuple[str, ...]
    """HOST:PORT of the registries that speak plain HTTP"""
    authfile: Path
    """credentials, containers-auth.json(5); nobody's to begin with"""
    policy: Path
    """signature policy, containers-policy.json(5), also in $CONTAINERS_POLICY_JSON; accepts anything to begin with"""
    configuration: Path
    """$XDG_CONFIG_HOME: a person's `containers/certs.d` (containers-certs.d(5)), and nothing else"""
    silence: float = 10.0
    """seconds without a byte after which the fetcher is to give up a try, if that can be configured"""

    @property
    def options(self) -> Mapping[str, object]:
        """The same for a fetcher whose options have these names, and to be quick with new tries."""
        waiting = {"read_timeout": self.silence, "connect_timeout": self.silence, "retries": 2, "backoff": 0.01}
        return {"insecure": self.insecure, "authfile": str(self.authfile), **waiting}

    def trust(self, address: str, authority: Path) -> None:
        """Trust this authority's certificates (PEM) on connections to HOST:PORT."""
        folder = self.configuration / "containers/certs.d" / address
        folder.mkdir(parents=True)
        (folder / "authority.crt").write_bytes(authority.read_bytes())

    def log_in(self, address: str, user: str, password: str) -> None:
        """Put credentials for a registry into the file."""
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.authfile.write_text(json.dumps({"auths": {address: {"auth": login}}}))

    def set_policy(self, default: str, **transports: object) -> None:
        """Write a policy: the type of its default requirement, and its `transports`."""
        self.policy.write_text(json.dumps({"default": [{"type": default}], "transports": transports}))


@define
class Listener:
    """The core's side of a context: it keeps events, and can ask to stop."""

    events: list[Event] = field(factory=list)
    is_cancelled: threading.Event = field(factory=threading.Event)

    def check_cancelled(self) -> None:
        """Raises CancelledError once `is_cancelled` is set."""
        if self.is_cancelled.is_set():
            raise CancelledError


OpenFetcher: TypeAlias = Callable[[Context, Place], Fetcher]


class FetcherFixtures(ConformanceSuite):
    """What every clause starts from."""

    transports: ClassVar[Collection[str]] = _SHELVES
    """those of the fetcher; images are served by `registry` and by `oci`"""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Clauses that need no particular transport are tested with each that the fetcher has."""
        if "shelf" in metafunc.fixturenames:
            served = [transport for transport in _SHELVES if transport in self.transports]
            metafunc.parametrize("shelf", served, indirect=True)
        if "remote" in metafunc.fixturenames and "registry" not in self.transports:
            skipped = pytest.param("registry", marks=pytest.mark.undeclared("transport registry"))
            metafunc.parametrize("remote", [skipped], indirect=True)

    @pytest.fixture
    def open_fetcher(self) -> OpenFetcher:
        """Opens the fetcher; the one thing that a suite of somebody must bring along."""
        raise NotImplementedError(f"{type(self).__name__} has no fixture `open_fetcher`")

    @pytest.fixture
    def registry(self) -> Iterator[FakeRegistry]:
        """A registry on loopback."""
        with FakeRegistry() as registry:
            yield registry

    @pytest.fixture
    def place(self, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
        """Files of this test only; the environment's are out of sight."""
        place = Place((registry.address,), tmp_path / "auth.json", tmp_path / "policy.json", tmp_path / "configuration")
        place.authfile.write_text("{}")
        place.set_policy(ACCEPT)
        for name in _DISTURBING:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv("CONTAINERS_POLICY_JSON", str(place.policy))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(place.configuration))
        return place

    @pytest.fixture
    def shelf(self, request: pytest.FixtureRequest, registry: FakeRegistry, tmp_path: Path) -> Shelf:
        """Where images of one of the fetcher's transports stand."""
        return RegistryShelf(registry) if request.param == "registry" else LayoutShelf(tmp_path / "layout")

    @pytest.fixture
    def remote(self, registry: FakeRegistry) -> RegistryShelf:
        """The shelf of clauses that are about registries."""
        return RegistryShelf(registry)

    @pytest.fixture
    def listener(self) -> Listener:
        """The core's side of `context`."""
        return Listener()

    @pytest.fixture
    def context(self, listener: Listener, tmp_path: Path) -> Context:
        """As the core hands it out, on a machine that is an empty directory."""
        (tmp_path / "machine").mkdir()
        machine = Machine(DirectoryVolume(tmp_path / "machine"), PurePosixPath("state"))
        return Context(machine, listener.events.append, listener.check_cancelled)

    @pytest.fixture
    def fetcher(self, open_fetcher: OpenFetcher, context: Context, place: Place) -> Iterator[Fetcher]:
        """The fetcher under test."""
        with closing(open_fetcher(context, place)) as fetcher:
            yield fetcher


def read(source: Source, blob: Descriptor, start: int = 0, size: int = 20_000) -> bytes:
    """A blob from an offset to its end, in pieces."""
    with source.open_blob(blob, start) as stream:
        return b"".join(iter(lambda: stream.read(size), b""))


def is_same(found: object, expected: object) -> bool:
    """Whether they are equal, with no account of how they differ: pytest takes minutes for one, where `CI` is set."""
    return found == expected


def imported(source: Source, spool: Path, listener: Listener) -> tuple[str, ...]:
    """Read all layers as the core does, with all its checks; the digests of their contents, decompressed."""
    spool.mkdir()
    layers, found = source.image.layers, []
    with FetchedLayers(source, layers, spool, listener.events.append, listener.check_cancelled) as fetched:
        for layer in layers:
            content = hashlib.sha256()
            with fetched.open(layer) as stream:
                while data := stream.read(1 << 18):
                    content.update(data)
            found.append(f"sha256:{content.hexdigest()}")
    return tuple(found)


@define
class Task:
    """Work in a thread of its own, for what may hang; daemons do not keep the test run."""

    work: Callable[[], Any]
    error: BaseException | None = None
    _thread: threading.Thread | None = None

    def start(self) -> Task:
        """Begin."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def wait(self) -> None:
        """Wait for the end; fails the test if there is none in time."""
        assert self._thread is not None
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"no end within {PATIENCE} seconds"

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # the test looks at it
            self.error = error
