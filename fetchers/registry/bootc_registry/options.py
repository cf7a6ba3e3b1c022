"""What can be configured: the table `[fetchers.registry]`."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, gt

from bootc_registry.pace import parse_rate


@frozen
class RegistryOptions:
    """Times are in seconds."""

    insecure: tuple[str, ...] = ()
    """HOST or HOST:PORT whose certificate is not checked, and where plain http is tried after https failed; HOST alone
    means all its ports"""
    authfile: str | None = None
    """the only file with credentials that counts"""
    podman_credentials: bool = False
    """also read the files of `podman login` and `docker login`"""
    connections: int = field(default=4, validator=ge(1))
    """connections to one host that are kept for further requests"""
    connect_timeout: float = field(default=30.0, validator=gt(0))
    read_timeout: float = field(default=30.0, validator=gt(0))
    """how long a server may say nothing; then the request is made again, for what is missing"""
    retries: int = field(default=5, validator=ge(0))
    """tries after the first one without progress"""
    backoff: float = field(default=1.0, validator=ge(0))
    """pause before the second try; doubled each time, up to a minute"""
    limit: str = field(default="none")
    """how fast bodies are received, on all connections together, like `5 MB/s`"""

    @limit.validator
    def _is_rate(self, attribute: object, value: str) -> None:
        parse_rate(value)

    @property
    def bytes_per_second(self) -> float | None:
        """The limit as a number; None: there is none."""
        return parse_rate(self.limit)

    def is_insecure(self, authority: str) -> bool:
        """Whether HOST[:PORT] was named as insecure."""
        from bootc_containers.registries import is_listed

        return is_listed(authority, self.insecure)
