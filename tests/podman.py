"""podman with a storage of its own: to compare images with ours, and for containers that install themselves."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

_HYBRID_CGROUPS = Path("/sys/fs/cgroup/unified")


@frozen
class Podman:
    """`folder` is what containers can be shown as /var/lib/containers."""

    folder: Path
    runtime: Path
    """for what does not outlive a boot; podman refuses names of more than 50 characters"""

    def pull(self, name: str) -> None:
        """From a registry that speaks plain HTTP."""
        self._run([*self._command, "pull", "--quiet", "--tls-verify=false", name])

    def load(self, layout: Path, tag: str, name: str) -> None:
        """Copy an image of an OCI layout to the storage."""
        target = f"containers-storage:[overlay@{self.folder}/storage+{self.runtime}]{name}"
        copy = ["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{layout}:{tag}", target]
        subprocess.run(copy, check=True)

    def run_container(self, *words: str) -> str:
        """`podman run`, on machines too that would not let it run with its defaults; what the container printed."""
        return self._run([*_legacy_cgroups(), *self._command, "run", "--rm", *_limits(), *words])

    @contextmanager
    def flattened(self, name: str) -> Iterator[Path]:
        """An image's tree."""
        done = self._run([*self._command, "image", "mount", name])
        try:
            yield Path(done.strip())
        finally:
            self._run([*self._command, "image", "unmount", "--all"])

    def close(self) -> None:
        """Leave nothing mounted."""
        self._run([*self._command, "image", "rm", "--all", "--force"])
        if os.path.ismount(self.folder / "storage/overlay"):  # by the storage driver
            subprocess.run(["umount", self.folder / "storage/overlay"], check=True)

    @property
    def _command(self) -> list[str]:
        places = (f"--root={self.folder}/storage", f"--runroot={self.runtime}", "--storage-driver=overlay")
        return ["podman", *places, "--cgroup-manager=cgroupfs"]

    def _run(self, argv: list[str]) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def own_storage(folder: Path) -> Iterator[Podman]:
    """podman with its storage in a new folder; nothing of it stays mounted."""
    folder.mkdir()
    with tempfile.TemporaryDirectory(prefix="podman-", dir="/run") as runtime:
        podman = Podman(folder, Path(runtime))
        try:
            yield podman
        finally:
            podman.close()


def _legacy_cgroups() -> list[str]:
    """crun refuses machines with both kinds of control groups; here it sees the older kind only."""
    if not os.path.ismount(_HYBRID_CGROUPS):
        return []
    return ["unshare", "--mount", "sh", "-c", f'umount {_HYBRID_CGROUPS} && exec "$@"', "sh"]


def _limits() -> list[str]:
    """Within our own limits: podman's defaults are above what a confined root may ask for."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return [f"--ulimit=nofile={files}:{files}", "--ulimit=nproc=4096:4096"]
