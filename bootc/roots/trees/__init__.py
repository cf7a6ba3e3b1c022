"""Images as plain directories: written from layers, read as trees; for backends whose roots are mounted as they lie."""

from __future__ import annotations

from bootc.roots.trees.descriptors import Directories
from bootc.roots.trees.files import DirectoryTree
from bootc.roots.trees.labelling import Label, label_of
from bootc.roots.trees.regular import NOTHING
from bootc.roots.trees.sharing import Sharing
from bootc.roots.trees.writer import ContentsMissing, TreeWriter

__all__ = [
    "NOTHING",
    "ContentsMissing",
    "Directories",
    "DirectoryTree",
    "Label",
    "Sharing",
    "TreeWriter",
    "label_of",
]
