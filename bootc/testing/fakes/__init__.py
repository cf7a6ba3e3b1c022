"""Fakes for plugins to work on: a machine that boots, images made in a moment, layers that fail as told."""

from bootc.testing.fakes.images import KERNEL_VERSION, MODULES, REFERENCE, FakeImage, image_of, os_image
from bootc.testing.fakes.layers import TIME, FakeLayer, fold
from bootc.testing.fakes.machine import EXT4, MIB, MKFS, FakeMachine
from bootc.testing.fakes.mounts import mount_root
from bootc.testing.fakes.streams import Altered, Cut, Fault, MemoryStreams

__all__ = [
    "EXT4",
    "KERNEL_VERSION",
    "MIB",
    "MKFS",
    "MODULES",
    "REFERENCE",
    "TIME",
    "Altered",
    "Cut",
    "FakeImage",
    "FakeLayer",
    "FakeMachine",
    "Fault",
    "MemoryStreams",
    "fold",
    "image_of",
    "mount_root",
    "os_image",
]
