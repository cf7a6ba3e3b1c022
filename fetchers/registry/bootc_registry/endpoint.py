"""One place that speaks the registry protocol for a repository, and how far it is trusted."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import frozen
from bootc_containers.names import Repository


@frozen
class Peer:
    """The other end of a connection: HOST[:PORT] as its directory in certs.d is called."""

    name: str
    is_insecure: bool
    """its certificate is not checked"""


@frozen
class Endpoint:
    """A repository at one server."""

    repository: Repository
    is_insecure: bool = False
    """its certificate is not checked, and plain http is tried where https fails"""
    is_mirror: bool = False
    """another server can be asked instead"""

    @property
    def authority(self) -> str:
        """HOST[:PORT] that is spoken to."""
        return self.repository.authority

    @property
    def host(self) -> str | None:
        """The same without the port."""
        return urlsplit(f"//{self.authority}").hostname

    @property
    def peer(self) -> Peer:
        """For connections to it."""
        return Peer(self.repository.domain, self.is_insecure)
