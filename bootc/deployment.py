"""Deployments, slots, kernel arguments and boot menus: pure values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NewType

from attrs import evolve, field, frozen

from bootc.image import Digest, ImageReference, ImportedImage

DeploymentId = NewType("DeploymentId", str)

_SPACE = " \t\n\v\f\r"


@frozen
class KernelArguments:
    """Kernel arguments in their order. A value may hold spaces inside double quotes (kernel-parameters(7))."""

    items: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> KernelArguments:
        """Split a kernel command line; quotes stay part of the argument."""
        items, word, quoted = [], "", False
        for char in text:
            if char == '"':
                quoted = not quoted
            if char in _SPACE and not quoted:
                if word:
                    items.append(word)
                word = ""
            else:
                word += char
        return cls((*items, word) if word else tuple(items))

    def __str__(self) -> str:
        return " ".join(self.items)

    def __iter__(self) -> Iterator[str]:
        return iter(self.items)

    def value(self, key: str) -> str | None:
        """The value of the last argument with this key, without quotes; "" for one without a value."""
        values = [value or "" for name, value in map(_identity, self.items) if name == _fold(key)]
        return values[-1] if values else None

    def with_added(self, arguments: Iterable[str]) -> KernelArguments:
        """Append those that are not there with the same key and value."""
        items, present = list(self.items), set(map(_identity, self.items))
        for new in arguments:
            if _identity(new) not in present:
                items.append(new)
                present.add(_identity(new))
        return KernelArguments(tuple(items))

    def without(self, arguments: Iterable[str]) -> KernelArguments:
        """Drop arguments: `key=value` the exact ones, a bare `key` every one with that key."""
        drop = set(map(_identity, arguments))
        bare = {key for key, value in drop if value is None}
        kept = (item for item in self.items if _identity(item) not in drop and _identity(item)[0] not in bare)
        return KernelArguments(tuple(kept))

    def updated(self, old: Iterable[str], new: Iterable[str]) -> KernelArguments:
        """Follow an image's kargs.d from `old` to `new`; local changes stay (an exact match is removed, once)."""
        olds, news = {_identity(item): item for item in old}, {_identity(item): item for item in new}
        items = list(self.items)
        for gone in olds.keys() - news.keys():
            found = next((item for item in items if _identity(item) == gone), None)
            if found is not None:
                items.remove(found)
        added = [item for identity, item in news.items() if identity not in olds]
        return KernelArguments(tuple(items)).with_added(added)


def _fold(key: str) -> str:
    return key.replace("-", "_")


def _identity(item: str) -> tuple[str, str | None]:
    """Key and value as the kernel compares them: `-` is `_` in a key, and quotes around are no part of the text."""
    key, equals, value = _unquoted(item).partition("=")
    return _fold(key), _unquoted(value) if equals else None


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


@frozen
class BootEntry:
    """One line of the boot menu (Boot Loader Specification, type 1)."""

    deployment: DeploymentId
    title: str
    version: str
    kernel: PurePosixPath
    """source file, below the sysroot; a bootloader copies it or points to it"""
    initramfs: tuple[PurePosixPath, ...]
    options: KernelArguments
    """complete, with what the backend itself adds"""
    tries_left: int | None = None
    """only in answers of `Bootloader.read`"""
    tries_done: int = 0


@frozen
class Deployment:
    """One bootable root on the sysroot."""

    id: DeploymentId
    """never used again for another deployment"""
    stateroot: str
    image: ImportedImage | None
    """None: deployed from something that is no container image"""
    reference: ImageReference | None
    arguments: KernelArguments
    """without the ones that the backend owns (`ostree=`, …)"""
    boot_digest: Digest | None
    """SHA-256 over kernel, then initramfs"""
    entry: BootEntry
    is_booted: bool = False
    is_staged: bool = False
    is_locked: bool = False
    is_pinned: bool = False
    is_expendable: bool = False
    """the next `stage` or `finalize` destroys it, or leaves it out of the boot order"""
    is_incompatible: bool = False
    """changed by another tool in a way that an upgrade would lose"""
    details: Mapping[str, object] = field(factory=dict)
    """further fields of its entry in the status document"""


@frozen
class Slots:
    """What each deployment is for, as people name them."""

    booted: Deployment | None
    staged: Deployment | None
    rollback: Deployment | None
    others: tuple[Deployment, ...]
    is_rollback_queued: bool

    @classmethod
    def of(cls, deployments: Sequence[Deployment]) -> Slots:
        """Sort deployments, given in boot order, into slots; the rollback is the next of the booted one's stateroot."""
        booted = next((d for d in deployments if d.is_booted), None)
        staged = next((d for d in deployments if d.is_staged), None)
        rest = [d for d in deployments if d is not booted and d is not staged]
        rollback = next((d for d in rest if booted and d.stateroot == booted.stateroot), None)
        others = tuple(d for d in rest if d is not rollback)
        queued = False
        if booted and rollback:
            order = [d.id for d in deployments if not d.is_staged]
            queued = order.index(rollback.id) < order.index(booted.id)
        return cls(booted, staged, rollback, others, queued)


@frozen
class BootMenu:
    """What the machine must offer at power-on, the default first."""

    entries: tuple[BootEntry, ...] = ()
    prepared: tuple[BootEntry, ...] = ()
    """files must be in place, but they are not offered: the staged deployment's"""
    directory: PurePosixPath | None = None
    """a BLS directory below the sysroot that the backend itself keeps equal to `entries` (ostree)"""

    @classmethod
    def of(
        cls, deployments: Sequence[Deployment], directory: PurePosixPath | None, *, narrow: bool = False
    ) -> BootMenu:
        """The menu for these deployments; `narrow` leaves out the expendable ones."""
        offered = [d for d in deployments if not d.is_staged and not (narrow and d.is_expendable)]
        return cls(tuple(d.entry for d in offered), tuple(d.entry for d in deployments if d.is_staged), directory)

    def without_tries(self) -> BootMenu:
        """The menu as it is compared: counters say how often, not what."""
        return evolve(self, entries=tuple(evolve(e, tries_left=None, tries_done=0) for e in self.entries))
