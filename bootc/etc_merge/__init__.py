"""The three-way merge of /etc, and its preview.

`plan` compares the running image's /etc, the local one and the new image's, and writes nothing: its findings are what
a person must know when an update is staged. `build` carries a plan out, whole or not at all; `apply` does so on a copy
of the new /etc. `preview_ostree` foretells libostree's own merge. `diff` tells the local changes.
"""

from __future__ import annotations

from bootc.etc_merge.building import apply, build
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
    "apply",
    "build",
    "diff",
    "plan",
    "preview_ostree",
)
