"""What an administrator can set in `[fetchers.skopeo]`, and the command line that follows from it."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, field, frozen
from attrs.validators import gt
from bootc_containers.auth import CredentialSources

from bootc.image import ImageReference
from bootc.machine import Command
from bootc.platform import Platform
from bootc_skopeo.handover import NO_CREDENTIALS, Handover
from bootc_skopeo.proxy import Patience

_PERSONAL = ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG")


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
    def patience(self) -> Patience:
        """With registries; other sources may have to be unpacked first."""
        return Patience(3 * self.read_timeout, self.read_timeout)

    @property
    def credential_files(self) -> CredentialSources:
        """Where credentials are looked for."""
        return CredentialSources(Path(self.authfile) if self.authfile else None, self.podman_credentials)

    @property
    def credentials(self) -> tuple[str, ...]:
        """The flags for skopeo, which without any would use whatever credentials podman's user left behind."""
        files = evolve(self.credential_files, podman=False).files()
        if files:
            return ("--authfile", str(files[0]))
        return () if self.podman_credentials else NO_CREDENTIALS

    @property
    def personal(self) -> dict[str, str]:
        """Variables that say where podman and skopeo keep credentials, if those count."""
        known = self.credential_files.environment if self.podman_credentials else {}
        return {name: known[name] for name in _PERSONAL if name in known}


@frozen
class Invocation:
    """How skopeo is started for one image."""

    program: str
    options: Options
    reference: ImageReference
    platform: Platform
    policy: Path
    """the policy file that was evaluated here; skopeo gets to evaluate the same"""
    credentials: tuple[str, ...]
    """flags that say where credentials are"""
    handover: Handover | None
    """for images from registries"""

    def command(self, temporary: Path) -> Command:
        """The whole command; credentials are in it by their file's name only. Archives are unpacked in `temporary`."""
        platform: tuple[str, ...] = ("--override-os", "linux", "--override-arch", self.platform.architecture)
        if self.platform.variants:
            platform += ("--override-variant", self.platform.variants[0])
        environment = self.options.personal
        if self.options.storage:
            environment["STORAGE_OPTS"] = f"additionalimagestore={self.options.storage}"
        files: tuple[str, ...] = ("--policy", str(self.policy), "--tmpdir", str(temporary))
        told: tuple[str, ...] = self.credentials
        if self.handover:
            files += self.handover.write(temporary)
            told = self.handover.flags(self.credentials, temporary)
        return Command(
            (self.program, *files, *platform, "experimental-image-proxy", *told),
            purpose=f"fetch {self.reference}",
            environment=environment,
        )

    @property
    def name(self) -> str:
        """The reference as skopeo spells it; it takes no name that has both a tag and a digest."""
        if self.reference.transport == "containers-storage":
            return f"containers-storage:{self.reference.name.removeprefix('sha256:')}"
        return str(self.reference.canonical)
