"""Crash-safe file operations: every change of state on a filesystem is whole or absent after a power cut.

A `Volume` is one filesystem (or a directory on it). All changes are made of the few steps in `Step`, and each step is
announced to an observer before it is taken, so that a recorder can replay every prefix of them. Paths are relative to
the volume's root and never leave it by their spelling; the directories between are ours, not an image's.
"""

from bootc.durable.directory import DirectoryVolume
from bootc.durable.fixed import release, release_tree
from bootc.durable.volume import TEMPORARY, Observer, Step, Volume, explain, flush
from bootc.durable.writeback import Writeback

__all__ = [
    "TEMPORARY",
    "DirectoryVolume",
    "Observer",
    "Step",
    "Volume",
    "Writeback",
    "explain",
    "flush",
    "release",
    "release_tree",
]
