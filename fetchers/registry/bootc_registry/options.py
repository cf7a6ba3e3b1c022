"""What can be configured: the table `[fetchers.registry]`."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, gt
from bootc_containers.registries import is_listed


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
    """how long a server may say nothing"""
    retries: int = field(default=5, validator=ge(0))
    """tries after the first one without progress"""
    backoff: float = field(default=1.0, validator=ge(0))
    """pause before the second try; doubled each time, up to a minute"""

    def is_insecure(self, authority: str) -> bool:
        """Whether HOST[:PORT] was named as insecure."""
        return is_listed(authority, self.insecure)
