"""The command line of skopeo's image proxy, as it follows from the options and the image."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, frozen

from bootc.image import ImageReference
from bootc.machine import Command
from bootc.platform import Platform
from bootc_skopeo.handover import NO_CREDENTIALS, Handover
from bootc_skopeo.options import Options
from bootc_skopeo.proxy import Patience

_PERSONAL = ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG")


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
        environment = _personal(self.options)
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

    @property
    def patience(self) -> Patience | None:
        """With registries; other sources may have to be unpacked first, which takes as long as it takes by default."""
        timeout = self.options.read_timeout
        return Patience(3 * timeout, timeout) if self.handover else None


def credentials(options: Options) -> tuple[str, ...]:
    """The flags for skopeo, which without any would use whatever credentials podman's user left behind."""
    files = evolve(options.credential_files, podman=False).files()
    if files:
        return ("--authfile", str(files[0]))
    return () if options.podman_credentials else NO_CREDENTIALS


def _personal(options: Options) -> dict[str, str]:
    """Variables that say where podman and skopeo keep credentials, if those count."""
    known = options.credential_files.environment if options.podman_credentials else {}
    return {name: known[name] for name in _PERSONAL if name in known}
