"""How the SELinux policy inside an image labels its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TypeAlias

from bootc.labels import Policy
from bootc.storage import Tree

Label: TypeAlias = Callable[[str, int], "str | None"]
"""The context of an absolute path, given st_mode"""


def label_of(tree: Tree) -> Label | None:
    """By the policy in the image; None without one."""
    policy = Policy.load(lambda path: tree.read_optional(PurePosixPath(path)))
    return policy.label if policy else None
