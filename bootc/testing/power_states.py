"""What a power cut may leave: every state of one volume that the rules of its filesystem allow at one moment.

The rules are those of ALICE (Pillai et al., OSDI 2014): content may be lost, in whole or in part, until fsync of the
file, a name until fsync of its directory, both until syncfs. What is lost, and what not, is decided name by name.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Collection, Iterator, Mapping

from attrs import define, evolve, field, frozen

from bootc.durable import Step
from bootc.testing.power_inode import Inode
from bootc.testing.power_model import Contents, Effect, Key
from bootc.testing.power_translator import Translator

_NEAR = 5
"""of what is lost at a turn, one in so many (the latest) is lost at any other moment"""


class Filesystem(enum.Enum):
    """How a filesystem keeps what was not synced."""

    ANY = "any"
    """no order: each name, each attribute and each file's content may be lost by itself"""
    JOURNAL = "journal"
    """names and attributes reach the disk in their order, content at any time (ext4, xfs)"""
    FAT = "fat"
    """no order, and a renaming is two changes: both names, or none, may be there"""
    MEMORY = "memory"
    """everything is lost (/run)"""


class Tear(enum.Enum):
    """What may become of content that was not synced."""

    EMPTY = "nothing"
    HALF = "half"
    ZEROS = "zeros"
    """the size reached the disk, the content did not"""


@frozen
class Loss:
    """What of the unsynced changes did not reach the disk."""

    name: str
    dropped: frozenset[int] = frozenset()
    """numbers of effects"""
    torn: Mapping[int, Tear] = field(factory=dict)
    """by inode"""


NOTHING = Loss("nothing")


@define
class _Pending:
    """An effect that may still be lost, and the directories (or the inode) whose fsync would prevent that."""

    effect: Effect
    waits_for: set[int]


class History:
    """One volume while its log goes on."""

    def __init__(self, before: Contents, filesystem: Filesystem) -> None:
        self.filesystem, self._before = filesystem, before
        self._translator = Translator(before, is_fat=filesystem is Filesystem.FAT)
        self._settled, self._first = before.copy(), 0
        self._effects: list[Effect] = []
        self._pending: dict[int, _Pending] = {}
        self._synced: dict[int, int] = {}
        self._dirty: dict[int, list[int]] = {}

    @property
    def now(self) -> Contents:
        """As the running system sees it."""
        return self._translator.now

    def advance(self, step: Step) -> None:
        """A step was taken."""
        for effect in self._translator.effects(step):
            self._add(effect)
        if step.name == "syncfs":
            self._sync_all()
        elif step.name == "fsync":
            self._sync(self._translator.target(step.paths[0]))
        self._settle()

    def losses(self, *, is_turn: bool, width: int, chance: random.Random) -> Iterator[Loss]:
        """What may be lost now. At a turn all single losses, `width` of them where there are more; else the latest."""
        if self.filesystem is Filesystem.MEMORY:
            return
        if self._pending or self._dirty:
            torn = dict.fromkeys(self._dirty, Tear.EMPTY)
            yield Loss("everything", frozenset(self._pending), torn)
            yield Loss("all content", torn=torn)
            yield Loss("all names", frozenset(self._pending))
        found = list(self._singles(None if is_turn else max(1, width // _NEAR)))
        yield from found if len(found) <= width else chance.sample(found, width)
        if is_turn and len(self._pending) + len(self._dirty) > 1:
            for _ in range(3):
                yield self._some(chance)

    def state(self, loss: Loss) -> Contents:
        """What is on the disk then."""
        if self.filesystem is Filesystem.MEMORY:
            return self._before.emptied()
        contents = self._settled.copy()
        for number in range(self._first, len(self._effects)):
            contents.apply(self._effects[number], is_lost=number in loss.dropped)
        for inode, tear in loss.torn.items():
            contents.inodes[inode] = _torn(contents.inodes[inode], tear, self._synced.get(inode, 0))
        return contents

    def _add(self, effect: Effect) -> None:
        number = len(self._effects)
        self._effects.append(effect)
        if effect.is_content and effect.inode is not None:
            self._synced.setdefault(effect.inode, self._length_before(effect.inode))
            self._dirty.setdefault(effect.inode, []).append(number)
            return
        waits_for = {directory for directory, _, _ in effect.entries}
        if effect.inode is not None:
            waits_for.add(effect.inode)
        self._pending[number] = _Pending(effect, waits_for)

    def _length_before(self, inode: int) -> int:
        found = self._before.inodes.get(inode)
        return len(found.data) if found else 0

    # ------------------------------------------------------------ syncing

    def _sync_all(self) -> None:
        for inode in list(self._dirty):
            self._content_is_safe(inode)
        self._pending.clear()

    def _sync(self, inode: int) -> None:
        self._content_is_safe(inode)
        if self.filesystem is Filesystem.JOURNAL:
            self._pending.clear()
            return
        for number, pending in list(self._pending.items()):
            pending.waits_for.discard(inode)
            if not pending.waits_for:
                self._is_safe(number)

    def _content_is_safe(self, inode: int) -> None:
        if self._dirty.pop(inode, None):
            self._synced[inode] = len(self.now.inodes[inode].data)

    def _is_safe(self, number: int) -> None:
        """With all that it builds upon, and what went on in a directory that is no more."""
        pending = self._pending.pop(number, None)
        if pending is None:
            return
        effect = pending.effect
        for earlier, other in list(self._pending.items()):
            is_inside = effect.ends is not None and effect.ends in other.waits_for
            if earlier < number and (is_inside or effect.keys & other.effect.keys):
                self._is_safe(earlier)

    def _settle(self) -> None:
        """What can be lost no more is the same in all states from now on; up to the first that can."""
        dirty = [numbers[0] for numbers in self._dirty.values()]
        first = min([*dirty, next(iter(self._pending), len(self._effects)), len(self._effects)])
        if first > self._first:
            settled = self._settled.copy()
            for effect in self._effects[self._first : first]:
                settled.apply(effect)
            self._settled, self._first = settled, first

    # ------------------------------------------------------------ losing

    def _singles(self, latest: int | None) -> Iterator[Loss]:
        numbers = list(self._pending) if latest is None else list(self._pending)[-latest:]
        for number in numbers:
            if self.filesystem is not Filesystem.JOURNAL:
                yield Loss(f"change {number}", self._with_dependents({number}))
            yield Loss(f"all changes from {number}", frozenset(n for n in self._pending if n >= number))
        files = list(self._dirty) if latest is None else list(self._dirty)[-latest:]
        for inode in files:
            for tear in Tear:
                yield Loss(f"content of inode {inode}: {tear.value} is left", torn={inode: tear})

    def _some(self, chance: random.Random) -> Loss:
        """Any mixture."""
        if self.filesystem is Filesystem.JOURNAL:
            cut = chance.randrange(len(self._effects) + 1)
            dropped = frozenset(number for number in self._pending if number >= cut)
        else:
            dropped = self._with_dependents({number for number in self._pending if chance.random() < 0.5})
        torn = {inode: chance.choice(list(Tear)) for inode in self._dirty if chance.random() < 0.5}
        return Loss("a mixture", dropped, torn)

    def _with_dependents(self, dropped: Collection[int]) -> frozenset[int]:
        """A later change of the same name cannot be there without the earlier one."""
        found: set[int] = set(dropped)
        keys: set[Key] = set()
        for number, pending in self._pending.items():
            if number in found or pending.effect.keys & keys:
                found.add(number)
                keys |= pending.effect.keys
        return frozenset(found)


def _torn(inode: Inode, tear: Tear, safe: int) -> Inode:
    """What is left of content of which so many bytes were synced."""
    match tear:
        case Tear.EMPTY:
            return evolve(inode, data=inode.data[:safe])
        case Tear.HALF:
            return evolve(inode, data=inode.data[: (safe + len(inode.data)) // 2])
        case Tear.ZEROS:
            return evolve(inode, data=inode.data[:safe] + bytes(len(inode.data) - safe))
