"""A host for tests of the main job: installed from a real registry on a disk of its own, and not booted.

Everything is done by the command as users type it, in processes of its own. Two layers of an image stay, and the
last one differs from version to version.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from bootc.image import Image
from tests.integration.sysroots import DISK_SIZE, Layout, copy_mounted, make_disk, mounted
from tests.ostree_images import Tar, base_layer
from tests.servers import RegistryServer
from tests.unit.cli_runs import Run, bootc

NAME = "os:latest"


def two_layers(version: str) -> list[bytes]:
    """The layers of a bootable image; only the last one tells versions apart."""
    last = Tar().directory("usr").directory("usr/lib").add("usr/lib/version", data=version.encode())
    return [base_layer().data, last.directory("etc").add("etc/version", data=version.encode()).data]


@frozen
class Registry:
    """A registry with the images of one layout."""

    server: RegistryServer
    layout: Layout

    @classmethod
    @contextmanager
    def serving(cls, folder: Path) -> Iterator[Registry]:
        """A new one, with an empty layout."""
        with RegistryServer(folder) as server:
            yield cls(server, Layout(folder / "os"))

    @property
    def name(self) -> str:
        """What systems follow."""
        return f"{self.server.address}/{NAME}"

    def publish(self, tag: str, layers: Sequence[bytes] | None = None, level: int | None = 1) -> Image:
        """Make an image the latest; its layers are those of `two_layers` if no others are given."""
        image = self.layout.add(tag, two_layers(tag) if layers is None else layers, level=level)
        pushed = self.server.push(self.layout.folder, tag, NAME)
        assert pushed == str(image.digest)
        return image

    @contextmanager
    def counting(self) -> Iterator[list[str]]:
        """What is asked of the registry inside, known at the end: method and path below the repository."""
        asked: list[str] = []
        before = len(self.server.requests())
        yield asked
        asked += [f"{r.method} {r.path.removeprefix('/v2/os/')}" for r in self.server.requests()[before:]]


@frozen
class Host:
    """An installed system, and how commands work on it."""

    root: Path
    """where its disk is mounted"""
    config: Path
    fetcher: str = "registry"

    def argv(self, *words: str) -> list[str]:
        """A whole command line."""
        return [sys.executable, "-m", "bootc", *self._global, "--sysroot", str(self.root), *words]

    def bootc(self, *words: str, **more: Any) -> Run:
        """Run a command on the system, whatever comes of it."""
        return bootc(*self._global, "--sysroot", str(self.root), *words, **more)

    def do(self, *words: str, **more: Any) -> str:
        """Run a command that must succeed; returns what it printed."""
        run = self.bootc(*words, **more)
        assert run.code == 0, run.err
        return run.out

    def install(self, source: str, *words: str) -> None:
        """Install it, without a bootloader; it stays writable."""
        options = ("--source-imgref", source, "--bootloader", "none", "--skip-finalize")
        command = ("install", "to-filesystem", *options, *words)
        run = bootc(*self._global, *command, str(self.root))
        assert run.code == 0, run.err

    def status(self) -> Mapping[str, Any]:
        """The Host document's status."""
        found: Mapping[str, Any] = json.loads(self.do("status", "--json"))["status"]
        return found

    def versions(self) -> list[str]:
        """Of all deployments, in boot order."""
        return [entry["image"]["version"] for entry in self.status()["otherDeployments"]]

    @property
    def deployments(self) -> list[Path]:
        """The directories of all deployments, in boot order."""
        found = [entry["ostree"] for entry in self.status()["otherDeployments"]]
        base = self.root / "ostree/deploy/default/deploy"
        return [base / f"{entry['checksum']}.{entry['deploySerial']}" for entry in found]

    @property
    def _global(self) -> tuple[str, ...]:
        return ("--config", str(self.config), "--fetcher", self.fetcher)


def trusting(path: Path, *authorities: str) -> Path:
    """A configuration file that lets both fetchers speak plain HTTP with these registries."""
    listed = f"insecure = {json.dumps(authorities)}\n"
    path.write_text(f"[fetchers.registry]\n{listed}[fetchers.skopeo]\n{listed}")
    return path


@contextmanager
def host_on_disk(folder: Path, registry: str, fetcher: str = "registry", size: int = DISK_SIZE) -> Iterator[Host]:
    """A system-to-be: an empty disk, mounted, and a configuration that trusts one registry."""
    folder.mkdir(exist_ok=True)
    config = trusting(folder / "host.toml", registry)
    with mounted(make_disk(folder / "disk", size), folder / "sysroot") as root:
        yield Host(root, config, fetcher)


def installed_once(folder: Path, registry: Registry, *words: str) -> Host:
    """A disk on which version 1 was installed from the registry; it is not mounted any more."""
    registry.publish("1")
    with host_on_disk(folder, registry.server.address) as host:
        host.install(f"docker://{registry.name}", *words)
        return host


@contextmanager
def copy_of(host: Host, folder: Path) -> Iterator[Host]:
    """A system like one that `host_on_disk` gave, which is not mounted any more."""
    with copy_mounted(host.root.parent / "disk", folder) as root:
        yield evolve(host, root=root)
