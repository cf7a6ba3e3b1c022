"""The plugin contract: what a plugin offers, and when it is told of events.

A distribution names its plugin in the entry-point group `bootc`; the object it names (a module or an instance) has some
of these hooks, marked with `hookimpl`. Offering hooks answer with records; nothing is opened, and no heavy library
imported, before the core selects a record.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pluggy
from attrs import frozen

from bootc.bootloader import Bootloader
from bootc.deployment import Deployment
from bootc.durable import DirectoryVolume
from bootc.events import Report
from bootc.fetcher import Fetcher
from bootc.image import Image
from bootc.machine import Machine
from bootc.storage import Backend, Finding, Tree

PROJECT = "bootc"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Options = TypeVar("Options")
Opened_co = TypeVar("Opened_co", covariant=True)


class Capability(enum.Enum):
    """What a plugin can do beyond its interface; each has an ABC or a field beside the interface."""

    PEEK = "peek"
    RANGES = "ranges"
    EXPLAIN = "explain"
    PIN = "pin"
    SPARE = "spare"
    SOFT_REBOOT = "soft-reboot"
    BOOT_COUNTING = "boot-counting"


@frozen
class NoOptions:
    """For a plugin without options."""


@frozen
class Context:
    """What the core hands to a plugin when it opens it."""

    machine: Machine
    report: Report
    check_cancelled: Callable[[], None]
    """raises CancelledError once the user asked to stop; call it in every long loop"""


def _available() -> str | None:
    return None


def _fits(machine: Machine) -> None:
    return None


def _no_more(options: object) -> frozenset[Capability]:
    return frozenset()


@frozen(kw_only=True)
class Plugin(Generic[Options, Opened_co]):
    """What an offering hook answers: a name, and how to open the thing."""

    kind: ClassVar[str]
    """what messages call it; `KINDs.NAME` is its table in the configuration"""

    name: str
    """lower-case letters, digits and dashes"""
    summary: str
    options: type[Options]
    """an attrs class with defaults for every field; its fields are the keys of the plugin's configuration table"""
    open: Callable[[Context, Options], Opened_co]
    capabilities: frozenset[Capability] = frozenset()
    """what it can do with any options"""
    more_capabilities: Callable[[Options], frozenset[Capability]] = _no_more
    """what it can do besides with these options"""
    unavailable: Callable[[], str | None] = _available
    """the reason why it cannot work on this machine, or None; cheap"""

    def capabilities_with(self, options: Options) -> frozenset[Capability]:
        """All that it can do with these options."""
        return self.capabilities | self.more_capabilities(options)


@frozen(kw_only=True)
class FetcherPlugin(Plugin[Options, Fetcher]):
    """A fetcher and the transports it serves."""

    kind: ClassVar[str] = "fetcher"

    transports: frozenset[str]
    priority: int = 0
    """among fetchers for one transport the highest is taken, unless configuration prefers another"""


@frozen(kw_only=True)
class BackendPlugin(Plugin[Options, Backend]):
    """A storage backend."""

    kind: ClassVar[str] = "backend"

    probe: Callable[[DirectoryVolume], bool]
    """whether a sysroot without our record is this backend's (installed by other tools)"""
    state: PurePosixPath
    """where the core keeps its records on a sysroot of this backend"""
    writes: str = "recorded"
    """`recorded`: all changes go through volumes; `opaque`: a library makes them"""
    bootloaders: tuple[str, ...] = ()
    """names of bootloaders that are known to work with it, the usual one first; empty: not known"""
    filesystems: tuple[str, ...] = ()
    """types of filesystems, as mount(8) names them, that a sysroot of it can be on, the usual one first; empty: any"""


@frozen(kw_only=True)
class BootloaderPlugin(Plugin[Options, Bootloader]):
    """A bootloader."""

    kind: ClassVar[str] = "bootloader"

    probe: Callable[[Machine], bool]
    """whether this machine starts by it"""
    menus: frozenset[str] = frozenset({"own", "directory"})
    """who may keep the entries of a menu that it takes: itself (`own`), or the backend (`directory`)"""
    require: Callable[[Machine], None] = _fits
    """raises UnsupportedPairError, before anything is written, if this machine could not start by it"""


@frozen
class ImageView:
    """An image and its files, as hooks get to see them."""

    image: Image
    tree: Tree


@frozen
class CommandOffer:
    """A command for the command line: `load` imports it when it is called and returns a `click.Command`."""

    name: str
    summary: str
    load: Callable[[], Any]


class Hooks(Protocol):
    """All hooks. Every plugin's answer counts; plugins are called one at a time, in order of their names."""

    @hookspec
    def bootc_fetchers(self) -> Sequence[FetcherPlugin[Any]]:
        """Offer fetchers."""

    @hookspec
    def bootc_storage_backends(self) -> Sequence[BackendPlugin[Any]]:
        """Offer storage backends."""

    @hookspec
    def bootc_bootloaders(self) -> Sequence[BootloaderPlugin[Any]]:
        """Offer bootloaders."""

    @hookspec
    def bootc_commands(self) -> Sequence[CommandOffer]:
        """Offer commands."""

    @hookspec
    def bootc_check_image(self, image: ImageView) -> Iterable[Finding]:
        """Look at an imported image before it is staged; a fatal finding, or an exception, stops the update."""

    @hookspec
    def bootc_kernel_arguments(self, image: ImageView) -> Iterable[str]:
        """Add kernel arguments to a new deployment. An exception stops the update."""

    @hookspec
    def bootc_prepare(self, image: ImageView) -> None:
        """Make ready what the new deployment will need, before it is staged. An exception stops the update."""

    @hookspec
    def bootc_deployment_staged(self, deployment: Deployment) -> None:
        """Take note of a new staged deployment. An exception is a warning."""

    @hookspec
    def bootc_boot_completed(self, deployment: Deployment) -> None:
        """Take note that this deployment booted well. An exception is a warning."""
