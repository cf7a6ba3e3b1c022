"""The three-way merge of /etc, and its preview.

`plan` compares the running image's /etc, the local one and the new image's, and writes nothing: its findings are what
a person must know when an update is staged. `apply` carries a plan out on a copy of the new /etc; `built` makes such a
copy whole or not at all, and `build` does both. `preview_ostree` foretells libostree's own merge. `diff` tells what was
changed here.
"""

from __future__ import annotations

from bootc.etc_merge.building import announced, apply, build, built, copy
from bootc.etc_merge.compare import Change, Difference, diff
from bootc.etc_merge.findings import MergeFinding, Reason
from bootc.etc_merge.ostree_rules import preview_ostree
from bootc.etc_merge.planning import Action, MergePlan, Verb, plan

__all__ = (
    "Action",
    "Change",
    "Difference",
    "MergeFinding",
    "MergePlan",
    "Reason",
    "Verb",
    "announced",
    "apply",
    "build",
    "built",
    "copy",
    "diff",
    "plan",
    "preview_ostree",
)
