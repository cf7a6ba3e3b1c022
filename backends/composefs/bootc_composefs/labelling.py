"""SELinux labels of a tree, by the policy that it holds."""

from __future__ import annotations

import os

from attrs import evolve

from bootc.roots.trees.labelling import label_of
from bootc.storage import Tree
from bootc_composefs.tree import Directory, HardLink, mode_of, walk

_LABEL = b"security.selinux"


def label(root: Directory, files: Tree) -> None:
    """Label all nodes; without a policy nothing changes. `files` are the same tree, to read the policy from."""
    context_of = label_of(files)
    if context_of is None:
        return
    labels: dict[str, dict[bytes, bytes]] = {}
    for path, node in walk(root):
        if not isinstance(node, HardLink) and (context := context_of(os.fsdecode(path), mode_of(node))):
            label = labels.setdefault(context, {_LABEL: context.encode() + b"\0"})
            own = node.attributes.xattrs
            node.attributes = evolve(node.attributes, xattrs={**own, **label} if own else label)
