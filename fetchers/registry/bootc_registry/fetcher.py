"""The fetcher: from a reference to the right kind of source."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootc_containers.auth import CredentialSources
from bootc_containers.names import RegistryName, Repository
from bootc_containers.policy import Policy

from bootc.fetcher import Fetcher, Peek, Source
from bootc.hookspec import Context
from bootc.image import Digest, ImageReference
from bootc.platform import Platform
from bootc_registry import layout, registry_source
from bootc_registry.client import RegistryClient
from bootc_registry.exchange import Http
from bootc_registry.options import RegistryOptions
from bootc_registry.realms import RememberedRealms
from bootc_registry.waiting import Waiting


class RegistryFetcher(Fetcher, Peek):
    """Images from registries and from files. `root` is where configuration of container tools is read."""

    def __init__(self, context: Context, options: RegistryOptions, root: Path = Path("/")) -> None:
        self._context, self._options, self._root = context, options, root
        self._waiting = Waiting(context.check_cancelled)
        self._http = Http(options, self._waiting, root)
        self._credentials = CredentialSources(
            Path(options.authfile) if options.authfile else None, options.podman_credentials, root
        )
        self._realms = RememberedRealms(context.machine.run)
        self._clients: dict[tuple[Repository, str], RegistryClient] = {}
        self._lock = threading.Lock()

    @contextmanager
    def resolve(self, reference: ImageReference, platform: Platform) -> Iterator[Source]:
        """The policy is asked before anything is fetched."""
        verdict = Policy.load(self._root).require(reference)
        if reference.transport == "registry":
            name = RegistryName.parse(reference.name)
            client = self._client(reference, name.repository)
            yield registry_source.resolve(client, reference, name, platform, verdict)
            return
        with layout.open_layout(reference) as opened:
            yield layout.resolve(opened, reference, platform, verdict)

    def peek(self, reference: ImageReference) -> Digest | None:
        """No request at all for a reference by digest, and for files."""
        if reference.transport == "registry":
            name = RegistryName.parse(reference.name)
            return registry_source.peek(self._client(reference, name.repository), name)
        with layout.open_layout(reference) as opened:
            return opened.peek()

    def close(self) -> None:
        """Threads that wait for a server are woken; they get CancelledError."""
        self._waiting.close()
        self._http.close()

    def _client(self, reference: ImageReference, repository: Repository) -> RegistryClient:
        """One for each image, so that its token serves both `peek` and `resolve`."""
        source = reference.short
        with self._lock:
            known = self._clients.get((repository, source))
            if known is None:
                known = self._clients[repository, source] = RegistryClient(
                    repository,
                    source,
                    self._options,
                    self._http,
                    self._waiting,
                    self._credentials.lookup,
                    self._realms,
                    self._context.report,
                )
            return known
