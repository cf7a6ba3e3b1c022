"""Toy bootloaders that count boots: one in its entries, as systemd-boot does, one in a block, as GRUB does."""

from __future__ import annotations

from attrs import evolve

from bootc.bootloader import BootCounting, Count
from bootc.deployment import BootMenu, DeploymentId
from tests.unit.toys import Disk, FollowingBootloader, MirrorBootloader


class CountingMirror(MirrorBootloader, BootCounting):
    """A counter in each entry; one without tries left comes last."""

    def write(self, menu: BootMenu, tries: int | None = None) -> None:
        first = next(iter(menu.entries), None)
        if tries and first and first.deployment not in self.disk.esp:
            self.disk.counts[first.deployment] = Count(tries, 0)  # a part of the name of the file that comes next
        super().write(menu, tries)
        self.disk.counts = {id: count for id, count in self.disk.counts.items() if id in self.disk.esp}

    def mark_good(self, deployment: DeploymentId) -> None:
        self.disk.step()
        del self.disk.counts[deployment]

    def count(self, deployment: DeploymentId) -> Count | None:
        return self.disk.counts.get(deployment)

    def boots(self) -> str | None:
        order = sorted(self.disk.esp, key=lambda one: (self._is_exhausted(one), one != self.disk.default))
        return next((id for id in order if self._resolves(id)), None)

    def start(self) -> str | None:
        """A power-on, as the machine does it: with one try less."""
        id = self.boots()
        if id in self.disk.counts:
            count_down(self.disk, id)
        return id

    def _is_exhausted(self, id: str) -> bool:
        return id in self.disk.counts and not self.disk.counts[id].left


class CountingFollower(FollowingBootloader, BootCounting):
    """One counter beside the menu, which counts only if the default is the one that it is for."""

    def write(self, menu: BootMenu, tries: int | None = None) -> None:
        super().write(menu, tries)
        subject = next(iter((*menu.prepared, *menu.entries)), None)
        if tries and subject and subject.deployment not in self.disk.counts:
            self._put({subject.deployment: Count(tries, 0)})
        elif not tries:
            named = {entry.deployment for entry in (*menu.prepared, *menu.entries)}
            self._put({id: count for id, count in self.disk.counts.items() if id in named})

    def mark_good(self, deployment: DeploymentId) -> None:
        self._put({})

    def count(self, deployment: DeploymentId) -> Count | None:
        return self.disk.counts.get(deployment)

    def boots(self) -> str | None:
        usable = (id for id in self.backend.order() if id not in self.disk.counts or self.disk.counts[id].left)
        return next((id for id in usable if self.backend.is_complete(id)), None)

    def start(self) -> str | None:
        """A power-on, as the machine does it: with one try less."""
        id = self.boots()
        if id in self.disk.counts:
            count_down(self.disk, id)
        return id

    def _put(self, counts: dict[str, Count]) -> None:
        if counts != self.disk.counts:
            self.disk.step()
            self.disk.counts = counts


def count_down(disk: Disk, id: str) -> None:
    """What a bootloader does before it starts a counted entry."""
    count = disk.counts[id]
    disk.counts = {**disk.counts, id: evolve(count, left=max(count.left - 1, 0), done=count.done + 1)}
