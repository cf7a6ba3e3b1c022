"""Opening all parts for one command: configuration, plugins, the machine, a backend, a bootloader, a fetcher."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import evolve, field, fields_dict, frozen

from bootc import blockdev, platform, spool
from bootc.bootloader import Bootloader
from bootc.config import Config
from bootc.deployment import Deployment
from bootc.disk import PreparedDisk
from bootc.durable import DirectoryVolume
from bootc.errors import BackendMismatchError, HostError, UnsupportedPairError
from bootc.esp import open_esp
from bootc.events import Report
from bootc.fetcher import Fetcher, Source
from bootc.hookspec import BackendPlugin, BootloaderPlugin, Context
from bootc.host import Lock, Signals, is_booted, locate
from bootc.image import Image, ImageReference
from bootc.machine import Firmware, Machine
from bootc.partial.installed import InstalledContents
from bootc.partial.rule import Rule
from bootc.plugins import Plugins
from bootc.state import State, System, find_system
from bootc.steps import Steps
from bootc.storage import Backend, ImageStore, LayerStreams
from bootc.transaction import Transaction
from bootc.trust import Trust

DEFAULT_BACKEND = "ostree"
BACKEND_LABEL = "containers.bootc.backend"
"""by this label an image says with which backend it wants to be installed"""
SPOOL_AGE = 7 * 24 * 3600.0
"""seconds that an unfinished download is kept for resuming"""


@frozen
class Selection:
    """What the command line chose; None where configuration or the sysroot's record decide."""

    sysroot: Path | None = None
    backend: str | None = None
    fetcher: str | None = None
    bootloader: str | None = None
    config: Path | None = None
    authfile: Path | None = None
    """credentials, for every fetcher that takes such a file"""

    @property
    def overrides(self) -> dict[str, object]:
        """The same as configuration keys."""
        chosen = {"backend": self.backend, "fetcher": self.fetcher, "bootloader": self.bootloader}
        return {f"bootc.{key}": value for key, value in chosen.items()}


@frozen
class OpenSystem:
    """An installed system, opened for reading."""

    machine: Machine
    backend: Backend
    state: State

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """In boot order; see `Deployer.deployments`."""
        return self.backend.deployer.deployments()


@frozen(slots=False)
class Session:
    """One command's view of everything. Parts are opened when they are asked for."""

    selection: Selection
    report: Report
    signals: Signals = field(factory=Signals)

    @cached_property
    def plugins(self) -> Plugins:
        """All plugins of this Python installation."""
        return Plugins.load()

    @cached_property
    def config(self) -> Config:
        """The configuration, checked against the plugins."""
        overrides = {**self.selection.overrides, **self._authfile()}
        config = Config.load(file=self.selection.config, overrides=overrides)
        self.plugins.check_configuration(config)
        return config

    # ------------------------------------------------------------ installed systems

    def find(self) -> tuple[Machine, BackendPlugin[Any]] | None:
        """The installed system and its backend; None where nothing of ours is installed."""
        if self.selection.sysroot is None and not is_booted():
            return None
        location = locate(self.selection.sysroot)
        found = find_system(location.volume, [plugin.state for plugin in self.plugins.backends().values()])
        if found:
            name = found[1].backend
        else:
            probed = self.plugins.probe_backends(location.volume)
            if not probed:
                return None
            name = probed[0].name
        if self.selection.backend not in (None, name):
            raise BackendMismatchError(str(self.selection.backend), name)
        plugin = self.plugins.backend(name)
        return location.machine(plugin.state), plugin

    def reader(self) -> OpenSystem | None:
        """The installed system, for commands that only read; takes no lock."""
        found = self.find()
        if found is None:
            return None
        machine, plugin = found
        return OpenSystem(machine, self._open_backend(machine, plugin), State.of(machine))

    @contextmanager
    def writer(self) -> Iterator[Transaction]:
        """A transaction on the installed system. `host.prepare` must have run before."""
        found = self.find()
        if found is None:
            raise self._nothing_installed()
        machine, plugin = found
        state = State.of(machine)
        state.check_writable()
        system = state.system()
        with ExitStack() as stack:
            machine = self._with_disk(machine, stack)
            steps = self._steps(machine, plugin, self._bootloader(machine, system), self.config.settings.tries)
            yield Transaction(steps, Lock.of(machine).hold, system.stateroot if system else "default")

    def _nothing_installed(self) -> HostError:
        sysroot = self.selection.sysroot
        if sysroot is None:
            return HostError("System not booted via bootc", "use --sysroot PATH for a system that is not booted")
        return HostError(f"{sysroot}: no system is installed there", "check the path, or `bootc install to-filesystem`")

    # ------------------------------------------------------------ new systems

    def new_backend(self, image: Image | None = None) -> BackendPlugin[Any]:
        """The backend to install with: command line, then configuration, then the image's label, then ostree."""
        wish = image.labels.get(BACKEND_LABEL) if image else None
        return self.plugins.backend(self.config.settings.backend or wish or DEFAULT_BACKEND)

    def require_pair(self, backend: BackendPlugin[Any], bootloader: str, machine: Machine) -> None:
        """Raise UnsupportedPairError if backend, bootloader, firmware and filesystem do not go together."""
        plugin = self.plugins.bootloader(bootloader)
        if backend.bootloaders and bootloader not in backend.bootloaders:
            raise UnsupportedPairError(bootloader, f"does not work with backend {backend.name!r}")
        plugin.require(machine)

    @contextmanager
    def installer(
        self,
        root: Path,
        plugin: BackendPlugin[Any],
        bootloader: str,
        firmware: frozenset[Firmware],
        prepared: PreparedDisk | None = None,
    ) -> Iterator[Transaction]:
        """A transaction on a target that has no system yet."""
        with ExitStack() as stack:
            machine = Machine(DirectoryVolume(root), plugin.state, firmware=firmware)
            machine = self._with_disk(machine, stack, prepared)
            self.require_pair(plugin, bootloader, machine)
            steps = self._steps(machine, plugin, self.plugins.bootloader(bootloader))
            yield Transaction(steps, Lock.of(machine).hold)

    def record_installation(self, transaction: Transaction, backend: str, bootloader: str, stateroot: str) -> None:
        """Write how the target was installed; the last step of an installation."""
        machine = transaction.machine
        system = System(backend=backend, bootloader=bootloader, firmware=machine.firmware, stateroot=stateroot)
        State.of(machine).write_system(system)

    # ------------------------------------------------------------ parts

    @contextmanager
    def fetcher(self, reference: ImageReference) -> Iterator[Fetcher]:
        """The fetcher for this reference's transport; closed at the end."""
        plugin = self.plugins.fetcher_for(reference.transport, self.config.settings.fetcher)
        machine = Machine(DirectoryVolume(Path("/")), PurePosixPath("run/bootc"))
        fetcher = plugin.open(self._context(machine), self.config.options(plugin))
        try:
            yield fetcher
        finally:
            fetcher.close()

    def _steps(
        self,
        machine: Machine,
        plugin: BackendPlugin[Any],
        bootloader: BootloaderPlugin[Any],
        tries: int | None = None,
    ) -> Steps:
        state = State.of(machine)
        directory = machine.sysroot.path(state.spool)
        backend = self._open_backend(machine, plugin)
        present = InstalledContents(state.contents, backend, self._rule(), directory)
        return Steps(
            context=self._context(machine),
            backend=backend,
            bootloader=self._open_bootloader(machine, bootloader),
            hooks=self.plugins.hooks(self.report),
            references=state.references,
            platform=platform.current(),
            open_streams=lambda source, store: self._streams(source, store, directory, present),
            predict=present.predict,
            shielded=self.signals.shielded,
            prune_spool=lambda: self._prune(directory, present),
            tries=tries,
            trust=Trust(state.acceptances, self.config.trust),
        )

    @contextmanager
    def _streams(
        self, source: Source, store: ImageStore, directory: Path, present: InstalledContents
    ) -> Iterator[LayerStreams]:
        from bootc.streams import FetchedLayers

        needed, parallel = store.missing(source.image), self.config.settings.parallel
        check_cancelled, abandoned = self.signals.check_cancelled, self.signals.abandoned
        with (
            present.pulls() as pulls,
            FetchedLayers(
                source, needed, directory, self.report, check_cancelled, parallel, pulls, abandoned
            ) as streams,
        ):
            yield streams

    def _prune(self, directory: Path, present: InstalledContents) -> int:
        present.prune()
        return spool.prune(directory, SPOOL_AGE)

    def _rule(self) -> Rule:
        """When to pull in parts."""
        fetch = self.config.fetch
        speed = fetch.speed * 1e6 / 8
        return Rule(fetch.partial, fetch.request_time, speed, self.config.settings.parallel)

    def _bootloader(self, machine: Machine, system: System | None) -> BootloaderPlugin[Any]:
        name = self.selection.bootloader or (system.bootloader if system else self.config.settings.bootloader)
        if name:
            return self.plugins.bootloader(name)
        probed = self.plugins.probe_bootloaders(machine)
        if not probed:
            raise HostError("no known bootloader starts this machine", "choose one with --bootloader")
        return probed[0]

    def _open_backend(self, machine: Machine, plugin: BackendPlugin[Any]) -> Backend:
        return plugin.open(self._context(machine), self.config.options(plugin))

    def _open_bootloader(self, machine: Machine, plugin: BootloaderPlugin[Any]) -> Bootloader:
        return plugin.open(self._context(machine), self.config.options(plugin))

    def _authfile(self) -> dict[str, object]:
        file = self.selection.authfile
        if file is None:
            return {}
        fetchers = self.plugins.fetchers().values()
        taking = [plugin.name for plugin in fetchers if "authfile" in fields_dict(plugin.options)]
        return {f"fetchers.{name}.authfile": str(file.absolute()) for name in taking}

    def _context(self, machine: Machine) -> Context:
        return Context(machine, self.report, self.signals.check_cancelled)

    def _with_disk(self, machine: Machine, stack: ExitStack, prepared: PreparedDisk | None = None) -> Machine:
        """The machine with its filesystem, its disk and its ESP, where it has one."""
        disk: Path | None
        if prepared:
            filesystem, disk, location = prepared.filesystem, prepared.disk, prepared.esp
        else:
            mount = blockdev.mount_of(machine.root)
            filesystem, disk = mount.filesystem, next(iter(mount.disks), None)
            location = blockdev.find_esp(map(blockdev.read_table, mount.disks))
        esp = stack.enter_context(open_esp(location)) if location else None
        boot = machine.root / "boot"
        return evolve(
            machine,
            filesystem=filesystem,
            boot_filesystem=blockdev.mount_of(boot).filesystem if os.path.ismount(boot) else None,
            disk=disk,
            esp=esp,
        )
