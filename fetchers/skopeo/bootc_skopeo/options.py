"""What an administrator can set in `[fetchers.skopeo]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import gt

if TYPE_CHECKING:
    from bootc_containers.auth import CredentialSources


@frozen
class Options:
    """Keys of the table `[fetchers.skopeo]`."""

    insecure: tuple[str, ...] = ()
    """registries (HOST or HOST:PORT) that may be spoken to without TLS, or with certificates nobody vouches for"""
    authfile: str | None = None
    """credentials, containers-auth.json(5); instead of ostree's files"""
    podman_credentials: bool = False
    """also look where podman and skopeo keep credentials"""
    storage: str | None = None
    """an additional image store (containers-storage.conf(5), additionalimagestores), for containers-storage"""
    read_timeout: float = field(default=120.0, validator=gt(0))
    """seconds that a registry may send nothing in the middle of a blob; skopeo has three times as many for an answer,
    for which it may have to ask several times"""

    @property
    def credential_files(self) -> CredentialSources:
        """Where credentials are looked for."""
        from bootc_containers.auth import CredentialSources

        return CredentialSources(Path(self.authfile) if self.authfile else None, self.podman_credentials)
