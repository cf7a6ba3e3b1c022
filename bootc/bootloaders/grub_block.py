"""GRUB's environment block on the ESP: how often the deployment with a certain mark may still fail to boot.

1024 bytes: a first line, `NAME=VALUE` lines, and `#` to the end (grub-editenv(1)); GRUB's save_env rewrites the sectors
in place. The mark is a kernel argument of the deployment: so GRUB knows the entry whichever way it reads the menu, and
a block that belongs to another entry, because the machine was cut off before or after a switch, counts nothing.
"""

from __future__ import annotations

import re
import secrets

from attrs import frozen

from bootc.bootloader import Count
from bootc.deployment import BootEntry, DeploymentId

MOST = 9
"""tries; GRUB's script cannot calculate, so each number is written out"""
KEY = "bootc.key"
_HEAD = "# GRUB Environment Block\n"
_SIZE = 1024
_LINE = re.compile(r"^(bootc_\w+)=(.*)$", re.MULTILINE)
_PROBLEM = "GRUB could not start its kernel"


def new_mark() -> str:
    """A kernel argument that no other deployment has."""
    return f"{KEY}={secrets.token_hex(8)}"


def key_of(entry: BootEntry) -> str | None:
    """What an entry is marked with."""
    return entry.options.value(KEY) or None


@frozen
class Block:
    """What the block says. `tries` is how many there were in the beginning."""

    key: str
    deployment: DeploymentId
    tries: int
    left: int
    was_last: bool = False
    """it is the last entry that the script has seen; what runs in its stead is GRUB's own fall-back"""
    is_good: bool = False
    """counted no more; kept so that no later write counts it anew"""

    @classmethod
    def parse(cls, data: bytes) -> Block | None:
        """The block in a file; None if it is not one of ours, or damaged."""
        text = data.decode(errors="replace")
        found = dict(_LINE.findall(text))
        try:
            block = cls(
                found["bootc_key"] or found["bootc_good"],
                DeploymentId(found["bootc_deployment"]),
                int(found["bootc_tries"]),
                int(found["bootc_left"]),
                found.get("bootc_last") == "this",
                not found["bootc_key"],
            )
        except (KeyError, ValueError):
            return None
        return block if text.startswith(_HEAD) and block.key else None

    @property
    def count(self) -> Count:
        """For the core."""
        done = self.tries - self.left
        return Count(self.left, done, _PROBLEM if self.was_last and self.left else None)

    def render(self) -> bytes:
        """The file. Raises ValueError if it cannot hold the deployment's name."""
        text = (
            f"{_HEAD}bootc_key={'' if self.is_good else self.key}\nbootc_good={self.key if self.is_good else ''}\n"
            f"bootc_left={self.left}\nbootc_tries={self.tries}\n"
            f"bootc_last={'this' if self.was_last else ''}\nbootc_deployment={self.deployment}\n"
        )
        data = text.encode(errors="replace")
        if len(data) > _SIZE or "\\" in self.deployment or not self.deployment.isprintable():
            raise ValueError(f"the name {self.deployment!r} does not fit into GRUB's environment block")
        return data + b"#" * (_SIZE - len(data))
