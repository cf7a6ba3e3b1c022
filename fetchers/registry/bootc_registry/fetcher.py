"""The fetcher: from a reference to the right kind of source."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

from attrs import evolve
from bootc_containers.auth import CredentialSources
from bootc_containers.explanation import Configuration
from bootc_containers.lookaside import SignatureConfiguration
from bootc_containers.names import RegistryName
from bootc_containers.places import Places
from bootc_containers.policy import Policy
from bootc_containers.registries import PullSource, Registries
from bootc_containers.signatures import NoSignatures
from bootc_containers.verification import Decision

from bootc.fetcher import Explain, Fetcher, Peek, Source
from bootc.hookspec import Context
from bootc.image import Digest, ImageReference
from bootc.platform import Platform
from bootc_registry import layout, registry_source
from bootc_registry.assemble import Accept
from bootc_registry.client import RegistryClient
from bootc_registry.endpoint import Endpoint
from bootc_registry.exchange import Http
from bootc_registry.options import RegistryOptions
from bootc_registry.realms import RememberedRealms
from bootc_registry.registry_source import Place
from bootc_registry.signature_store import RegistrySignatures
from bootc_registry.waiting import Waiting


class RegistryFetcher(Fetcher, Peek, Explain):
    """Images from registries and from files. `root` is where configuration of container tools is read."""

    def __init__(self, context: Context, options: RegistryOptions, root: Path = Path("/")) -> None:
        self._context, self._options, self._root = context, options, root
        self._waiting = Waiting(context.check_cancelled)
        self._http = Http(options, self._waiting, self._is_insecure, context.report, root)
        self._realms = RememberedRealms(context.machine.run)
        self._clients: dict[tuple[Endpoint, str], RegistryClient] = {}
        self._lock = threading.Lock()

    @contextmanager
    def resolve(self, reference: ImageReference, platform: Platform) -> Iterator[Source]:
        """The policy is asked before anything is fetched, and again once the manifests are known."""
        decision = Policy.load(self._root).decide(reference)
        if reference.transport == "registry":
            places = self._places(reference)
            accept = partial(self._acceptance, decision)
            yield registry_source.resolve(places, reference, platform, accept)
            return
        with layout.open_layout(reference) as opened:
            yield layout.resolve(opened, reference, platform, decision)

    def peek(self, reference: ImageReference) -> Digest | None:
        """No request at all for a reference by digest, and for files."""
        if reference.transport == "registry":
            return registry_source.peek(self._places(reference))
        with layout.open_layout(reference) as opened:
            return opened.peek()

    def explain(self, reference: ImageReference) -> Mapping[str, str]:
        """What the files of container tools say of this image."""
        places, insecure = Places(self._root), self._options.insecure
        return Configuration(places, self._credential_files, insecure).explain(reference)

    def close(self) -> None:
        """Threads that wait for a server are woken; they get CancelledError."""
        self._waiting.close()
        self._http.close()

    @cached_property
    def _registries(self) -> Registries:
        return Registries.load(Places(self._root))

    @cached_property
    def _credentials(self) -> CredentialSources:
        return evolve(self._credential_files, helpers=self._registries.helpers)

    @property
    def _credential_files(self) -> CredentialSources:
        explicit = Path(self._options.authfile) if self._options.authfile else None
        return CredentialSources(explicit, self._options.podman_credentials, self._root)

    def _acceptance(self, decision: Decision, place: Place) -> Accept:
        if not decision.needs_signatures:
            return partial(decision.verify, store=NoSignatures())
        configuration = SignatureConfiguration.load(Places(self._root))
        store = RegistrySignatures(place.client, place.name, self._http, configuration)
        return partial(decision.verify, store=store)

    def _is_insecure(self, authority: str) -> bool:
        return self._options.is_insecure(authority) or self._registries.is_insecure(authority)

    def _places(self, reference: ImageReference) -> tuple[Place, ...]:
        """Mirrors, then the image's own registry. Raises PolicyError for what is blocked."""
        self._registries.require_unambiguous(reference.name)
        sources = self._registries.sources(RegistryName.parse(reference.name), reference.display)
        return tuple(Place(self._client(reference, source), source.name) for source in sources)

    def _client(self, reference: ImageReference, source: PullSource) -> RegistryClient:
        """One for each image and server, so that its token serves both `peek` and `resolve`."""
        repository = source.name.repository
        is_insecure = source.is_insecure or self._options.is_insecure(repository.domain)
        endpoint = Endpoint(repository, is_insecure, source.is_mirror)
        with self._lock:
            known = self._clients.get((endpoint, reference.display))
            if known is None:
                known = self._clients[endpoint, reference.display] = RegistryClient(
                    endpoint,
                    reference.display,
                    self._options,
                    self._http,
                    self._waiting,
                    self._credentials.lookup,
                    self._realms,
                    self._context.report,
                )
            return known
